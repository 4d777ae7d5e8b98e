"""Editor for one filter: a choice of kinds, and the controls of the chosen kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...config.filters import PARTS, STEPS, UNITS, Filter, parameters
from ...text.code_language import NAMES as LANGUAGES
from ..context import QUIET
from ..number_box import NumberBox
from .filter_text import KINDS, read_step

FIRST = "length"
_LOOKED_AT = {"instruction": "the instruction", "input": "the input", "output": "the answer", "row": "all three"}


class FilterForm:
    """A dropdown of kinds and the controls of all kinds; only those of the chosen kind are visible."""

    def __init__(self) -> None:
        self.kind = gr.Dropdown(
            [(label, step) for step, (label, _) in KINDS.items()],
            value=FIRST,
            label="Kind",
            info=KINDS[FIRST][1],
            elem_id="filter-kind",
        )
        with gr.Row():
            self._controls = self._make()
        for name, control in self._controls.items():
            # Which tokenizer matters only once tokens are counted.
            control.visible = name in parameters(STEPS[FIRST]) and name != "tokenizer"

    def _make(self) -> dict[str, gr.components.Component]:
        few: dict[str, Any] = {"min_width": 180}
        return {
            "of": gr.Dropdown(
                [(_LOOKED_AT[part], part) for part in PARTS], value="output", label="Looks at",
                info="Which text of a row decides", elem_id="filter-of", **few,
            ),
            "unit": gr.Dropdown(
                list(UNITS), value="characters", label="Counted in",
                info="Tokens are those of the text alone, without the template", elem_id="filter-unit", **few,
            ),
            "min": NumberBox(
                1, label="At least", info="Shorter ones are dropped; empty: no limit", precision=0,
                placeholder="no limit", elem_id="filter-min", **few,
            ),
            "max": NumberBox(
                1000, label="At most", info="Longer ones are dropped; empty: no limit", precision=0,
                placeholder="no limit", elem_id="filter-max", **few,
            ),
            "tokenizer": gr.Textbox(
                "", label="Tokens of", info="A model's name; empty: the model on Train, written down here",
                elem_id="filter-tokenizer", **few,
            ),
            "text": gr.Textbox(
                "", label="Text", info="Part of the text, as it is written", elem_id="filter-text", elem_classes="mono",
                min_width=320,
            ),
            "pattern": gr.Textbox(
                "", label="Regular expression", info="As Python writes them; capitals matter",
                elem_id="filter-pattern", elem_classes="mono", min_width=320,
            ),
            "language": gr.Dropdown(
                [*LANGUAGES, ("no language: prose", "none")], value="python", label="Language",
                info="What the answer looks like", elem_id="filter-language", **few,
            ),
            "exclude": gr.Checkbox(
                False, label="The other way round", info="Keep the rows where it is not so", elem_id="filter-exclude",
                **few,
            ),
            "threshold": gr.Slider(
                0.7, 1, 0.9, step=0.01, label="Alike by", info="1: the same but for case and spacing",
                elem_id="filter-threshold", **few,
            ),
            "n": NumberBox(
                1000, label="Rows", info="All are kept where there are fewer", precision=0, elem_id="filter-n", **few
            ),
            "seed": NumberBox(
                42, label="Seed", info="Another seed draws other rows", precision=0, elem_id="filter-seed", **few
            ),
            "rows": gr.Textbox(
                "", label="Ids of rows", info="One a line, as a row shown in full tells it", lines=3, max_lines=8,
                elem_id="filter-rows", elem_classes="mono", min_width=320,
            ),
        }  # fmt: skip

    @property
    def inputs(self) -> set[gr.components.Component]:
        """The inputs of ``read``."""
        return {self.kind, *self._controls.values()}

    @property
    def outputs(self) -> list[Any]:
        """The components that ``fill`` updates."""
        return [self.kind, *self._controls.values()]

    def wire(self) -> None:
        """Connect what decides which controls are visible: the kind, and whether tokens are counted."""
        unit, tokenizer = self._controls["unit"], self._controls["tokenizer"]
        self.kind.input(self._show, [self.kind, unit], self.outputs, trigger_mode="always_last", **QUIET)
        unit.input(lambda unit: gr.update(visible=unit == "tokens"), unit, tokenizer, **QUIET)

    def _show(self, kind: str, unit: str) -> dict[Any, Any]:
        fields = parameters(STEPS[kind])
        hidden = () if unit == "tokens" else ("tokenizer",)
        shown = {
            control: gr.update(visible=name in fields and name not in hidden)
            for name, control in self._controls.items()
        }
        return {self.kind: gr.Dropdown(info=KINDS[kind][1]), **shown}

    def read(self, values: Mapping[Any, Any], model: str) -> Filter:
        """The filter in the controls. ``model`` counts the tokens where no tokenizer is named.

        Raises DataError where the filter is not valid.
        """
        kind = values[self.kind]
        fields = {name: values[self._controls[name]] for name in parameters(STEPS[kind])}
        if "rows" in fields:
            fields["rows"] = list(dict.fromkeys((fields["rows"] or "").split()))
        if "tokenizer" in fields:
            counted_by = (fields["tokenizer"] or "").strip() or model
            fields["tokenizer"] = counted_by if fields["unit"] == "tokens" else None
        return read_step({"step": kind, **fields})

    def fill(self, step: Filter) -> dict[Any, Any]:
        """The updates that put ``step`` into the controls."""
        fields = dataclasses.asdict(step)
        shown: dict[Any, Any] = {}
        for name, control in self._controls.items():
            if name == "tokenizer" and name in fields:
                shown[control] = gr.update(visible=fields["unit"] == "tokens", value=fields[name] or "")
            elif name in fields:
                shown[control] = gr.update(
                    visible=True, value="\n".join(fields[name]) if name == "rows" else fields[name]
                )
            else:
                shown[control] = gr.update(visible=False)
        return {self.kind: gr.Dropdown(value=step.step, info=KINDS[step.step][1]), **shown}
