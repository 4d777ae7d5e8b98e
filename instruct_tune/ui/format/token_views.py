"""A row's tokens in three ways, and beside them the same row with a fault: a grid, the text and a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ...inspection.token_view import TokenView
from ..fetch_progress import Updates
from .text import TOKEN_HEADERS, answer_of, broken_sentence, prompt_of, token_rows, token_sentence
from .token_grid import grid_value, token_grid

NO_TOKENS = TokenView((), "")


class TokenViews:
    """The views with ``first`` in them. The sentence above them is built by ``head``, they by ``build``."""

    def __init__(self, first: TokenView, note: str):
        """``note``: a quiet line under the sentence."""
        self._first = first
        self._sentence = gr.Markdown(token_sentence(first), elem_id="format-sentence", elem_classes="lead")
        self._note = gr.Markdown(note, elem_id="format-note", elem_classes="note")

    def build(self, more: Callable[[], None]) -> None:
        """Build the tabs; ``more`` adds further ones."""
        with gr.Tabs(elem_id="format-views"):
            with gr.Tab("Tokens", id="Tokens"):
                self._grid = token_grid("format-tokens", grid_value(self._first))
                with gr.Column(visible=False, elem_id="format-broken-row") as self._faulty:
                    self._lesson = gr.Markdown("", elem_id="format-lesson")
                    self._broken = token_grid("format-broken-tokens")
            with gr.Tab("Text", id="Text"), gr.Row():
                self._prompt = _text("Prompt", prompt_of(self._first))
                self._answer = _text("Answer", answer_of(self._first))
            with gr.Tab("Table"):
                self._table = gr.Dataframe(
                    token_rows(self._first),
                    headers=TOKEN_HEADERS,
                    interactive=False,
                    max_height=560,
                    show_label=False,
                    buttons=[],
                    label="Tokens",
                    elem_id="format-table",
                )
            more()

    @property
    def outputs(self) -> list[Any]:
        """The components that the methods below update."""
        views = [self._grid, self._prompt, self._answer, self._table]
        return [self._sentence, self._note, *views, self._faulty, self._lesson, self._broken]

    def show(self, row: TokenView, broken: TokenView | None = None, note: str = "") -> Updates:
        """The updates that show ``row``, and with ``broken`` the row with a fault too."""
        faulty = {self._lesson: broken_sentence(broken), self._broken: grid_value(broken)} if broken else {}
        return {
            self._sentence: token_sentence(row),
            self._note: note,
            self._grid: grid_value(row),
            self._prompt: prompt_of(row),
            self._answer: answer_of(row),
            self._table: token_rows(row),
            self._faulty: gr.Column(visible=broken is not None),
            **faulty,
        }

    def clear(self, sentence: str) -> Updates:
        """The updates that show ``sentence``, Markdown, and no row."""
        return {**self.show(NO_TOKENS), self._sentence: sentence}

    def explain(self, note: str) -> Updates:
        """The update of the line under the sentence; the shown row stays."""
        return {self._note: note}


def _text(label: str, text: str) -> gr.Textbox:
    return gr.Textbox(
        text,
        label=label,
        min_width=320,
        lines=12,
        max_lines=24,
        interactive=False,
        elem_classes="mono",
        elem_id=f"format-{label.lower()}",
    )
