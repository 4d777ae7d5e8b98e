"""Presets as cards: each one's purpose and duration on this machine, and the changes made since it was chosen."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ...config.catalog import DATASETS
from ...config.presets import PRESET_NOTES, PRESETS
from ...config.run_config import DataSettings, RunConfig
from ...errors import LabError
from ...services.access import Access
from ...services.estimates import Estimates
from ...services.uploads import Uploads
from ...text.markdown import plain
from ..context import QUIET, viewer
from ..first_preset import first_preset
from ..form import OWN_PROMPTS, Form
from .text import about

MEASURED_ELSEWHERE = {"minute": "about 30 s on two idle cores"}
"""Documented durations of presets, shown until this machine's is known."""

OWN_ROWS = ("data.source", "data.split", "data.columns", "data.filters", "data.unify_newlines")
"""Prefixes of the settings that decide which rows are used."""

NAMES = {
    "data.source": "dataset",
    "data.limit": "rows",
    "data.filters": "filter",
    "data.columns.system": "system prompt's column",
    "data.columns.ignore": "columns left out",
    "data.unify_newlines": "line ends unified",
    "lora.r": "rank",
    "train.num_train_epochs": "epochs",
    "train.per_device_train_batch_size": "batch size",
    "evaluation_rows": "evaluation rows",
}
"""Display names of settings; any other setting is shown by the last part of its name."""


# A person's own rows are kept, unless the preset has rows of its own: see ``keeps_rows``.
_FILL = """
(picked, source, ...rows) => {
  const preset = PRESETS[picked];
  const own = preset.leaves_rows && !OFFERED.includes(source);
  return preset.values.map((value, at) => own && at < rows.length ? rows[at] : value);
}
"""


class PresetPanel:
    """The cards, and a line with the form's changes from the chosen card. ``filled``: the events that fill the form."""

    def __init__(self, form: Form, *, uploads: Uploads, estimates: Estimates, access: Access):
        self.uploads, self.estimates, self.access = uploads, estimates, access
        self.form = form
        self.radio = gr.Radio(
            cards({}),
            value=first_preset(),
            label="Preset",
            info="Fills the form: change what you like (Reset, below the settings, takes it back), then press Start. "
            "The run goes on when you close the page.",
            elem_id="train-preset",
        )

    def changes_line(self) -> None:
        """Add the line with the changes; its place must be where its growing does not move controls in use."""
        with gr.Row(equal_height=True, elem_id="preset-changes"):
            self.changes = gr.Markdown("", elem_id="preset-changed")
            self.reset = gr.Button("Reset", size="sm", visible=False, elem_id="preset-reset", scale=0, min_width=90)

    def follow(self, tab: gr.Tab) -> None:
        """Connect the events, once the form is complete."""
        # "input", not "change": a preset fills the form when a person picks it, not when the page loads.
        rows, others = self._controls()
        script = self.script()
        self.filled: list[Any] = []
        for chosen in (self.radio.input, self.reset.click):
            filled = chosen(None, [self.radio, self.form["data.source"], *rows], [*rows, *others], js=script, **QUIET)
            self.filled.append(filled)
            # Only after the fill: before, the form still has its old values, and all would count as changed.
            filled.then(self.show_changes, self.form.controls | {self.radio}, [self.changes, self.reset], **QUIET)
        gr.on(
            [control.change for control in self.form.controls],
            self.show_changes,
            self.form.controls | {self.radio},
            [self.changes, self.reset],
            trigger_mode="always_last",
            **QUIET,
        )
        tab.select(self.time, None, self.radio, **QUIET)

    def settle_after(self, filled: Any) -> None:
        """Choose the nearest card after the event ``filled`` has filled the form."""
        filled.then(self.settle, self.form.controls | {self.radio}, [self.radio, self.changes, self.reset], **QUIET)

    def script(self) -> str:
        """JavaScript that fills the form: a response from the lab would undo what is changed meanwhile."""
        rows, others = self._controls()
        presets = {}
        for name, preset in PRESETS.items():
            filled = self.form.fill(preset)
            # As a number box gets it: the browser's component turns null into 0.
            values = ["" if filled[control] is None else filled[control] for control in (*rows, *others)]
            presets[name] = {"values": values, "leaves_rows": keeps_rows(preset, "of no catalog")}
        offered = [card.source for card in DATASETS]
        return _FILL.replace("PRESETS", json.dumps(presets)).replace("OFFERED", json.dumps(offered))

    def _controls(self) -> tuple[list[Any], list[Any]]:
        """The controls that a preset fills: those that decide which rows are used, and all others."""
        filled = self.form.fill(PRESETS[first_preset()])
        named = {
            name: control
            for name, control in self.form.named.items()
            # A prompt that a person typed stays theirs under every preset.
            if control in filled and name not in OWN_PROMPTS
        }
        rows = [control for name, control in named.items() if name.startswith(OWN_ROWS)]
        return rows, [control for control in named.values() if control not in rows]

    def show_changes(self, values: dict[Any, Any]) -> list[Any]:
        """The changes from the chosen preset in words, and the Reset button."""
        name = values[self.radio]
        changed = self._changes(name, values)
        if not changed:
            return ["", gr.Button(visible=False)]
        return [f"Changed from {name}: {plain(', '.join(changed), 400)}", gr.Button(visible=True)]

    def settle(self, values: dict[Any, Any]) -> list[Any]:
        """Choose the card nearest to the form as it was restored or filled from a run, and show the changes."""
        picked = values[self.radio]
        nearest = min(PRESET_NOTES, key=lambda name: (len(self._changes(name, values)), name != picked))
        return [nearest, *self.show_changes({**values, self.radio: nearest})]

    def _changes(self, name: str, values: dict[Any, Any]) -> list[str]:
        own = keeps_rows(PRESETS[name], values[self.form["data.source"]])
        shown = self.form.read(values)
        shown["data"]["source"] = self.uploads.display_name(str(shown["data"]["source"]))
        return changes(PRESETS[name].to_dict(), shown, but=("train.own_prompts", *(OWN_ROWS if own else ())))

    def time(self) -> Any:
        """The cards with their durations on this machine, where they are known without measuring."""
        # No value is sent: the visitor may have chosen another card meanwhile.
        return gr.Radio(cards(times(estimates=self.estimates, access=self.access)))


