"""What a lock does to the controls of its setting, as ``static/limits.js`` applies it in the browser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...config.run_config import RunConfig
from ...config.validation import merge
from ...lesson.locks import HIDDEN, RANGE, Lock, settings_of
from ..form import OWN_PROMPTS, Form, shown_value
from .limits import Limits

_PARTS: dict[str, tuple[str, ...]] = {
    "template": ("template", "template.name", "template.without_input", "template.with_input"),
    "train.own_prompts": OWN_PROMPTS,
}
"""Settings of several controls."""
_LABELS = {"data.columns": "Columns", "train.own_prompts": "Your prompts"}


def limited(form: Form, limits: Limits | None) -> dict[str, dict[str, Any]]:
    """What the browser does to each control, by the control's name.

    ``set``: properties while the lock holds, ``undo``: those before it. ``fixed`` or ``start``: the value that it has
    always, or where its own is outside ``low`` to ``high`` or not among ``choices``.
    """
    if limits is None:
        return {}
    filled = form.fill(limits.teachers)
    shown: dict[str, dict[str, Any]] = {}
    for name, lock in limits.locks.items():
        for part in controls_of(form, name):
            control = form[part]
            value = _in_browser(filled.get(control))
            shown[part] = _fixed(lock) if lock.fixes else _limit(control, name, lock, value)
            # A template that is not a custom one leaves the boxes of the custom one as they are.
            if lock.fixes and control in filled:
                shown[part]["fixed"] = value
    return shown


def controls_of(form: Form, name: str) -> list[str]:
    """The names of the controls of a setting; none for a setting that the page has no control for."""
    if name == "data.columns":
        return [part for part in form.named if part.startswith("data.columns.")]
    return [part for part in _PARTS.get(name, (name,)) if part in form.named]


def lockable(form: Form) -> dict[str, str]:
    """The settings that have a control, by name: their labels, each once."""
    labels: dict[str, str] = {}
    for name in settings_of(RunConfig()):
        if parts := controls_of(form, name):
            label = _LABELS.get(name) or str(form[parts[0]].label)
            labels[name] = f"{label} ({name})" if label in labels.values() else label
    return labels


def _fixed(lock: Lock) -> dict[str, Any]:
    changed = {"visible": False} if lock.kind == HIDDEN else {"interactive": False}
    return {"set": changed, "undo": dict.fromkeys(changed, True)}


def _limit(control: Any, name: str, lock: Lock, value: Any) -> dict[str, Any]:
    number = isinstance(control, gr.Number | gr.Slider)
    if lock.kind == RANGE:
        if not number:
            return {"set": {}, "undo": {}}
        ends = {"minimum": lock.low, "maximum": lock.high}
        return {
            **_informed(control, f"here from {lock.low:g} to {lock.high:g}", ends),
            "low": lock.low,
            "high": lock.high,
            "start": value,
        }
    choices = [_in_browser(_shown(name, choice)) for choice in lock.choices]
    offered = isinstance(control, gr.Radio | gr.Dropdown)
    properties: dict[str, Any] = {"choices": _offered(control, choices)} if offered else {}
    if isinstance(control, gr.Dropdown):
        properties["allow_custom_value"] = False
    limit_text = "" if offered else f"here one of {', '.join(map(str, choices))}"
    return {**_informed(control, limit_text, properties), "choices": choices, "start": value}


def _offered(control: Any, choices: list[Any]) -> list[tuple[Any, Any]]:
    labels = {value: label for label, value in control.choices}
    return [(labels.get(choice, choice), choice) for choice in choices]


def _informed(control: Any, limit_text: str, properties: dict[str, Any]) -> dict[str, Any]:
    """``set`` and ``undo`` of these properties, and of the control's sentence with ``limit_text`` after it."""
    info = {"info": f"{control.info or ''} ({limit_text})".strip()} if limit_text else {}
    changed = {**properties, **info}
    return {"set": changed, "undo": {each: getattr(control, each) for each in changed}}


def _shown(name: str, value: Any) -> Any:
    settings: dict[str, Any] = {}
    merge(settings, name, value)
    return shown_value(settings, name)


def _in_browser(value: Any) -> Any:
    # As a number box gets it: the browser's component turns null into 0.
    return "" if value is None else value


def link_values(form: Form, limits: Limits, names: Mapping[str, Any]) -> dict[Any, Any]:
    """The form's values for a link's configuration.

    A prompt that a person typed stays theirs, unless ``names``, what the link sets and locks, has prompts.
    """
    own = () if "train.own_prompts" in names else OWN_PROMPTS
    filled = form.fill(limits.teachers)
    return {control: filled[control] for name, control in form.named.items() if control in filled and name not in own}
