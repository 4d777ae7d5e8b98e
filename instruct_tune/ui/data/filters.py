"""The ledger on the page: an ordered list of filters in words, each with the rows it kept and dropped.

The state is one JSON text, the form's control ``data.filters``; a fold shows it for editing by hand. The rest of the
panel is rendered from that text, so presets, former runs and a remembered form need no code of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ...config.filters import DROP_LEAKAGE, ByHand, counted_by
from ...data import ledger as ledger_file
from ...data.file_formats import ENDINGS
from ...errors import DataError, SettingsError
from ...inspection.first_content import first_content
from ...runs.machine_paths import data_to_share, last_name, ledger_to_share, source_to_share
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.datasets import Datasets
from ...text.markdown import plain
from ..context import QUIET, viewer
from ..downloads import Outgoing, handing_out, press
from ..first_preset import first_preset
from ..form import Form
from . import filter_text
from .filter_editor import FilterForm
from .filter_text import Loaded, Steps


class LedgerPanel:
    """Buttons to save and load a ledger file; loading one fills in all ``data.*`` controls of the form."""

    def __init__(self, form: Form, *, configs: Configurations, datasets: Datasets, access: Access):
        self._configs, self._datasets, self._access = configs, datasets, access
        self._form, self._outgoing = form, Outgoing()
        with gr.Row():
            self._save = gr.Button("Save as a file", size="md", elem_id="ledger-save", min_width=160)
            self._load = gr.UploadButton(
                "Load a saved one", file_types=[".json"], size="md", elem_id="ledger-load", min_width=160
            )
        gr.Markdown(
            "The file holds dataset, columns, filters and split, and the fingerprint of the rows that they gave.",
            elem_classes="note",
        )
        self._download = handing_out("ledger-download")
        self._expected = gr.State("")

    def wire(self, show: Any, inputs: set[Any], shown: list[Any]) -> Any:
        """Connect the buttons. ``show`` loads the rows (``inputs`` → ``shown``) after a file filled in the form.

        Returns that event.
        """
        saved = self._save.click(self._write, self._form.controls, self._download, **QUIET)
        saved.success(None, None, None, js=press("ledger-download"))
        data_controls = [control for name, control in self._form.named.items() if name.startswith("data.")]
        loaded = self._load.upload(
            self._read,
            {self._load, self._form["model"], self._form["data.source"]},
            [*data_controls, self._expected],
            **QUIET,
        )
        shown_rows = loaded.success(show, inputs, shown, trigger_mode="multiple", **QUIET)
        shown_rows.success(self._compare, self._form.controls | {self._expected}, None, **QUIET)
        return shown_rows

    def _write(self, values: dict[Any, Any]) -> str:
        requester = viewer(self._access)
        config = self._configs.read(requester, self._form.rows(values))
        if not self._datasets.is_at_hand(requester, config):
            raise DataError("Load and split the rows first: the file says what each filter kept.")
        summary = self._datasets.summary(requester, config)
        file = self._outgoing.folder() / "ledger.json"
        ledger = ledger_to_share(summary["ledger"])
        ledger_file.save(file, data_to_share(config.data), ledger, summary["fingerprint"])
        return str(file)

    def _read(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        saved = ledger_file.read(Path(values[self._load]))
        # A ledger written by hand may not name a tokenizer: the form's model then counts the tokens.
        settings = {
            "model": values[self._form["model"]],
            "data": found_again(saved.data, values[self._form["data.source"]]),
        }
        config = self._configs.read(viewer(self._access), settings)
        filled = self._form.fill(config)
        names = [name for name in self._form.named if name.startswith("data.")]
        return {**{self._form[name]: filled[self._form[name]] for name in names}, self._expected: saved.fingerprint}

    def _compare(self, values: Mapping[Any, Any]) -> None:
        summary = self._datasets.summary(viewer(self._access), self._form.rows(values))
        if summary["fingerprint"] == values[self._expected]:
            gr.Info("These are the same rows as when it was saved.")
        else:
            gr.Warning("These are other rows than when it was saved: the dataset has changed since, or the file.")


def found_again(saved: Mapping[str, Any], current: Any) -> dict[str, Any]:
    """The saved ``data`` section. A file name without its folder is replaced by the form's source of that name.

    Raises DataError where the form's source is another file.
    """
    source = saved.get("source")
    if not isinstance(source, str) or source != last_name(source) or os.path.isfile(source):
        return dict(saved)
    if Path(source).suffix.lower() not in ENDINGS:
        return dict(saved)
    if source == source_to_share(str(current)):
        return {**saved, "source": current}
    raise DataError(f"The list is of the file {source[:80]}: choose or upload that file first, then load the list.")


UNDONE = 30
"""Changes that can be undone."""
Edit = Callable[[Mapping[Any, Any], Steps, int], tuple[Steps, int]]


class FiltersPanel:
    """The list of filters, its buttons, and the folds to add a filter and to save or load the list."""

    def __init__(self, form: Form, *, configs: Configurations, datasets: Datasets, access: Access):
        self._form = form
        first = (filter_text.USUAL,)
        last = filter_text.loaded(first, first_content(first_preset()).summary)
        with gr.Column(elem_id="filters"):
            self._list = gr.Radio(
                _choices(first, last),
                value=0,
                label="Filters",
                info="From top to bottom, before the split. Choose one to move or change it",
                elem_id="filters-list",
            )
            self._state = gr.Markdown(last.sentence, elem_id="data-ledger", elem_classes="note")
            with gr.Row(elem_id="filters-buttons"):
                self._buttons = {
                    name: gr.Button(label, size="sm", min_width=0, scale=0, elem_id=f"filters-{name}")
                    for name, label in _BUTTONS.items()
                }
            with gr.Accordion("Add a filter", open=False, elem_id="filters-add-fold") as self._fold:
                self._editor = FilterForm()
                with gr.Row():
                    self._add = gr.Button("Add to the list", size="md", elem_id="filters-add", min_width=160)
                    self._replace = gr.Button(
                        "Put it in the place of the chosen one", size="md", elem_id="filters-replace", min_width=160
                    )
            with gr.Accordion("Save, load or write the list", open=False, elem_id="filters-file"):
                self.file = LedgerPanel(form, configs=configs, datasets=datasets, access=access)
                self._text = gr.Textbox(
                    filter_text.write_steps(first),
                    label="The same list as JSON",
                    info="As the command line takes it; docs/cli.md names the steps",
                    max_lines=8,
                    elem_id="data-filters",
                    elem_classes="mono",
                )
        form.add("data.filters", self._text)
        self._history = gr.State([])
        self._last = gr.State(last)
        # Not the Radio's own value: gradio rejects a value that is not, or no longer, among the choices it knows.
        self._chosen = gr.State(0)

    @property
    def outputs(self) -> list[Any]:
        """The components that ``show`` updates."""
        return [self._last]

    @property
    def changed(self) -> list[Any]:
        """The components that a change of the list updates."""
        return [self._text, self._history, self._list, self._chosen]

    @property
    def inputs(self) -> set[Any]:
        """The inputs of a change of the list, beside the form."""
        return {self._chosen, self._history, self._last}

    def show(self, steps: Steps, summary: Mapping[str, Any]) -> dict[Any, Any]:
        """Keep the counts of the rows just loaded with ``steps``; the list may have changed since."""
        return {self._last: filter_text.loaded(steps, summary)}

    def forget(self) -> dict[Any, Any]:
        """The update that removes the counts, where no rows are shown that they could be of."""
        return {self._last: None}

    def steps(self, values: Mapping[Any, Any]) -> Steps:
        """The current list, with the tokenizer of each token count. Raises DataError where the JSON is not valid."""
        try:
            return counted_by(filter_text.read_steps(values[self._text]), values[self._form["model"]])
        except SettingsError as error:
            raise DataError(f"The list as JSON has a fault, mend it first: {error}") from error

    def change(self, values: Mapping[Any, Any], steps: Steps, chosen: int) -> dict[Any, Any]:
        """Replace the list and select the step at ``chosen``; the old list is kept for undo."""
        before = [*values[self._history], values[self._text]][-UNDONE:]
        drawn = _radio(steps, values[self._last], chosen)
        written = filter_text.write_steps(steps)
        return {self._text: written, self._history: before, self._list: drawn, self._chosen: chosen}

    def add_by_hand(self, values: Mapping[Any, Any], kind: str, rows: tuple[str, ...]) -> dict[Any, Any]:
        """Add a step that keeps (``kind`` "keep_rows") or drops ("drop_rows") the rows of these ids."""
        return self.change(values, *filter_text.added(self.steps(values), ByHand(kind, rows)))

    def wire(self) -> list[Any]:
        """Connect the events. Returns the events after which loaded rows may need filtering again."""
        inputs = self._form.controls | self._editor.inputs | self.inputs
        self._editor.wire()
        gr.on(
            [self._text.change, self._last.change, self._form["model"].change],
            self._redraw,
            [self._text, self._last, self._chosen, self._form["model"]],
            [self._list, self._state],
            trigger_mode="always_last",
            **QUIET,
        )
        self._list.input(_index, self._list, self._chosen, queue=False, trigger_mode="always_last", **QUIET)
        # Text edited by hand can be undone too, as one change.
        self._text.focus(
            lambda text, before: [*before, text][-UNDONE:], [self._text, self._history], self._history, **QUIET
        )
        self._buttons["change"].click(
            self._fill_editor, inputs, [self._fold, *self._editor.outputs], **QUIET
        )  # fmt: skip
        edits: list[tuple[Any, Edit]] = [
            (self._buttons["up"], lambda values, steps, at: filter_text.moved(steps, at, -1)),
            (self._buttons["down"], lambda values, steps, at: filter_text.moved(steps, at, 1)),
            (self._buttons["remove"], lambda values, steps, at: filter_text.removed(steps, at)),
            (self._replace, lambda values, steps, at: filter_text.replaced(steps, at, self._read_editor(values))),
        ]
        edited = [button.click(self._edit_handler(edit), inputs, self.changed, **QUIET) for button, edit in edits]
        edited.append(self._add.click(self._append, inputs, self.changed, **QUIET))
        edited.append(self._buttons["undo"].click(self._undo, inputs, self.changed, **QUIET))
        return edited

    def _edit_handler(self, edit: Edit) -> Callable[..., Any]:
        def handler(values: dict[Any, Any]) -> dict[Any, Any]:
            steps = self.steps(values)
            return self.change(values, *edit(values, steps, self._chosen_index(values, steps)))

        return handler

    def _chosen_index(self, values: Mapping[Any, Any], steps: Steps) -> int:
        if not steps:
            raise DataError("There is no filter in the list: add one first.")
        return _clamped(values[self._chosen], steps)

    def _read_editor(self, values: Mapping[Any, Any]) -> Any:
        return self._editor.read(values, str(values[self._form["model"]]))

    def _append(self, values: dict[Any, Any]) -> dict[Any, Any]:
        return self.change(values, *filter_text.added(self.steps(values), self._read_editor(values)))

    def _fill_editor(self, values: dict[Any, Any]) -> dict[Any, Any]:
        steps = self.steps(values)
        return {self._fold: gr.Accordion(open=True), **self._editor.fill(steps[self._chosen_index(values, steps)])}

    def _undo(self, values: dict[Any, Any]) -> dict[Any, Any]:
        before = list(values[self._history])
        while before and before[-1] == values[self._text]:
            before.pop()
        if not before:
            gr.Info("There is no change to take back.")
            return {self._history: []}
        return {self._text: before.pop(), self._history: before}

    @staticmethod
    def _redraw(text: str, last: Loaded | None, chosen: int, model: str) -> list[Any]:
        try:
            # The tokenizer counts in the comparison: with another model on Train the steps would keep other rows.
            steps = counted_by(filter_text.read_steps(text), model)
        except SettingsError as error:
            return [gr.Radio(choices=[], value=None), f"The list as JSON has a fault: {plain(str(error), 300)}"]
        none = "" if steps else "No filter: all rows are kept. "
        return [_radio(steps, last, chosen), none + (last.sentence if last and last.steps == steps else "")]


_BUTTONS = {"up": "Up", "down": "Down", "change": "Change", "remove": "Remove", "undo": "Undo"}


def has_leakage_step(text: str) -> bool:
    """Whether the JSON text has the step that drops copies of held-out rows; False where it is not a list of steps."""
    try:
        return DROP_LEAKAGE in filter_text.read_steps(text)
    except SettingsError:
        return False


def _choices(steps: Steps, last: Loaded | None) -> list[tuple[str, int]]:
    return [(line, at) for at, line in enumerate(filter_text.lines(steps, last))]


def _radio(steps: Steps, last: Loaded | None, chosen: int) -> gr.Radio:
    return gr.Radio(choices=_choices(steps, last), value=_clamped(chosen, steps) if steps else None)


def _clamped(chosen: int, steps: Steps) -> int:
    """The chosen index, or the last one where the list has become shorter."""
    return min(chosen, len(steps) - 1)


def _index(chosen: int | None) -> int:
    return chosen or 0