def keeps_rows(preset: RunConfig, source: str) -> bool:
    """Whether ``preset`` keeps a person's rows: those outside the catalog, if the preset uses the default dataset."""
    return source not in {card.source for card in DATASETS} and preset.data.source == DataSettings().source


def times(*, estimates: Estimates, access: Access) -> dict[str, str]:
    """Each preset's duration on this machine, where it is known. Measures nothing and sends no requests."""
    times = {}
    for name, config in PRESETS.items():
        try:
            cost = estimates.cost(viewer(access), config, measure=False)
        except LabError:
            # Choosing the preset shows why it cannot run here; a card only shows durations.
            continue
        if cost["seconds"]:
            times[name] = f"about {about(cost['seconds']['total'])} here"
    return times


def cards(known: dict[str, str]) -> list[tuple[str, str]]:
    """(label, preset): the label has a line each for its name, its purpose and its duration."""
    takes = {**MEASURED_ELSEWHERE, **known}
    return [
        ("\n".join([name, note, *([takes[name][0].upper() + takes[name][1:]] if name in takes else [])]), name)
        for name, note in PRESET_NOTES.items()
    ]


def changes(before: dict[str, Any], after: dict[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    """The differences between two configurations in the page's names: ``rows 48 → 96``, ``rank 16 → 32``.

    Settings whose names begin with one of ``but`` are left out.
    """
    flat = _flat(before)
    return [
        f"{_display_name(name)} {_short(name, flat[name])} → {_short(name, value)}"
        for name, value in _flat(after).items()
        if name in flat and not _same(flat[name], value) and not name.startswith(but)
    ]


def _display_name(name: str) -> str:
    return NAMES.get(name, name.rpartition(".")[2].replace("_", " "))


def _flat(config: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Dotted names to values; only sections are flattened."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        whole = not isinstance(value, dict) or name == "template"
        flat |= {path + name: value} if whole else _flat(value, f"{path}{name}.")
    return flat


def _same(before: Any, after: Any) -> bool:
    # A number box returns 1.0 as 1 and the other way round, so they are equal; True and 1 are not.
    return before == after and isinstance(before, bool) == isinstance(after, bool)


def _short(name: str, value: Any) -> str:
    if value in (None, []):
        return "all" if name in ("data.limit", "evaluation_rows") else "none"
    if isinstance(value, dict):
        return "custom"
    if isinstance(value, list):
        value = ", ".join(step["step"].replace("_", " ") if isinstance(step, dict) else str(step) for step in value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
