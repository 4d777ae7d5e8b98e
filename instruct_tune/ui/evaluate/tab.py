"""The Evaluate tab: BLEU of base and tuned on held-out rows, with all settings of the measurement."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...config.run_config import GenerationSettings
from ...evaluation import bleu_tokenizers
from ...services.access import Access
from ...services.devices import Devices
from ...services.evaluations import Evaluations
from ...services.runs import Runs
from ...services.transfers import Transfers
from .. import run_picker
from ..as_python import AsPython
from ..context import PRIVATE, QUIET, viewer
from ..device_choice import CPU, DeviceChoice
from ..form import Form
from ..number_box import NumberBox
from ..workbench import workbench
from . import lesson_score
from . import text as view
from .leaderboard import LeaderboardPanel
from .result import EvaluationPanel

NO_RUN = "No trained run yet, so there is nothing to measure. Half a minute of training gives one."

OWN = "The run's own"
# All that has no effect there too: equal measurements have equal settings, and stand in one table.
_DETERMINISTIC = {
    name: getattr(GenerationSettings(), name)
    for name in ("num_beams", "do_sample", "early_stopping", "temperature", "top_p", "seed")
}
DECODING: dict[str, dict[str, Any]] = {
    OWN: {},
    "Greedy": _DETERMINISTIC,
    "Five beams": {**_DETERMINISTIC, "num_beams": 5, "early_stopping": True},
}
"""What the choice of decoding changes in the run's generation settings."""


class EvaluateTab:
    """The tab's contents. ``run`` is the choice of the run, ``following`` the button to the next tab."""

    def __init__(
        self,
        form: Form,
        as_python: AsPython,
        tabs: gr.Tabs,
        *,
        runs: Runs,
        evaluations: Evaluations,
        transfers: Transfers,
        devices: Devices,
        access: Access,
    ):
        self._evaluations, self._access = evaluations, access
        bench = workbench("evaluate")
        with bench.choose:
            self.run = run_picker.run_choice("evaluate-run")
            run_picker.build(form, self.run, "evaluate-template", runs=runs, access=access)
            which = gr.Dropdown(
                [],
                label="Shown evaluation",
                info="The last one of the run; earlier ones are kept",
                visible=False,
                elem_id="evaluate-which",
            )
            self._choices()
        with bench.act:
            self._device = DeviceChoice(devices, "evaluate-device")
            self._start = gr.Button("Evaluate", variant="primary", elem_id="evaluate-start", interactive=False)
            self._stop = gr.Button("Stop", elem_id="evaluate-stop", visible=False)
        with bench.show:
            run_picker.EmptyState(self.run, tabs, NO_RUN, "evaluate", runs=runs, access=access)
            self.panel = EvaluationPanel(
                self.run, which, self._stop, runs=runs, evaluations=evaluations, transfers=transfers, access=access
            )
            with gr.Tabs(elem_id="evaluate-tabs"):
                with gr.Tab("Result", id="Result"):
                    self.panel.result_tab()
                with gr.Tab("Rows", id="Rows"):
                    self.panel.rows_tab()
                with gr.Tab("All runs") as all_runs:
                    leaderboard_tables = LeaderboardPanel(self.run, evaluations=evaluations, access=access)
                with gr.Tab("Why 0.4?", id="Why 0.4?"):
                    lesson_score.build()
            as_python.fold("evaluate")
            as_python.count_own("evaluate", {"tokenize": self._words}, lambda values: {"tokenize": values[self._words]})
            self.following = gr.Button("Next: Runs", elem_id="evaluate-next", size="sm", elem_classes="next")
        self._wire()
        self.panel.wire()
        leaderboard_tables.wire(all_runs)

    def _choices(self) -> None:
        with gr.Row(elem_classes="pairs-of"):
            self._limit = NumberBox(
                40,
                label="Held-out rows",
                elem_id="evaluate-limit",
                info="The split's first ones",
                precision=0,
                minimum=1,
            )
            self._longest = NumberBox(
                label="Longest answer",
                info="Tokens",
                placeholder="the run's own",
                elem_id="evaluate-longest",
                precision=0,
                minimum=1,
            )
        self._decoding = gr.Dropdown(
            list(DECODING), value=OWN, label="Decoding", info="Beams cost time and gain a little",
            elem_id="evaluate-decoding",
        )  # fmt: skip
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
        settings = [self._limit, self._longest, self._decoding, self._beside, self._words]
        begun = (
            self.panel.go_on.click(self._go_on, [self.run, self._device.control], None, **PRIVATE),
            self._start.click(self._begin, [self.run, self._device.control, *settings], None, **PRIVATE),
            self._stop.click(self._end, self.run, None, **PRIVATE),
        )
        for event in begun:
            event.success(self.panel.follow, self.panel.inputs, self.panel.outputs, queue=False, **QUIET)
        self.run.change(_startable, self.run, self._start, **QUIET)

    def _begin(
        self,
        run_id: str | None,
        device: str,
        limit: float | None,
        longest: float | None,
        decoding: str,
        baselines: list[str],
        tokenize: str,
    ) -> None:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return
        generation = {**DECODING[decoding], **({"max_new_tokens": int(longest), "max_length": None} if longest else {})}
        rows, requester = int(limit) if limit else None, viewer(self._access)
        self._evaluations.start(
            requester, run_id, rows, generation, baselines=baselines, tokenize=tokenize, own_device=device == CPU
        )

    def _end(self, run_id: str | None) -> None:
        if run_id:
            self._evaluations.stop(viewer(self._access), run_id)

    def _go_on(self, run_id: str | None, device: str) -> None:
        requester = viewer(self._access)
        unfinished = self._evaluations.unfinished(requester, str(run_id))
        if not unfinished:
            gr.Info("Nothing is left to go on with: Evaluate begins anew.")
            return
        settings = {name: unfinished[0][name] for name in ("rows", "generation", "baselines", "tokenize")}
        self._evaluations.start(requester, str(run_id), **settings, own_device=device == CPU)


def _startable(run_id: str | None) -> gr.Button:
    return gr.Button(interactive=bool(run_id))
