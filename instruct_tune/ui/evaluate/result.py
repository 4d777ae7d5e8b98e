"""One evaluation on the page: its numbers, rows and files, and the progress of a running one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ...errors import DataError, LabError
from ...evaluation.predictions_file import ENDINGS, write_rows
from ...export.figures import SIDES
from ...runs.examples import recorded_on
from ...services.access import Access
from ...services.evaluations import Evaluations
from ...services.runs import Runs
from ...services.transfers import Transfers
from ..context import QUIET, polled, viewer
from ..downloads import Outgoing, handing_out, press, save_buttons
from ..run_text import verdict_text
from . import text as view
from .answers import AnswersPanel
from .text import baselines_of

_BAR = """
<div class="line" aria-hidden="true" style="display: ${{value.{who}.display}}">
  <span class="who">{label}</span>
  <span class="track">
    <span class="bar {who}" style="width: ${{value.{who}.width}}%"></span>
    <span class="interval" style="left: ${{value.{who}.low}}%; width: ${{value.{who}.spread}}%"></span>
  </span>
  <span class="number">${{value.{who}.bleu}}</span>
</div>
"""
_NOTHING = {"width": 0, "low": 0, "spread": 0, "bleu": "", "description": "", "display": "none"}
SCORES = (
    '<div class="scores" role="img" aria-label="BLEU: ${value.description}.">'
    + "".join(_BAR.format(who=who, label=label) for who, label in SIDES.items())
    + '<div class="line axis" aria-hidden="true"><span class="who"></span><span class="track">'
    "<span>0</span><span>${value.middle}</span><span>${value.most}</span></span>"
    '<span class="number"></span></div>'
    '<div class="note">BLEU; the thin line is the 95% interval of each (bootstrap over rows)</div></div>'
)
SCORES_CSS = """
.scores { padding: 8px 4px 0; }
.line { display: flex; align-items: center; gap: 12px; margin-bottom: 8px; }
.who { width: 100px; text-align: right; }
.number { width: 48px; font-weight: 600; font-variant-numeric: tabular-nums; }
.track { position: relative; flex: 1; height: 34px; border-left: 1px solid var(--body-text-color-subdued); }
.bar { position: absolute; inset: 4px auto 4px 0; border-radius: 0 4px 4px 0; }
.bar.base { background: #6b7280; }
.bar.chat, .bar.examples, .bar.nearest { background: #9ca3af; }
.bar.tuned { background: #2563eb; }
.interval { position: absolute; top: 16px; height: 2px; background: var(--body-text-color); }
.interval::before, .interval::after {
  content: ""; position: absolute; top: -5px; width: 2px; height: 12px; background: var(--body-text-color);
}
.interval::before { left: 0; }
.interval::after { right: 0; }
.axis { margin-bottom: 2px; }
.axis .track { height: auto; border: none; display: flex; justify-content: space-between; }
.axis, .note { color: var(--body-text-color-subdued); font-size: 12px; }
.note { text-align: center; }
"""


def score_chart(elem_id: str) -> gr.HTML:
    """The empty chart; ``scores`` makes its value."""
    return gr.HTML(_value({}, 5), html_template=SCORES, css_template=SCORES_CSS, elem_id=elem_id)


def scores(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The chart's value from an evaluation's JSON: numbers only, widths in percent of the axis."""
    reports = {"base": evaluation["base"], "tuned": evaluation["tuned"], **baselines_of(evaluation)}
    ends = [end for report in reports.values() for end in (report["bleu"], *(report["ci"] or ()))]
    return _value(reports, min(100, max(5, 5 * math.ceil(max(ends) / 5))))


def _value(reports: Mapping[str, Mapping[str, Any]], most: int) -> dict[str, Any]:
    sides = {side: _side(reports[side], most) if side in reports else _NOTHING for side in SIDES}
    description = "; ".join(f"{SIDES[side]} {sides[side]['description']}" for side in reports) or "not measured"
    return {**sides, "description": description, "middle": f"{most / 2:g}", "most": f"{most:g}"}


def _side(report: Mapping[str, Any], most: int) -> dict[str, Any]:
    low, high = report["ci"] or (report["bleu"], report["bleu"])
    description = f"{report['bleu']:.1f}" + (f", 95% interval {low:.1f} to {high:.1f}" if report["ci"] else "")
    width, start, end = (round(100 * min(value, most) / most, 2) for value in (report["bleu"], low, high))
    spread, bleu = round(end - start, 2), f"{report['bleu']:.1f}"
    return {"width": width, "low": start, "spread": spread, "bleu": bleu, "description": description, "display": "flex"}


READING = "Reading the last evaluation…"
NO_RUN = "The scores of a run stand here: BLEU of base and tuned on the same held-out rows, with intervals."
NOT_YET = "Not evaluated yet. **Evaluate** lets base and tuned answer the same held-out rows, and scores both."


class EvaluationPanel:
    """One evaluation of the chosen run, and the progress of a running one; updated by the page's timer."""

    def __init__(
        self,
        run: gr.Dropdown,
        which: gr.Dropdown,
        stop: gr.Button,
        *,
        runs: Runs,
        evaluations: Evaluations,
        transfers: Transfers,
        access: Access,
    ):
        """``which`` chooses one of the evaluations of ``run``; ``stop`` is shown while one is running."""
        self.runs, self.evaluations, self.transfers, self.access = runs, evaluations, transfers, access
        self.run, self.which, self.stop, self.outgoing = run, which, stop, Outgoing()
        self.seen = gr.State(None)
        self.state = gr.Markdown("", elem_id="evaluate-state")
        self.bar = gr.HTML(
            {"value": 0, "look": "hidden"},
            html_template='<progress aria-label="Progress of the evaluation" value="${value.value}" max="1" '
            'style="visibility: ${value.look}"></progress>',
            elem_id="evaluate-progress",
        )
        with gr.Row(visible=False) as self.left:
            self.left_text = gr.Markdown("", elem_id="evaluate-unfinished")
            self.go_on = gr.Button("Go on", size="sm", elem_id="evaluate-go-on", min_width=120, scale=0)

    def result_tab(self) -> None:
        """Add the contents of the inner tab "Result"."""
        self.nothing = gr.Markdown(READING, elem_id="evaluate-nothing")
        with gr.Column(visible=False, elem_id="evaluate-result") as self.result:
            self.sentence = gr.Markdown("", elem_id="evaluate-sentence")
            self.origin = gr.Markdown("", elem_id="evaluate-origin", elem_classes="note")
            self.chart = score_chart("evaluate-plot")
            self.verdict = gr.Markdown("", elem_id="evaluate-verdict")
            with gr.Row():
                with gr.Column(min_width=320):
                    self.scores = gr.Dataframe(
                        headers=["measure", "base", "tuned"],
                        column_widths=["50%", "25%", "25%"],
                        interactive=False,
                        show_label=False,
                        max_height=700,
                        elem_id="evaluate-scores",
                    )
                with gr.Column(min_width=320):
                    self._to_quote()

    def _to_quote(self) -> None:
        self.signature = gr.Textbox(
            label="sacreBLEU signature, to quote with the numbers",
            lines=2,
            interactive=False,
            buttons=["copy"],
            elem_id="evaluate-signature",
        )
        save_buttons("evaluate-save", "bleu", [self.run, self.which], self._save)
        self.measured = gr.Code(
            language="json",
            label="Settings, data and versions it was measured with",
            interactive=False,
            max_lines=16,
            buttons=["copy"],
            elem_id="evaluate-measured",
        )

    def rows_tab(self) -> None:
        """Add the contents of the inner tab "Rows"."""
        self.rows = AnswersPanel(evaluations=self.evaluations, access=self.access)
        with gr.Row(elem_classes="foot"):
            self.ending = gr.Dropdown(
                [("zip, for the sacrebleu command" if ending == "zip" else ending, ending) for ending in ENDINGS],
                value=ENDINGS[0],
                label="File",
                info="In CSV, what a spreadsheet would run as a formula gets an apostrophe in front",
                elem_id="evaluate-ending",
            )
            self.take = gr.Button("Download the answers", elem_id="evaluate-download", size="sm")
        self.download = handing_out("evaluate-file")

    @property
    def inputs(self) -> list[Any]:
        return [self.run, self.seen, *self.rows.controls]

    @property
    def outputs(self) -> list[Any]:
        head = [self.seen, self.state, self.bar, self.stop, self.left, self.left_text]
        return [*head, self.nothing, self.result, self.which, *self.shown]

    @property
    def shown(self) -> list[Any]:
        """The components that ``show_evaluation`` updates."""
        parts = [self.sentence, self.origin, self.verdict, self.chart, self.scores, self.signature, self.measured]
        return [*parts, *self.rows.outputs]

    def show(self, run_id: str | None, seen: Any, search: str, show: str, sort: str) -> list[Any]:
        """The updates since ``seen``: progress of a running evaluation, and the newest result once there is one."""
        unchanged = [gr.skip()] * len(self.outputs)
        requester = viewer(self.access)
        if not run_id or not self.runs.is_visible(requester, run_id):
            blank = [[], "", _bar(None), gr.Button(visible=False), *_no_unfinished(), *self._without_result(NO_RUN)]
            return unchanged if seen == [] else blank
        evaluations = self.runs.evaluations(requester, run_id)
        progress = self.evaluations.progress(requester, run_id)
        current = _seen(run_id, evaluations, progress)
        if current == seen:
            return unchanged
        state = view.progress(progress) if progress else ""
        stop = gr.Button(visible=_is_running(progress))
        head = [current, state, _bar(progress), stop, *self._unfinished(run_id, progress)]
        if seen and current[:2] == seen[:2]:
            return [*head, *unchanged[len(head) :]]
        if not evaluations:
            return [*head, *self._without_result(NOT_YET)]
        which = gr.Dropdown(choices=view.choices(evaluations), value=evaluations[0]["seq"], visible=True)
        try:
            shown = self.show_evaluation(run_id, evaluations[0], search, show, sort)
        except LabError:
            # The run was deleted just now; the next poll gets another one.
            return unchanged
        return [*head, "", gr.Column(visible=True), which, *shown]

    def _without_result(self, words: str) -> list[Any]:
        """The updates that hide the result and the rows, and show ``words`` in their place."""
        skipped = [gr.skip()] * (len(self.shown) - len(self.rows.outputs))
        return [words, gr.Column(visible=False), gr.Dropdown(visible=False), *skipped, *self.rows.emptied()]

    def _unfinished(self, run_id: str, progress: dict[str, Any] | None) -> list[Any]:
        """The updates for the newest unfinished evaluation; hidden while one is running."""
        unfinished = [] if _is_running(progress) else self.evaluations.unfinished(viewer(self.access), run_id)
        return [gr.Row(visible=True), view.left_behind(unfinished[0])] if unfinished else _no_unfinished()

    def show_evaluation(self, run_id: str, evaluation: dict[str, Any], search: str, show: str, sort: str) -> list[Any]:
        """The updates that show one evaluation in full."""
        requester = viewer(self.access)
        verdict = self.evaluations.interpretation(requester, run_id, evaluation)
        run = self.runs.get(requester, run_id)
        return [
            view.sentence(evaluation),
            view.origin(evaluation, recorded_on(run.provenance), run.config["data"]["test_size"]),
            verdict_text(verdict),
            scores(evaluation),
            _score_table(evaluation),
            evaluation["tuned"]["signature"],
            view.measured_with(evaluation, run.provenance, verdict),
            *self.rows.fresh(run_id, evaluation["seq"], search, show, sort),
        ]

    def wire(self) -> None:
        # Of several quick choices, the last one is shown.
        always = {**QUIET, "trigger_mode": "always_last"}
        # Another run's result shows at once, not at the timer's next poll.
        self.run.change(self.follow, self.inputs, self.outputs, queue=False, **always)
        chosen = [self.run, self.which, *self.rows.controls]
        self.which.input(self._show_chosen, chosen, [self.seen, *self.shown], **always)
        requested = self.take.click(self._file, [self.run, self.which, self.ending], self.download, **QUIET)
        requested.success(None, None, None, js=press("evaluate-file"))
        self.rows.wire(self.run, self.which)

    def follow(self, *inputs: Any) -> list[Any]:
        """``show`` between two polls, for an event that has no toast to show an error in."""
        return polled(self.show, list(inputs), len(self.outputs))

    def _save(self, run_id: str | None, seq: int | None, to: Path) -> Path:
        return self.transfers.plot_scores(viewer(self.access), str(run_id), to, seq)

    def _show_chosen(self, run_id: str | None, seq: int | None, search: str, show: str, sort: str) -> list[Any]:
        """One evaluation of the run, and what is seen now: where another run was chosen meanwhile, the next poll shows
        that one's."""
        requester, chosen = viewer(self.access), str(run_id)
        evaluation = _evaluation(run_id, seq, runs=self.runs, access=self.access)
        evaluations, progress = self.runs.evaluations(requester, chosen), self.evaluations.progress(requester, chosen)
        shown = self.show_evaluation(chosen, evaluation, search, show, sort)
        return [_seen(chosen, evaluations, progress), *shown]

    def _file(self, run_id: str | None, seq: int | None, ending: str) -> str:
        evaluation = _evaluation(run_id, seq, runs=self.runs, access=self.access)
        rows = self.evaluations.predictions(viewer(self.access), str(run_id), evaluation["seq"])
        if not rows:
            raise DataError("The answers of that evaluation are gone: evaluate again.")
        if ending not in ENDINGS:
            raise DataError("Choose one of the kinds of file.")
        file = self.outgoing.folder() / f"predictions.{ending}"
        write_rows(rows, file, evaluation["tokenize"])
        return str(file)


def _seen(run_id: str, evaluations: list[dict[str, Any]], progress: dict[str, Any] | None) -> list[Any]:
    """What there is to see of a run: itself, its newest evaluation, and the progress of a running one."""
    return [run_id, evaluations[0]["seq"] if evaluations else None, progress]


def _evaluation(run_id: str | None, seq: int | None, *, runs: Runs, access: Access) -> dict[str, Any]:
    for evaluation in runs.evaluations(viewer(access), str(run_id)):
        if evaluation["seq"] == seq:
            return evaluation
    raise DataError("That evaluation is gone: choose another one.")


def _bar(work: dict[str, Any] | None) -> dict[str, Any]:
    value = work.get("fraction", 0) if work else 0
    return {"value": value, "look": "visible" if _is_running(work) and work and not work.get("place") else "hidden"}


def _score_table(evaluation: dict[str, Any]) -> gr.Dataframe:
    headers = view.score_headers(evaluation)
    # Three columns fit on a phone; more of them scroll sideways.
    widths = ["50%", "25%", "25%"] if len(headers) == 3 else ["180px", *["130px"] * (len(headers) - 1)]
    return gr.Dataframe(view.score_rows(evaluation), headers=headers, column_widths=widths)


def _no_unfinished() -> list[Any]:
    return [gr.Row(visible=False), gr.skip()]


def _is_running(work: dict[str, Any] | None) -> bool:
    return work is not None and "error" not in work and "finished" not in work
