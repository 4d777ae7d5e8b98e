"""A number box that can be empty, and whose error about a number out of range names it; a slider that holds any number.

gradio's own box turns no value into 0 once it is drawn, and its error names only the value and the bound. Its slider
refuses every event that it is an input of while a configuration from elsewhere has put a number beyond its ends there.
"""

from __future__ import annotations

import gradio as gr

from .gradio_import import without_stubs

# gradio would write a stub of the class beside this file.
with without_stubs():

    class NumberBox(gr.Number):
        """gradio's box; the browser gets and sends an empty text for no value, which handlers see as None."""

        def get_block_name(self) -> str:
            """The component that the browser draws."""
            return "number"

        def preprocess(self, payload: float | str | None) -> float | int | None:
            """The number that handlers get."""
            if payload is None or isinstance(payload, str):
                return None
            too_small = self.minimum is not None and payload < self.minimum
            if too_small or (self.maximum is not None and payload > self.maximum):
                bound = f"at least {self.minimum:g}" if too_small else f"at most {self.maximum:g}"
                raise gr.Error(f"{self.label}: choose {bound}, not {payload:g}.", duration=20, print_exception=False)
            return self.round_to_precision(payload, self.precision)

        def postprocess(self, value: float | str | None) -> float | int | str:
            """What the browser gets."""
            return "" if value is None or isinstance(value, str) else self.round_to_precision(value, self.precision)

    class OpenSlider(gr.Slider):
        """gradio's slider over the usual values; the configuration's validation says which others are right."""

        def get_block_name(self) -> str:
            """The component that the browser draws."""
            return "slider"

        def preprocess(self, payload: float) -> float:
            """The number that handlers get."""
            return payload
