"""Names of settings in messages, replaced by the labels of the form's controls, which is what a person sees."""

from __future__ import annotations

import re

_LABELS: dict[str, tuple[str, str]] = {}
"""Filled while the page is built; a second page of the process has the same controls."""


def add_label(name: str, label: str, fold: str) -> None:
    """Record what the control of the setting ``name`` is called, and the fold that it is in, if any."""
    _LABELS[name] = (label, fold)


def label_of(name: str) -> str:
    """What the control of the setting ``name`` is called; the name itself where it has none."""
    return _LABELS.get(name, (name, ""))[0]


def in_form_words(message: str) -> str:
    """``message`` with the form's words for the dotted names of settings; ``model`` alone is an ordinary word."""
    return _NAME.sub(lambda name: _quoted(name[0]), message)


def _quoted(name: str) -> str:
    if name not in _LABELS:
        return name
    label, fold = _LABELS[name]
    return f"\u201c{label}\u201d" + (f" ({fold})" if fold else "")


_NAME = re.compile(r"(?<![\w./-])(?:[a-z]+(?:\.[a-z0-9_]+)+|evaluation_rows)(?![\w/])(?!\.\w)")
