"""Where on the page a step's controls and places are: their ids, the tabs and folds that they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...config.validation import merge
from ...lesson.parse import LessonPath, Step
from ...lesson.vocabulary import CONTROLS, PLACES, SETTINGS
from ..form import Form, shown_value
from ..place import place


class Places:
    """Every control and place of the vocabulary, found on the page."""

    def __init__(self, page: gr.Blocks, form: Form):
        by_id = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
        self.controls: dict[str, Any] = {name: form[name] for name in SETTINGS}
        self.controls |= {name: by_id[name] for name in CONTROLS}
        named = {name: (control, _label(name, control)) for name, control in self.controls.items()}
        named |= {name: (by_id[name], words) for places in PLACES.values() for name, words in places.items()}
        self.places = {name: place(block) for name, (block, _) in named.items()}
        self._words = {name: words for name, (_, words) in named.items()}
        self.tabs = list(dict.fromkeys(tabs for each in self.places.values() for tabs, _ in each.tabs))

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
        names_shown = (*step.points_at, *step.marks)
        places = [self.places[name] for name in names_shown]
        # The first place decides which of the inner tabs is opened.
        opened = {tabs: tab.id for each in reversed(places) for tabs, tab in each.tabs}
        opened[self.tabs[0]] = step.tab
        return {
            "title": step.title,
            "tab": step.tab,
            "text": step.text,
            "task": step.task,
            "sets": [[names.index(name), value, self._set_to(name, value)] for name, value in _shown(step)],
            "tabs": [[self.tabs.index(tabs), tab] for tabs, tab in opened.items()],
            "places": [
                {"id": self.places[name].id, "words": self._words[name], "folds": self.places[name].folds}
                for name in names_shown
            ],
            "results": len(step.points_at),
        }

    def _set_to(self, name: str, value: Any) -> str:
        shown = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
        return f"{self._words[name]}: {'none' if shown == '' else shown}"


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


def stored_step(kept: Any, path: LessonPath) -> int:
    """The index of the step in what the browser kept, which may be anything."""
    at = kept.get("step") if isinstance(kept, Mapping) else None
    return at if isinstance(at, int) and 0 <= at < len(path.steps) else 0
