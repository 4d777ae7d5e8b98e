"""Many instructions at once: base, the run and an optional third model answer all; a table and files to save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...errors import DataError, LabError
from ...evaluation.predictions_file import write_rows
from ...services.access import Access
from ...services.inference import MAX_INSTRUCTIONS, Inference
from ..context import QUIET, session, viewer
from ..downloads import save_buttons
from ..formatting import NAMES, decoding
from ..streaming import Turns
from ..workbench import Workbench
from . import decoding as decoding_panel
from . import third_model
from .first_views import RECORDED, of_run
from .third_model import ThirdModelPanel

if TYPE_CHECKING:
    from ...generation.answer import Answer

FIRST_INSTRUCTIONS = (
    "Write a Python function that reverses a string.",
    "What is the capital of France?",
    "Write a SQL query that counts the rows of the table users.",
)
BEFORE = "Base and tuned answer each line; the table can be saved as CSV or JSONL."
TITLES = tuple(NAMES.values())
SHOWN = 600
"""Characters of an answer in the table; the files hold all."""


class BatchPanel:
    """A tab with its own button; the controls of decoding apply here too."""

    def __init__(self, bench: Workbench, run: gr.Dropdown, *, inference: Inference, access: Access):
        self.inference, self.access = inference, access
        self.run = run
        self.turns = Turns()
        first = of_run(run.value)
        with bench.choose, gr.Column(elem_classes=["of-view", "of-many"]):
            self.instructions = gr.Textbox(
                "\n".join(FIRST_INSTRUCTIONS),
                label="Instructions",
                info=f"One a line, at most {MAX_INSTRUCTIONS}; decoded as set under Decoding",
                lines=8,
                max_lines=20,
                elem_id="compare-many-asked",
            )
        with bench.act, gr.Row(elem_classes=["of-view", "of-many"]):
            self.button = gr.Button("Answer all", variant="primary", elem_id="compare-many-ask")
            self.stop = gr.Button("Stop", elem_id="compare-many-stop", visible=False)
        with gr.Tab("Many", id="Many", elem_id="compare-many"):
            self.state = gr.Markdown(_with_origin(first.many) if first else BEFORE, elem_id="compare-many-state")
            self.rows = gr.State(first.many["rows"] if first else [])
            with gr.Column(visible=bool(first)) as self.found:
                self.table = gr.Dataframe(
                    _table(first.many["rows"], TITLES) if first else None,
                    datatype="str",
                    column_widths=_widths(len(NAMES)),
                    interactive=False,
                    wrap=True,
                    max_height=460,
                    show_label=False,
                    elem_id="compare-many-table",
                )
                save_buttons("compare-many", "answers", [self.rows], _write, ("csv", "jsonl"))

    @property
    def _outputs(self) -> list[Any]:
        return [self.state, self.found, self.table, self.rows, self.stop]

    def wire(self, third: ThirdModelPanel, controls: Sequence[Any]) -> None:
        """Connect the buttons. ``controls``: those of decoding."""
        self.third = third
        inputs = [self.run, self.instructions, *third.controls, *controls]
        answering = self.button.click(self._answer, inputs, self._outputs, **QUIET)
        # An error ends the answers without their last update.
        answering.failure(lambda: gr.Button(visible=False), None, self.stop, **QUIET)
        self.stop.click(self._stop, None, None, queue=False, **QUIET)
        # Answers of another run would stand under the chosen one's name.
        self.run.change(self._before, self.run, self._outputs, cancels=[answering], **QUIET)

    def _before(self, run_id: str | None, request: gr.Request) -> list[Any]:
        self.turns.drop(request.session_hash)
        first = of_run(run_id)
        rows = first.many["rows"] if first else []
        words = _with_origin(first.many) if first else BEFORE
        return _updates(rows, TITLES, words, at_work=False)

    def _stop(self, request: gr.Request) -> None:
        self.turns.stop(request.session_hash)

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
        names = _distinct([*TITLES, *([self.third.label_of(third, run_id)] if third else [])])
        answerers = third_model.answerers(run_id, strength, third, third_strength)
        yield [f"0 of {len(lines)} answered…", gr.Column(visible=False), gr.skip(), [], gr.Button(visible=True)]
        with self.turns.of(session()) as stop:
            rows: list[dict[str, str]] = []
            pairs = [(line, "") for line in lines]
            try:
                for answers in self.inference.compare_rows(viewer(self.access), answerers, pairs, settings, stop):
                    rows = answer_rows(lines, names, answers)
                    yield _updates(rows, names, f"{len(rows)} of {len(lines)} answered…", at_work=True)
            except LabError:
                yield [BEFORE, *[gr.skip()] * 4]
                raise
            done = "Done." if len(rows) == len(lines) else f"Stopped: {len(rows)} of {len(lines)} answered."
            yield _updates(rows, names, f"{done} {decoding(settings)}", at_work=False)


def _updates(rows: list[dict[str, str]], names: Sequence[str], words: str, at_work: bool) -> list[Any]:
    table = gr.Dataframe(_table(rows, names), column_widths=_widths(len(names)))
    return [words, gr.Column(visible=bool(rows)), table, rows, gr.Button(visible=at_work)]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of the columns: that of a run may be another column's."""
    taken = {"instruction"}
    distinct = []
    for name in names:
        while name in taken:
            name = f"{name} (third)"
        taken.add(name)
        distinct.append(name)
    return distinct


def answer_rows(
    lines: Sequence[str], names: Sequence[str], answers: Sequence[Sequence[Answer]]
) -> list[dict[str, str]]:
    """A row for each answered instruction: its text, and the answers by who gave them."""
    return [
        {"instruction": line, **{name: answer.text for name, answer in zip(names, texts, strict=True)}}
        for line, texts in zip(lines, answers, strict=False)
    ]


def _table(rows: list[dict[str, str]], names: Sequence[str]) -> dict[str, Any]:
    return {"headers": ["Instruction", *names], "data": [[text[:SHOWN] for text in row.values()] for row in rows]}


def _widths(answers: int) -> list[str]:
    """Widths of the table's columns: the instructions are short."""
    return ["22%", *[f"{78 // answers}%"] * answers]


def _with_origin(value: dict[str, Any]) -> str:
    return f"{decoding(value['generation'])} {RECORDED}"


def _write(rows: list[dict[str, str]], file: Path) -> Path:
    if not rows:
        raise DataError("There are no answers to save yet.")
    write_rows(rows, file)
    return file
