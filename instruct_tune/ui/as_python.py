"""The fold As Python of each tab: lines of today's libraries that do what the tab shows, with the form's values.

A line knows the settings whose values it carries: touching a control lights its lines, and a click on a line goes to
its control. The drawing is ``static/as_python.js``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ..errors import LabError
from ..evaluation import bleu_tokenizers
from ..script.code import Section
from ..services.access import Access
from ..services.scripts import Scripts
from ..text.plain_text import shortened
from .context import PRIVATE, QUIET, error_text, viewer
from .downloads import Outgoing, handing_out, press
from .form import Form
from .place import place
from .scripted_html import Piece, packed

LABEL = "As Python"
FILE = "instruction_tuning"
_DOWNLOAD = "as-python-file"
_TEMPLATE = """
<div class="python-head">
  <span class="python-hint">A control lights its lines. A click on a marked line goes to its control.</span>
  <button type="button" class="python-copy">Copy</button>
</div>
<div class="python-lines" role="group" aria-label="The lines of this tab" tabindex="0"></div>
<p class="python-fault" role="status"></p>
"""


Values = dict[Any, Any]
"""The values of an event's inputs, by component."""


@dataclass
class _Fold:
    """``refresh``: a hidden button, which the script clicks while the fold is open and somebody changes something.

    ``own``: a tab's own controls, by setting, which count in place of the form's; ``settings`` reads them.
    """

    fold: gr.Accordion
    refresh: gr.Button
    lines: gr.HTML
    own: Mapping[str, gr.components.Component] = field(default_factory=dict)
    settings: Callable[[Values], dict[str, Any]] = lambda _: {}


class AsPython:
    """The folds of all tabs.

    The script asks for the lines, not the controls' change events: these would cost a request with every fold closed,
    and gradio 6.31 starts "always_last" events of one control again and again once they wait for each other.
    """

    def __init__(self, form: Form, *, scripts: Scripts, access: Access):
        self._form, self._scripts, self._access = form, scripts, access
        self._folds: dict[str, _Fold] = {}
        self._saving: list[tuple[gr.Button, str, str]] = []
        self._outgoing = Outgoing()
        form.when_complete(self._wire)

    def fold(self, tab: str) -> None:
        """Add the fold of ``tab``, by its name in the script."""
        with gr.Accordion(LABEL, open=False, elem_id=f"{tab}-python-fold", elem_classes="as-python") as fold:
            lines = Piece("as_python", _TEMPLATE).component(f"{tab}-python")
            refresh = gr.Button("Refresh", elem_id=f"{tab}-python-refresh", elem_classes="unseen")
            with gr.Row(elem_classes="python-save"):
                gr.Markdown("The whole run, from the first row to BLEU, without the lab:")
                for form, words in (("py", "Script"), ("ipynb", "Notebook")):
                    button = gr.Button(words, size="sm", scale=0, min_width=96, elem_id=f"{tab}-python-{form}")
                    self._saving.append((button, tab, form))
        self._folds[tab] = _Fold(fold, refresh, lines)

    def count_own(
        self,
        tab: str,
        controls: Mapping[str, gr.components.Component],
        settings: Callable[[Values], dict[str, Any]],
    ) -> None:
        """Let ``tab`` show the values of its own ``controls``, by setting, in place of the form's.

        ``settings`` reads them as sections of a configuration, and ``tokenize``.
        """
        self._folds[tab].own, self._folds[tab].settings = controls, settings

    def offer(self) -> None:
        """Add the hidden button that hands out a file, outside the tabs: what is in a closed tab is not drawn."""
        self._download = handing_out(_DOWNLOAD)

    def _wire(self) -> None:
        controls = self._controls
        for tab, each in self._folds.items():
            for event in (each.fold.expand, each.refresh.click):
                event(self._drawing(tab), controls, each.lines, trigger_mode="always_last", **QUIET)
        for button, tab, form in self._saving:
            written = button.click(self._writing(tab, form), controls, self._download, **PRIVATE)
            written.success(None, None, None, js=press(_DOWNLOAD))

    @property
    def _controls(self) -> set[gr.components.Component]:
        return self._form.controls | {control for each in self._folds.values() for control in each.own.values()}

    def _drawing(self, tab: str) -> Callable[[Values], Any]:
        return lambda values: self._value(tab, values)

    def _settings(self, tab: str, values: Values) -> tuple[dict[str, Any], str]:
        """The configuration, and how BLEU counts words."""
        config, own = self._form.read(values), self._folds[tab].settings(values)
        tokenize = own.pop("tokenize", bleu_tokenizers.DEFAULT)
        for name, value in own.items():
            config[name] = {**config[name], **value}
        return config, tokenize

    def _value(self, tab: str, values: Values) -> dict[str, Any]:
        config, tokenize = self._settings(tab, values)
        try:
            sections = self._scripts.tab(viewer(self._access), config, tab, tokenize)
        except LabError as error:
            return packed({"fault": shortened(error_text(error), 400)})
        return packed({"sections": drawn(sections), "places": self._places(tab, sections)})

    def _places(self, tab: str, sections: Sequence[Section]) -> dict[str, Any]:
        """Where the controls of the settings are that the lines carry."""
        settings = {setting for section in sections for line in section.lines for setting in line.settings}
        controls = {**self._form.named, **self._folds[tab].own}
        return {name: place(control).found_by() for name, control in controls.items() if name in settings}

    def _writing(self, tab: str, form: str) -> Callable[[Values], str]:
        def write(values: Values) -> str:
            config, tokenize = self._settings(tab, values)
            text = self._scripts.of_config(viewer(self._access), config, form, tokenize)
            return str(self._scripts.save(text, self._outgoing.folder() / f"{FILE}.{form}"))

        return write


def drawn(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """The sections for the script: a line is [text, the settings that it carries]."""
    return [
        {"title": section.title, "lines": [[line.text, list(line.settings)] for line in section.lines]}
        for section in sections
    ]
