"""The Evaluate tab: BLEU of base and tuned on held-out rows, with all settings of the measurement."""

from __future__ import annotations

import gradio as gr

from ...evaluation import bleu_tokenizers
from ...services.access import Access
from ...services.evaluations import Evaluations
from ...services.runs import Runs
from ...services.transfers import Transfers
from ..context import PRIVATE, QUIET, user_errors, viewer
from ..run_picker import EmptyState
from . import lesson_score
from . import text as view
from .leaderboard import LeaderboardPanel
from .result import EvaluationPanel

NO_RUN = "No trained run yet, so there is nothing to measure. Half a minute of training gives one."


class EvaluateTab:
    """The tab's contents below the choice of the run. ``following`` is the button to the next tab."""

    def __init__(
        self,
        run: gr.Dropdown,
        tabs: gr.Tabs,
        *,
        runs: Runs,
        evaluations: Evaluations,
        transfers: Transfers,
        access: Access,
    ):
        self._evaluations, self._access = evaluations, access
        self._run = run
        EmptyState(run, tabs, NO_RUN, "evaluate", runs=runs, access=access)
        self._choices()
        with gr.Row():
            self._start = gr.Button("Evaluate", variant="primary", elem_id="evaluate-start", scale=4, interactive=False)
            self._stop = gr.Button("Stop", elem_id="evaluate-stop", scale=1)
        self.panel = EvaluationPanel(run, runs=runs, evaluations=evaluations, transfers=transfers, access=access)
        leaderboard_tables = LeaderboardPanel(evaluations=evaluations, access=access)
        lesson_score.build()
        self.following = gr.Button("Next: Runs", elem_id="evaluate-next", size="sm", elem_classes="next")
        self._wire()
        self.panel.wire()
        leaderboard_tables.wire()

    def _choices(self) -> None:
        with gr.Row(equal_height=True):
            self._limit = gr.Number(
                40,
                label="Held-out rows",
                elem_id="evaluate-limit",
                info="The first ones of the split; more rows, surer numbers",
                precision=0,
                minimum=1,
                min_width=200,
            )
            self._longest = gr.Number(
                0,
                label="Longest answer in tokens",
                info="0: as the run's own generation settings say",
                elem_id="evaluate-longest",
                precision=0,
                minimum=0,
                min_width=200,
            )
        with gr.Accordion("Baselines beside base", open=False, elem_id="evaluate-beside"):
            self._beside = gr.CheckboxGroup(
                [(label.capitalize(), name) for name, label in view.BASELINES.items()],
                label="Also measured",
                info="What gets how far without any training; base's answers are kept, as always",
                elem_id="evaluate-baselines",
            )
        with gr.Accordion("How BLEU counts words", open=False, elem_id="evaluate-words"):
            self._words = gr.Dropdown(
                view.tokenisations(),
                value=bleu_tokenizers.DEFAULT,
                label="Tokenisation",
                info="Scores by different ones are not comparable; the signature tells which it was",
                elem_id="evaluate-tokenize",
            )

    def _wire(self) -> None:
        settings = [self._limit, self._longest, self._beside, self._words]
        self.panel.go_on.click(self._go_on, self._run, None, **PRIVATE)
        self._start.click(self._begin, [self._run, *settings], None, **PRIVATE)
        self._stop.click(self._end, self._run, None, **PRIVATE)
        self._run.change(_startable, self._run, self._start, **QUIET)

    @user_errors
    def _begin(
        self, run_id: str | None, limit: float | None, longest: float | None, baselines: list[str], tokenize: str
    ) -> None:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return
        generation = {"max_new_tokens": int(longest), "max_length": None} if longest else None
        rows, requester = int(limit) if limit else None, viewer(self._access)
        self._evaluations.start(requester, run_id, rows, generation, baselines=baselines, tokenize=tokenize)

    @user_errors
    def _end(self, run_id: str | None) -> None:
        if run_id:
            self._evaluations.stop(viewer(self._access), run_id)

    @user_errors
    def _go_on(self, run_id: str | None) -> None:
        requester = viewer(self._access)
        unfinished = self._evaluations.unfinished(requester, str(run_id))
        if not unfinished:
            gr.Info("Nothing is left to go on with: press Evaluate.")
            return
        settings = {name: unfinished[0][name] for name in ("rows", "generation", "baselines", "tokenize")}
        self._evaluations.start(requester, str(run_id), **settings)


def _startable(run_id: str | None) -> gr.Button:
    return gr.Button(interactive=bool(run_id))
