"""Where on the page a step's controls and places are: their ids, the tabs and folds that they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from ...config.validation import merge
from ...lesson.parse import LessonPath, Step
from ...lesson.vocabulary import CONTROLS, PLACES, SETTINGS
from ..form import Form, shown_value


@dataclass(frozen=True)
class Place:
    """``id``: in the document. ``words``: its name. ``tabs``: (tabs, id of the tab), ``folds``: their ids; outermost
    first."""

    id: str
    words: str
    tabs: tuple[tuple[Block, Any], ...]
    folds: tuple[str, ...]


class Places:
    """Every control and place of the vocabulary, found on the page."""

    def __init__(self, page: gr.Blocks, form: Form):
        by_id = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
        self.controls: dict[str, Any] = {name: form[name] for name in SETTINGS}
        self.controls |= {name: by_id[name] for name in CONTROLS}
        named = {name: (control, _label(name, control)) for name, control in self.controls.items()}
        named |= {name: (by_id[name], words) for places in PLACES.values() for name, words in places.items()}
        self.places = {name: _place(block, words) for name, (block, words) in named.items()}
        self.tabs = list(dict.fromkeys(tabs for place in self.places.values() for tabs, _ in place.tabs))

    def value(self, path: LessonPath) -> dict[str, Any]:
        """The path as ``static/path.js`` takes it: JSON, with controls and tabs by their index."""
        names = list(self.controls)
        return {
            "names": names,
            "tabs": len(self.tabs),
            "title": path.title,
            "steps": [self._step(step, names) for step in path.steps],
        }

    def _step(self, step: Step, names: Sequence[str]) -> dict[str, Any]:
        places = [self.places[name] for name in (*step.points_at, *step.marks)]
        # The first place decides which of the inner tabs is opened.
        opened = {tabs: tab for place in reversed(places) for tabs, tab in place.tabs}
        opened[self.tabs[0]] = step.tab
        return {
            "title": step.title,
            "tab": step.tab,
            "text": step.text,
            "task": step.task,
            "sets": [[names.index(name), value, self._words(name, value)] for name, value in _shown(step)],
            "tabs": [[self.tabs.index(tabs), tab] for tabs, tab in opened.items()],
            "places": [{"id": each.id, "words": each.words, "folds": each.folds} for each in places],
            "results": len(step.points_at),
        }

    def _words(self, name: str, value: Any) -> str:
        shown = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
        return f"{self.places[name].words}: {'none' if shown == '' else shown}"


def _shown(step: Step) -> list[tuple[str, Any]]:
    """The step's values as the controls show them."""
    settings: dict[str, Any] = {}
    for name, value in step.sets:
        merge(settings, name, value)
    values = [(name, shown_value(settings, name) if name in SETTINGS else value) for name, value in step.sets]
    # As a number box gets it: the browser's component turns null into 0.
    return [(name, "" if value is None else value) for name, value in values]


def _label(name: str, control: Any) -> str:
    return str(control.label) if name in SETTINGS else CONTROLS[name].words


def _place(block: Any, words: str) -> Place:
    tabs: list[tuple[Block, Any]] = []
    folds: list[str] = []
    each: Any = block
    while each is not None:
        if isinstance(each, gr.Accordion):
            folds.insert(0, str(each.elem_id))
        elif isinstance(each, gr.Tab):
            tabs.insert(0, (each.parent, each.id))
        each = each.parent
    return Place(str(block.elem_id), words, tuple(tabs), tuple(folds))


def stored_step(kept: Any, path: LessonPath) -> int:
    """The index of the step in what the browser kept, which may be anything."""
    at = kept.get("step") if isinstance(kept, Mapping) else None
    return at if isinstance(at, int) and 0 <= at < len(path.steps) else 0
