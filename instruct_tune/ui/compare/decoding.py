"""The decoding settings of Compare: two folds of controls, and their values as JSON to copy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...config.validation import MAX_STOPS
from ...services.answerers import MAX_STRENGTH
from ..context import QUIET
from ..number_box import NumberBox

GREEDY, BEAMS, SAMPLING = "greedy", "beams", "sampling"


class DecodingPanel:
    """``controls`` are the inputs of ``settings``, then ``strength``; moving that slider asks again.

    ``by_setting`` are they by the setting that each changes most.
    """

    def __init__(self) -> None:
        with gr.Accordion("Adapter strength", open=False, elem_id="compare-strength-fold"):
            self.strength = gr.Slider(
                0,
                MAX_STRENGTH,
                1,
                step=0.05,
                label="Times as trained",
                info="0: base; moving it asks again",
                elem_id="compare-strength",
            )
        with gr.Accordion("Decoding", open=False, elem_id="compare-decoding"):
            self._add_controls()
            shown = gr.Code(
                as_json(*(control.value for control in self.controls)),
                label="These settings as JSON, for scripts",
                language=None,
                interactive=False,
                show_line_numbers=False,
                buttons=["copy"],
                elem_id="compare-settings",
            )
        gr.on(
            [control.change for control in self.controls],
            as_json,
            self.controls,
            shown,
            trigger_mode="always_last",
            **QUIET,
        )

    def _add_controls(self) -> None:
        way = gr.Radio(
            [GREEDY, BEAMS, SAMPLING],
            value=GREEDY,
            label="Decoding",
            info="Greedy: always the likeliest token; beams: the likeliest whole answer; sampling: by chance",
            elem_id="compare-way",
        )
        longest = gr.Slider(
            8, 1024, 96, step=8, label="Longest answer in tokens", info="Longer ones are cut", elem_id="compare-longest"
        )
        beams = gr.Slider(
            2, 8, 5, step=1, label="Beams", info="For beams; with early stopping", elem_id="compare-beams"
        )
        temperature = gr.Slider(
            0.1,
            2,
            0.8,
            step=0.1,
            label="Temperature",
            info="For sampling; higher: wilder",
            elem_id="compare-temperature",
        )
        top_p = gr.Slider(
            0.1,
            1,
            0.95,
            step=0.05,
            label="Top-p",
            info="For sampling; lower drops rare tokens",
            elem_id="compare-top-p",
        )
        seed = NumberBox(
            42, label="Seed", precision=0, info="For sampling; the same seed, the same answers", elem_id="compare-seed"
        )
        stop = gr.Textbox(
            label="Stop texts",
            info="One a line; an answer is cut before the first of them. \\n is a new line",
            lines=1,
            max_lines=MAX_STOPS,
            elem_id="compare-stop-texts",
        )
        self.by_setting = {
            "generation.num_beams": way,
            "generation.do_sample": way,
            "generation.early_stopping": beams,
            "generation.max_new_tokens": longest,
            "generation.temperature": temperature,
            "generation.top_p": top_p,
            "generation.seed": seed,
            "generation.stop": stop,
        }
        self.controls = [way, longest, beams, temperature, top_p, seed, stop, self.strength]

    def read(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The generation settings, of an event whose inputs are a set."""
        return settings(*(values[control] for control in self.controls[:-1]))


def settings(
    way: str, longest: int, beams: int, temperature: float, top_p: float, seed: float, stop: str
) -> dict[str, Any]:
    """The controls' values as generation settings; \\n and \\t in stop texts become a new line and a tab."""
    chosen: dict[str, Any] = {"max_new_tokens": longest, "max_length": None, "num_beams": 1, "do_sample": False}
    if way == BEAMS:
        chosen |= {"num_beams": beams, "early_stopping": True}
    elif way == SAMPLING:
        chosen |= {"do_sample": True, "temperature": temperature, "top_p": top_p, "seed": int(seed or 0)}
    if stops := [line.replace("\\n", "\n").replace("\\t", "\t") for line in (stop or "").splitlines() if line]:
        chosen["stop"] = stops
    return chosen


def as_json(*values: Any) -> str:
    """The values of all controls as JSON text, for copying."""
    return json.dumps({"generation": settings(*values[:-1]), "adapter_strength": values[-1]}, indent=2)
