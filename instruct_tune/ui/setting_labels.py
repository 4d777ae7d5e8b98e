"""Names of settings in messages, replaced by the labels of the form's controls, which is what a person sees."""

from __future__ import annotations

import re

_LABELS: dict[str, str] = {}
"""Filled while the page is built; a second page of the process has the same controls."""


def add_label(name: str, label: str, fold: str) -> None:
    """Record what the control of the setting ``name`` is called, and the fold that it is in, if any."""
    _LABELS[name] = f"\u201c{label}\u201d" + (f" ({fold})" if fold else "")


def in_form_words(message: str) -> str:
    """``message`` with the form's words for the dotted names of settings; ``model`` alone is an ordinary word."""
    return _NAME.sub(lambda name: _LABELS.get(name[0], name[0]), message)


_NAME = re.compile(r"(?<![\w./-])(?:[a-z]+(?:\.[a-z0-9_]+)+|evaluation_rows)(?![\w/])(?!\.\w)")
