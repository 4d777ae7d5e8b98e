"""Exhibits: one view of the lab alone, for a frame in another page.

``?exhibit=NAME`` opens the usual page, of which only what the exhibit names is drawn. The browser's storage is left
alone: an exhibit shows everybody the same, and nobody's form or secret is read in a frame.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import Any

import gradio as gr

from .scripted_html import static_text

LONGEST = 2000
"""Characters of a text in a link; some servers reject longer addresses."""

NOTE = "exhibit-note"
"""The id of the sentence that stands in the place of an exhibit."""


@dataclass(frozen=True)
class Exhibit:
    """``tab`` of the page, ``view`` of Compare; ``parts``: the ids of what is drawn, and all in it.

    ``title`` and ``height`` (pixels) are those of its frame.
    """

    tab: str
    parts: tuple[str, ...]
    title: str
    height: int
    view: str = ""


EXHIBITS = {
    "xray": Exhibit(
        "Format",
        ("format-sentence", "format-tokens", "format-broken-row"),
        "Tokens that carry loss",
        440,
    ),
    "curve": Exhibit("Train", ("train-status", "train-chart", "train-scrubber"), "Loss curve of a run", 860),
    "beams": Exhibit(
        "Compare",
        ("compare-instruction", "compare-input", "compare-search-start", "compare-search-stop", "compare-search-state",
         "compare-search-beams", "compare-search-branch"),
        "Beam search of base and tuned",
        760,
        "Search",
    ),
    "compare": Exhibit(
        "Compare",
        ("compare-instruction", "compare-input", "compare-ask", "compare-stop", "compare-state", "compare-answers"),
        "Answers of base and tuned",
        820,
        "Answers",
    ),
}  # fmt: skip

SELECT = """note => {
  const places = PLACES[document.querySelector('style[data-exhibit]')?.dataset.exhibit];
  return [0, 1].map(at => ({__type__: 'update', ...(!note && places?.[at] && {selected: places[at]})}));
}""".replace("PLACES", json.dumps({name: [exhibit.tab, exhibit.view] for name, exhibit in EXHIBITS.items()}))
"""JavaScript that opens the exhibit's tab and view, unless a note stands in its place."""

FRAME = """(name, params) => {
  const [title, height] = FRAMES[name];
  const query = new URLSearchParams([['exhibit', name], ...new URLSearchParams(params)]);
  return `<iframe src="${location.origin}${location.pathname}?${query}" title="${title}" ` +
    `width="100%" height="${height}" style="border: 0" loading="lazy"></iframe>`;
}""".replace("FRAMES", json.dumps({name: [each.title, each.height] for name, each in EXHIBITS.items()}))
"""JavaScript that makes the line for another page: (the exhibit's name, its other parameters) → HTML."""

FRAMES = f"run => {json.dumps(list(EXHIBITS))}.map(name => ({FRAME})(name, {{run}})).join('\\n\\n')"
"""JavaScript: a run's id → the lines of all exhibits."""

# A browser may refuse storage to a frame, and raise at each use of it.
_STORAGE = """<script>{
  const kept = new Map();
  const storage = {
    getItem: key => kept.get(key) ?? null,
    setItem: (key, value) => { kept.set(key, String(value)); },
    removeItem: key => { kept.delete(key); },
  };
  Object.defineProperty(window, 'localStorage', {value: storage});
}</script>"""


def head(name: str) -> bytes:
    """HTML for the page of an exhibit: nothing is drawn but its parts and what they are in."""
    parts = ", ".join(f"#{part}" for part in (*EXHIBITS[name].parts, NOTE, "toasts"))
    parts = parts.replace("#toasts", ".toast-wrap")
    hidden = f".gradio-container :not({parts}):not(:is({parts}) *):not(:has({parts}))"
    style = f"{hidden} {{ display: none !important; }}\n{static_text('exhibit.css')}"
    return f'<style data-exhibit="{name}">{style}</style>{_STORAGE}'.encode()


def read(control: Any, text: str) -> Any:
    """A link's value for a control; None where the control does not accept it."""
    if isinstance(control, gr.Radio):
        return text if text in {value for _, value in control.choices} else None
    if isinstance(control, gr.Slider | gr.Number):
        try:
            number = float(text)
        except ValueError:
            return None
        low, high = control.minimum, control.maximum
        fits = math.isfinite(number) and (low is None or number >= low) and (high is None or number <= high)
        return (int(number) if number.is_integer() else number) if fits else None
    return text[:LONGEST]


def copyable(label: str, elem_id: str) -> gr.Code:
    """A hidden box for text to copy."""
    return gr.Code(
        "",
        label=label,
        language=None,
        interactive=False,
        show_line_numbers=False,
        wrap_lines=True,
        buttons=["copy"],
        visible=False,
        elem_id=elem_id,
    )


def frame_policy() -> bytes:
    """The header's value that keeps other sites from framing the whole lab, where a click could delete a run.

    A Space's page is itself a frame of the Hub's.
    """
    return b"frame-ancestors 'self'" + (b" https://huggingface.co" if "SPACE_ID" in os.environ else b"")
