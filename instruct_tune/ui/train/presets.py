"""Presets as cards: what each is for, how long it takes here, and what was changed since one was chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from ...config.catalog import DATASETS
from ...config.run_config import PRESET_NOTES, PRESETS, DataSettings, RunConfig
from ...errors import LabError
from ...lab import Lab
from ...text.markdown import plain
from ...util.device import wants_cpu
from ..context import viewer
from ..form import Form
from .text import about

MEASURED_ELSEWHERE = {"minute": "about 30 s from Start to finish on two cores"}
"""What the documents say a preset takes, until it is known for this machine."""

OWN_ROWS = ("data.source", "data.split", "data.columns", "data.filters", "data.unify_newlines")
"""The settings that say which rows are taken, by the beginnings of their names."""

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
"""Settings that the page calls by another name than the last part of theirs."""


# A person's own rows stay, unless the preset is made for rows of its own: see ``keeps_rows``.
_FILL = """
(picked, source, ...rows) => {
  const preset = PRESETS[picked];
  const own = preset.leaves_rows && !OFFERED.includes(source);
  return preset.values.map((value, at) => own && at < rows.length ? rows[at] : value);
}
"""


def first_preset() -> str:
    """What the page begins with: half a minute of training where there is no GPU."""
    # Asking torch would cost seconds before the page answers; the driver's device file says it too.
    return "quick" if Path("/dev/nvidia0").exists() and not wants_cpu() else "minute"


class PresetPanel:
    """The cards, and under them what the form has that the chosen card has not."""

    def __init__(self, lab: Lab, form: Form):
        self.lab, self.form = lab, form
        self.radio = gr.Radio(
            cards({}),
            value=first_preset(),
            label="Preset",
            info="Fills the form: change what you like, then press Start. The run goes on when you close the page.",
            elem_id="train-preset",
        )

    def tell_changes(self) -> None:
        """The line that says what was changed since, for where it pushes nothing away that is being changed."""
        with gr.Row(equal_height=True, elem_id="preset-changes"):
            self.changes = gr.Markdown("", elem_id="preset-changed")
            self.reset = gr.Button("Reset", size="sm", visible=False, elem_id="preset-reset", scale=0, min_width=90)

    def follow(self, tab: gr.Tab) -> None:
        """Connect the events, once the whole form is there."""
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        # "input", not "change": a preset fills the form when a person picks it, not when the page loads.
        rows, others = self._controls()
        script = self.script()
        for chosen in (self.radio.input, self.reset.click):
            filled = chosen(None, [self.radio, self.form["data.source"], *rows], [*rows, *others], js=script, **quiet)
            # Only now: before, the form still shows what was there, and all of it would count as changed.
            filled.then(self.tell, self.form.controls | {self.radio}, [self.changes, self.reset], **quiet)
        gr.on(
            [control.change for control in self.form.controls],
            self.tell,
            self.form.controls | {self.radio},
            [self.changes, self.reset],
            trigger_mode="always_last",
            **quiet,
        )
        tab.select(self.time, None, self.radio, **quiet)

    def settle_after(self, filled: Any) -> None:
        """Pick the right card once an event has filled the form."""
        filled.then(
            self.settle,
            self.form.controls | {self.radio},
            [self.radio, self.changes, self.reset],
            api_visibility="private",
            show_progress="hidden",
        )

    def script(self) -> str:
        """What fills the form in the browser: an answer that is on its way would undo what is changed meanwhile."""
        rows, others = self._controls()
        presets = {}
        for name, preset in PRESETS.items():
            filled = self.form.fill(preset)
            values = [filled[control] for control in (*rows, *others)]
            presets[name] = {"values": values, "leaves_rows": keeps_rows(preset, "of no catalog")}
        offered = [card.source for card in DATASETS]
        return _FILL.replace("PRESETS", json.dumps(presets)).replace("OFFERED", json.dumps(offered))

    def _controls(self) -> tuple[list[Any], list[Any]]:
        """What a preset fills: the controls that say which rows are taken, and all others."""
        filled = self.form.fill(PRESETS[first_preset()])
        named = {name: control for name, control in self.form.named.items() if control in filled}
        rows = [control for name, control in named.items() if name.startswith(OWN_ROWS)]
        return rows, [control for control in named.values() if control not in rows]

    def tell(self, values: dict[Any, Any]) -> list[Any]:
        """What differs from the chosen preset, in words, and the way back."""
        name = values[self.radio]
        told = self._changes(name, values)
        if not told:
            return ["", gr.Button(visible=False)]
        return [f"Changed from {name}: {plain(', '.join(told), 400)}", gr.Button(visible=True)]

    def settle(self, values: dict[Any, Any]) -> list[Any]:
        """Pick the card that comes nearest to the form, as it was remembered or taken from a run; then ``tell``."""
        picked = values[self.radio]
        nearest = min(PRESET_NOTES, key=lambda name: (len(self._changes(name, values)), name != picked))
        return [nearest, *self.tell({**values, self.radio: nearest})]

    def _changes(self, name: str, values: dict[Any, Any]) -> list[str]:
        own = keeps_rows(PRESETS[name], values[self.form["data.source"]])
        shown = self.form.read(values)
        shown["data"]["source"] = self.lab.uploads.display_name(str(shown["data"]["source"]))
        return changes(PRESETS[name].to_dict(), shown, but=OWN_ROWS if own else ())

    def time(self) -> Any:
        """The cards with how long each takes here, as far as that is known without measuring."""
        # Without a value: somebody may have picked another card while this was looked up.
        return gr.Radio(cards(times(self.lab)))


def keeps_rows(preset: RunConfig, source: str) -> bool:
    """Whether choosing ``preset`` leaves a person's rows alone: those of no catalog, where it wants only some rows."""
    return source not in {card.source for card in DATASETS} and preset.data.source == DataSettings().source


def times(lab: Lab) -> dict[str, str]:
    """What is known of each preset's time on this machine. Measures nothing and asks nobody."""
    known = {}
    for name, config in PRESETS.items():
        try:
            told = lab.estimates.cost(viewer(lab), config, measure=False)
        except LabError:
            # Choosing it says why it cannot run here; a card only tells times.
            continue
        if told["seconds"]:
            known[name] = f"about {about(told['seconds']['total'])} here"
    return known


def cards(known: dict[str, str]) -> list[tuple[str, str]]:
    """(label, preset): its name, what it is for, and how long it takes, on lines of their own."""
    takes = {**MEASURED_ELSEWHERE, **known}
    return [
        ("\n".join([name, note, *([takes[name][0].upper() + takes[name][1:]] if name in takes else [])]), name)
        for name, note in PRESET_NOTES.items()
    ]


def changes(before: dict[str, Any], after: dict[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    """``rows 48 → 96``, ``rank 16 → 32``: what differs between two configurations, in the form's words.

    Settings whose names begin with one of ``but`` are left out.
    """
    flat = _flat(before)
    return [
        f"{_called(name)} {_short(name, flat[name])} → {_short(name, value)}"
        for name, value in _flat(after).items()
        if name in flat and not _same(flat[name], value) and not name.startswith(but)
    ]


def _called(name: str) -> str:
    return NAMES.get(name, name.rpartition(".")[2].replace("_", " "))


def _flat(config: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Dotted names to values; what is no section stays whole."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        whole = not isinstance(value, dict) or name == "template"
        found |= {path + name: value} if whole else _flat(value, f"{path}{name}.")
    return found


def _same(before: Any, after: Any) -> bool:
    # A number box gives 1.0 as 1 and the other way round; True is no 1 here.
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
