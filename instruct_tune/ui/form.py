"""The run configuration as a form that spans the tabs.

Each control is registered under its dotted name in the configuration JSON, so handlers take "the
form" instead of thirty parameters, and a preset or a former run fills it in one sweep.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from ..catalog import DATASETS
from ..settings import RunConfig, merge
from ..steps import DROP_LEAKAGE

LESSON_FILTER, ALL_ROWS = "Rows without an input (as in the lesson)", "All rows"
FILTER_CHOICES = {
    LESSON_FILTER: [{"step": "without_input"}],
    "Rows with an input": [{"step": "with_input"}],
    ALL_ROWS: [],
}
CUSTOM_TEMPLATE = "custom"


def usual_filter(source: str) -> str:
    """The filter that is on by itself: the lesson's for the datasets of the catalog, none for anybody's own rows."""
    return LESSON_FILTER if source in {card.source for card in DATASETS} else ALL_ROWS


class Form:
    """Controls by configuration name."""

    def __init__(self) -> None:
        self._controls: dict[str, gr.components.Component] = {}
        self._wiring: list[Callable[[], None]] = []

    def add(self, name: str, control: gr.components.Component) -> gr.components.Component:
        """Register a control; its value is that setting."""
        self._controls[name] = control
        return control

    def when_complete(self, wire: Callable[[], None]) -> None:
        """Connect events that take the whole form once every tab has added its controls."""
        self._wiring.append(wire)

    def complete(self) -> None:
        """All controls are there: connect what waited for them."""
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

        With ``sections`` only those, so that a tab does not complain about what another one asks.
        """
        config: dict[str, Any] = {}
        for name, control in self._controls.items():
            if name in _VIRTUAL:
                continue
            value = values[control]
            merge(config, name, _READ.get(name, _plain)(value))
        config["data"]["filters"] = self._read_filters(values)
        if config["template"] == CUSTOM_TEMPLATE:
            texts = ("without_input", "with_input")
            config["template"] = {name: values[self[f"template.{name}"]] or "" for name in texts}
        return {name: config[name] for name in sections or config}

    def fill(self, config: RunConfig) -> dict[gr.components.Component, Any]:
        """What each control has to show for ``config``."""
        told = config.to_dict()
        shown: dict[gr.components.Component, Any] = {}
        for name, control in self._controls.items():
            if name in _VIRTUAL:
                continue
            value: Any = told
            for part in name.split("."):
                value = value[part]
            shown[control] = _SHOW.get(name, _plain)(value)
        shown |= self._show_filters(told["data"]["filters"])
        if isinstance(told["template"], dict):
            shown[self["template"]] = CUSTOM_TEMPLATE
            for name in ("without_input", "with_input"):
                shown[self[f"template.{name}"]] = told["template"][name]
        return shown

    def _read_filters(self, values: Mapping[Any, Any]) -> Any:
        """The ledger's steps: the choice, then the further ones as they are written, then the leaking rows.

        What is no JSON list stays a text, for the settings to refuse by name as anything else that is wrong.
        """
        written = (values[self["filters.more"]] or "").strip()
        try:
            further = json.loads(written) if written else []
        except (ValueError, RecursionError):
            return written
        if not isinstance(further, list):
            return written
        leakage = [{"step": DROP_LEAKAGE.step}] if values[self["filters.leakage"]] else []
        return [*FILTER_CHOICES.get(values[self["filters"]], []), *further, *leakage]

    def _show_filters(self, filters: list[dict[str, Any]]) -> dict[gr.components.Component, Any]:
        """No step of a configuration is lost: what no choice says is written out."""
        steps = [step for step in filters if step["step"] != DROP_LEAKAGE.step]
        chosen = next((label for label, first in FILTER_CHOICES.items() if first and steps[:1] == first), ALL_ROWS)
        further = steps[len(FILTER_CHOICES[chosen]) :]
        return {
            self["filters"]: chosen,
            self["filters.more"]: json.dumps(further, ensure_ascii=False) if further else "",
            self["filters.leakage"]: len(steps) < len(filters),
        }


# Controls that are no setting by themselves: they make up others.
_VIRTUAL = ("filters", "filters.more", "filters.leakage", "template.without_input", "template.with_input")


def _plain(value: Any) -> Any:
    return value


def _optional(value: Any) -> Any:
    """An emptied number box means "no limit"."""
    return None if value in ("", None) else value


def _modules(value: str) -> Any:
    names = [name.strip() for name in (value or "").split(",") if name.strip()]
    return names[0] if names in (["auto"], ["all-linear"]) else names


_READ: dict[str, Callable[[Any], Any]] = {
    "data.limit": _optional,
    "evaluation_rows": _optional,
    "data.columns.input": lambda value: value.strip() or None if isinstance(value, str) else None,
    "lora.target_modules": _modules,
    "train.bf16": lambda value: {"auto": "auto", "on": True, "off": False}.get(value, value),
    "train.save_minutes": _optional,
    "train.save_total_limit": _optional,
    "train.early_stopping_patience": _optional,
}
_SHOW: dict[str, Callable[[Any], Any]] = {
    "lora.target_modules": lambda value: value if isinstance(value, str) else ", ".join(value),
    "data.columns.input": lambda value: value or "",
    "template": lambda value: value if isinstance(value, str) else CUSTOM_TEMPLATE,
    "train.bf16": lambda value: {"auto": "auto", True: "on", False: "off"}[value],
}
