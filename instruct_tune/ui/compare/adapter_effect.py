"""The tab "Effect": whether the adapter did anything, in one sentence of verdict, and a bar for each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from ...services.access import Access
from ...services.inference import Inference
from ...services.runs import Runs
from ..context import PRIVATE, QUIET, viewer
from ..workbench import Workbench
from .effect_text import bars, evaluated_answers, sentence
from .first_views import RECORDED, of_run

if TYPE_CHECKING:
    from ...evaluation.adapter_effect import AdapterEffect

# The value holds numbers and the app's own words, no text of a dataset.
_TEMPLATE = """
<div class="norms" role="img" aria-label="{{value.description}}">
  <div class="norm-top">{{value.most}}</div>
  <div class="norm-bars">
    {{#each value.bars}}<span title="{{this.description}}" style="height: {{this.height}}%"></span>{{/each}}
  </div>
  <div class="norm-ends"><span>{{value.first}}</span><span>{{value.last}}</span></div>
</div>
<div class="norm-description">{{value.description}}</div>
"""
_LOOK = """
.norms { max-width: 720px; }
.norm-bars { display: flex; align-items: flex-end; gap: 2px; height: 110px;
  border-bottom: 1px solid var(--body-text-color-subdued); }
.norm-bars span { flex: 1; background: #2563eb; min-height: 1px; border-radius: 2px 2px 0 0; }
.norm-ends { display: flex; justify-content: space-between; }
.norm-top, .norm-ends, .norm-description { font-size: 12px; color: var(--body-text-color-subdued); }
"""


class EffectPanel:
    """A tab with its own button; when another run is chosen it shows what that run's last evaluation says."""

    def __init__(self, bench: Workbench, run: gr.Dropdown, *, runs: Runs, inference: Inference, access: Access):
        self.runs, self.inference, self.access = runs, inference, access
        with bench.act, gr.Column(elem_classes=["of-view", "of-effect"]):
            button = gr.Button("Measure the effect", variant="primary", elem_id="compare-effect-measure")
        with gr.Tab("Effect", id="Effect", elem_id="compare-effect"):
            gr.Markdown(
                "Did the adapter do anything? How far tuned's predictions are from base's on the first held-out rows, "
                "and how much the adapter adds to each layer.",
                elem_classes="note",
            )
            first = of_run(run.value)
            self.sentence = gr.Markdown(self._before(run.value), elem_id="compare-effect-sentence")
            self.norms = gr.HTML(
                first.effect["bars"] if first else bars([]),
                html_template=_TEMPLATE,
                css_template=_LOOK,
                elem_id="compare-effect-norms",
                visible=bool(first) or "hidden",
            )
        outputs = [self.sentence, self.norms]
        measured = button.click(self._measure, run, outputs, concurrency_limit=4, show_progress="minimal", **PRIVATE)
        run.change(self._show_before, run, outputs, cancels=[measured], **QUIET)

    def _before(self, run_id: str | None) -> str:
        """What is known without a model: what was recorded, and what the last evaluation says."""
        first = of_run(run_id)
        recorded = f"{first.effect['sentence']} {RECORDED} " if first else ""
        return recorded + self._evaluated(run_id)

    def _show_before(self, run_id: str | None) -> list[Any]:
        first = of_run(run_id)
        norms = gr.HTML(first.effect["bars"], visible=True) if first else gr.HTML(bars([]), visible="hidden")
        return [self._before(run_id), norms]

    def _evaluated(self, run_id: str | None) -> str:
        return evaluated_answers(self.runs.last_evaluations(viewer(self.access)).get(str(run_id)))

    def _measure(self, run_id: str | None) -> list[Any]:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return self._show_before(run_id)
        value = effect_value(self.inference.adapter_effect(viewer(self.access), run_id))
        return [f"{value['sentence']} {self._evaluated(run_id)}", gr.HTML(value["bars"], visible=True)]


def effect_value(effect: AdapterEffect) -> dict[str, Any]:
    """What the tab shows of an effect, as JSON."""
    return {"sentence": sentence(effect), "bars": bars(effect.layers)}
