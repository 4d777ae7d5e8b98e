"""Evaluate: BLEU of base and tuned on held-out rows, with everything the number was measured with."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..lab import Lab
from . import view
from .charts import score_figure
from .edge import said


class EvaluatePanel:
    """The numbers of a run's last evaluation, and the progress of the one at work."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.seen = gr.State(None)
        self.state = gr.Markdown("Press **Evaluate**.", elem_id="evaluate-state")
        self.sentence = gr.Markdown("", elem_id="evaluate-sentence")
        with gr.Row():
            self.plot = gr.Plot(label="BLEU", visible=False, elem_id="evaluate-plot")
            self.scores = gr.Dataframe(
                headers=["measure", "base", "tuned"], interactive=False, visible=False, elem_id="evaluate-scores"
            )
        self.signature = gr.Textbox(
            label="Signature", interactive=False, visible=False, buttons=["copy"], elem_id="evaluate-signature"
        )
        self.table = gr.Dataframe(
            headers=["instruction", "expected", "base", "tuned"],
            interactive=False,
            wrap=True,
            visible=False,
            max_height=500,
            column_widths=["22%", "26%", "26%", "26%"],
            label="Answers",
            elem_id="evaluate-table",
        )

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.state, self.sentence, self.plot, self.scores, self.signature, self.table]

    def show(self, run_id: str | None, seen: Any) -> list[Any]:
        """What changed since ``seen``: progress while one is at work, the numbers once they are there."""
        if not run_id or not self.lab.store.has(run_id):
            return [gr.skip()] * len(self.outputs)
        found = self.lab.store.evaluations(run_id)[:1]
        work = self.lab.evaluating if (self.lab.evaluating or {}).get("run_id") == run_id else None
        now = [run_id, found[0]["time"] if found else None, work]
        if now == seen:
            return [gr.skip()] * len(self.outputs)
        state = _progress(work) if work else ("" if found else "Not evaluated yet: press **Evaluate**.")
        if seen and now[:2] == seen[:2]:
            return [now, state, *[gr.skip()] * 5]
        if not found:
            hidden = (gr.Plot(visible=False), gr.Dataframe(visible=False), gr.Textbox(visible=False))
            return [now, state, "", *hidden, gr.Dataframe(visible=False)]
        return [
            now,
            state,
            view.evaluation_sentence(found[0]),
            gr.Plot(score_figure(found[0]), visible=True),
            gr.Dataframe(view.score_rows(found[0]), visible=True),
            gr.Textbox(found[0]["tuned"]["signature"], visible=True),
            gr.Dataframe(view.prediction_rows(self.lab.predictions(run_id)[:200]), visible=True),
        ]


def _progress(work: dict[str, Any]) -> str:
    if "error" in work:
        return f"**{view.plain(work['error'], 400)}**"
    if "message" in work:
        return view.plain(work["message"])
    if "done" in work:
        return f"Answering: {work['done']} of {work['total']} answers (base and tuned)."
    return ""


def build(lab: Lab, run: gr.Dropdown) -> tuple[EvaluatePanel, gr.Button]:
    """The tab's contents below the choice of the run."""
    with gr.Row():
        limit = gr.Number(
            40,
            label="Held-out rows",
            elem_id="evaluate-limit",
            info="The first ones of the split; more rows, surer numbers",
            precision=0,
            minimum=1,
        )
        start = gr.Button("Evaluate", variant="primary", elem_id="evaluate-start", scale=3)
        stop = gr.Button("Stop", elem_id="evaluate-stop", scale=1)
    panel = EvaluatePanel(lab)
    following = gr.Button("Next: Runs", elem_id="evaluate-next", size="sm", elem_classes="next")

    @said
    def begin(run_id: str | None, limit: float | None) -> None:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
        else:
            lab.start_evaluation(run_id, int(limit) if limit else None)

    start.click(begin, [run, limit], None, api_visibility="private")
    stop.click(lab.stop_evaluation, None, None, api_visibility="private")
    return panel, following
