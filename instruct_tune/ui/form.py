"""The run configuration as a form that spans the tabs.

Each control is registered under its dotted name in the configuration JSON, so handlers take "the
form" instead of thirty parameters, and a preset or an earlier run fills it at once.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from ..config.run_config import RunConfig
from ..config.text_limits import MAX_OWN_PROMPTS
from ..config.validation import merge
from .setting_labels import add_label

CUSTOM_TEMPLATE = "custom"
OWN_PROMPTS = tuple(f"train.own_prompts.{place}" for place in range(MAX_OWN_PROMPTS))
"""The controls of the setting ``train.own_prompts``: one a prompt."""


class Form:
    """Controls by configuration name."""

    def __init__(self) -> None:
        self._controls: dict[str, gr.components.Component] = {}
        self._wiring: list[Callable[[], None]] = []

    def add(self, name: str, control: gr.components.Component, fold: str = "") -> gr.components.Component:
        """Register the control of the setting ``name``. ``fold``: where it is, for messages about it."""
        self._controls[name] = control
        # What leads to a control finds it by its id.
        control.elem_id = control.elem_id or "setting-" + re.sub(r"[._]", "-", name)
        if control.label and name not in _VIRTUAL:
            add_label(name, control.label, fold)
        return control

    def when_complete(self, wire: Callable[[], None]) -> None:
        """Call ``wire`` after every tab has added its controls: for events that take the whole form."""
        self._wiring.append(wire)

    def complete(self) -> None:
        """Call every ``when_complete`` callback: all controls are registered."""
        for wire in self._wiring:
            wire()

    def __getitem__(self, name: str) -> gr.components.Component:
        return self._controls[name]

    @property
    def named(self) -> dict[str, gr.components.Component]:
        """All controls by the name of their setting."""
        return dict(self._controls)

    @property
    def controls(self) -> set[gr.components.Component]:
        """All controls, as the ``inputs`` of an event."""
        return set(self._controls.values())

    def read(self, values: Mapping[Any, Any], *sections: str) -> dict[str, Any]:
        """The controls' values as a (partial) configuration JSON; not validated here.

        With ``sections`` only those, so that a tab does not report another tab's invalid settings.
        """
        config: dict[str, Any] = {}
        for name, control in self._controls.items():
            if name in _VIRTUAL:
                continue
            value = values[control]
            merge(config, name, _READ.get(name, _plain)(value))
        if config["template"] == CUSTOM_TEMPLATE:
            texts = ("without_input", "with_input")
            config["template"] = {name: values[self[f"template.{name}"]] or "" for name in texts}
            if name := (values[self["template.name"]] or "").strip():
                config["template"]["name"] = name
        if own := [self[name] for name in OWN_PROMPTS if name in self._controls]:
            merge(config, "train.own_prompts", [text for control in own if (text := values[control] or "").strip()])
        return {name: config[name] for name in sections or config}

    def rows(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The sections that decide which rows there are: ``data``, and ``model``, whose tokenizer is the default of
        token filters."""
        return self.read(values, "model", "data")

    def fill(self, config: RunConfig) -> dict[gr.components.Component, Any]:
        """The value of each control for ``config``."""
        settings = config.to_dict()
        shown: dict[gr.components.Component, Any] = {}
        for name, control in self._controls.items():
            if name in _VIRTUAL:
                continue
            shown[control] = shown_value(settings, name)
        if isinstance(settings["template"], dict):
            shown[self["template"]] = CUSTOM_TEMPLATE
            for name in ("name", "without_input", "with_input"):
                shown[self[f"template.{name}"]] = settings["template"].get(name, "")
        for name, prompt in itertools.zip_longest(OWN_PROMPTS, config.train.own_prompts, fillvalue=""):
            if name in self._controls:
                shown[self[name]] = prompt
        return shown


def shown_value(settings: Mapping[str, Any], name: str) -> Any:
    """What the control of the setting ``name`` shows, for a configuration's JSON."""
    value: Any = settings
    for part in name.split("."):
        # The JSON may leave out settings that have their default.
        value = value.get(part)
    return _SHOW.get(name, _plain)(value)


# Controls that are parts of a setting and no settings themselves.
_VIRTUAL = ("template.name", "template.without_input", "template.with_input", *OWN_PROMPTS)


def _plain(value: Any) -> Any:
    return value


def _modules(value: str) -> Any:
    names = _names(value)
    if not all(re.fullmatch(r"[\w.-]+", name) for name in names):
        # A regular expression, in which a comma is not a separator.
        return (value or "").strip()
    return names[0] if names in (["auto"], ["all-linear"]) else names


def _names(value: str | None) -> list[str]:
    return [name.strip() for name in (value or "").split(",") if name.strip()]


def _column(value: Any) -> str | None:
    """An empty box means no column."""
    return value.strip() or None if isinstance(value, str) else None


def _parse_json(value: str | None) -> Any:
    """Parse JSON; invalid JSON stays a string, so that validation rejects it by the setting's name."""
    text = (value or "").strip()
    try:
        return json.loads(text) if text else []
    except (ValueError, RecursionError):
        return text


_READ: dict[str, Callable[[Any], Any]] = {
    "data.filters": _parse_json,
    "data.columns.input": _column,
    "data.columns.system": _column,
    "data.columns.ignore": _names,
    "lora.target_modules": _modules,
    "train.bf16": lambda value: {"auto": "auto", "on": True, "off": False}.get(value, value),
}
_SHOW: dict[str, Callable[[Any], Any]] = {
    "data.filters": lambda value: json.dumps(value, ensure_ascii=False) if value else "",
    "lora.target_modules": lambda value: value if isinstance(value, str) else ", ".join(value),
    "data.columns.input": lambda value: value or "",
    "data.columns.system": lambda value: value or "",
    "data.columns.ignore": lambda value: ", ".join(value or ()),
    "data.unify_newlines": bool,
    "template": lambda value: value if isinstance(value, str) else CUSTOM_TEMPLATE,
    "train.bf16": lambda value: {"auto": "auto", True: "on", False: "off"}[value],
}
