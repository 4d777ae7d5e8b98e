"""Many instructions at once: base, the run and an optional third model answer all; a table and files to save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...errors import DataError
from ...evaluation.predictions_file import write_rows
from ...services.access import Access
from ...services.inference import MAX_INSTRUCTIONS, Inference
from ..context import QUIET, session, user_errors, viewer
from ..downloads import save_buttons
from ..formatting import NAMES, decoding
from ..streaming import Turns
from . import decoding as decoding_panel
from . import third_model
from .third_model import ThirdModelPanel

if TYPE_CHECKING:
    from ...generation.answer import Answer

BEFORE = "Base and tuned answer each line; the table can be saved as CSV or JSONL."
SHOWN = 600
"""Characters of an answer in the table; the files hold all."""


class BatchPanel:
    """A tab with its own button. ``controls``: those of decoding, which apply here too."""

    def __init__(
        self, run: gr.Dropdown, third: ThirdModelPanel, controls: Sequence[Any], *, inference: Inference, access: Access
    ):
        self.inference, self.access = inference, access
        self.run, self.third, self.controls = run, third, controls
        self.turns = Turns()
        with gr.Tab("Many", id="Many", elem_id="compare-many"):
            self.instructions = gr.Textbox(
                label="Instructions",
                info=f"One a line, at most {MAX_INSTRUCTIONS}; decoded as set under Decoding",
                lines=5,
                max_lines=20,
                elem_id="compare-many-asked",
            )
            with gr.Row():
                self.button = gr.Button("Answer all", elem_id="compare-many-ask", size="md", scale=4)
                self.stop = gr.Button("Stop", elem_id="compare-many-stop", size="md", scale=1)
            self.state = gr.Markdown(BEFORE, elem_id="compare-many-state")
            self.rows = gr.State([])
            with gr.Column(visible=False) as self.found:
                self.table = gr.Dataframe(
                    datatype="str",
                    interactive=False,
                    wrap=True,
                    max_height=460,
                    show_label=False,
                    elem_id="compare-many-table",
                )
                save_buttons("compare-many", "answers", [self.rows], _write, ("csv", "jsonl"))
        self._wire()

    def _wire(self) -> None:
        inputs = [self.run, self.instructions, *self.third.controls, *self.controls]
        self.button.click(self._answer, inputs, [self.state, self.found, self.table, self.rows], **QUIET)
        self.stop.click(self._stop, None, None, queue=False, **QUIET)

    def _stop(self, request: gr.Request) -> None:
        self.turns.stop(request.session_hash)

    @user_errors
    def _answer(
        self, run_id: str | None, text: str, third: str, third_strength: float, *controls: Any
    ) -> Iterator[list[Any]]:
        if not run_id:
            raise DataError("There is no trained run yet: train one first.")
        *decoded, strength = controls
        settings = decoding_panel.settings(*decoded)
        lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
        if not lines:
            raise DataError("Type instructions first, one a line.")
        names = [*NAMES.values(), *([self.third.label_of(third, run_id)] if third else [])]
        answerers = third_model.answerers(run_id, strength, third, third_strength)
        yield [f"0 of {len(lines)} answered…", gr.Column(visible=False), gr.skip(), []]
        with self.turns.of(session()) as stop:
            answers: list[list[Answer]] = []
            pairs = [(line, "") for line in lines]
            for answers in self.inference.compare_rows(viewer(self.access), answerers, pairs, settings, stop):
                yield self._updates(lines, names, answers, f"{len(answers)} of {len(lines)} answered…")
            done = "Done." if len(answers) == len(lines) else f"Stopped: {len(answers)} of {len(lines)} answered."
            yield self._updates(lines, names, answers, f"{done} {decoding(settings)}")

    def _updates(self, lines: list[str], names: list[str], answers: list[list[Answer]], words: str) -> list[Any]:
        rows = [
            {"instruction": line, **{name: answer.text for name, answer in zip(names, texts, strict=True)}}
            for line, texts in zip(lines, answers, strict=False)
        ]
        cells = [[text[:SHOWN] for text in row.values()] for row in rows]
        table = {"headers": ["Instruction", *names], "data": cells}
        return [words, gr.Column(visible=bool(rows)), table, rows]


def _write(rows: list[dict[str, str]], file: Path) -> Path:
    if not rows:
        raise DataError("There are no answers to save yet.")
    write_rows(rows, file)
    return file
