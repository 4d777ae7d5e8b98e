"""Names of settings in messages, replaced by the labels of the form's controls, which is what a person sees."""

from __future__ import annotations

import json
import re
import shlex

_LABELS: dict[str, tuple[str, str]] = {}
"""Filled while the page is built; a second page of the process has the same controls."""


def add_label(name: str, label: str, fold: str) -> None:
    """Record what the control of the setting ``name`` is called, and the fold that it is in, if any."""
    _LABELS[name] = (label, fold)


def label_of(name: str) -> str:
    """What the control of the setting ``name`` is called; the name itself where it has none."""
    return _LABELS.get(name, (name, ""))[0]


def in_form_words(message: str) -> str:
    """``message`` with the form's words for the dotted names of settings; ``model`` alone is an ordinary word.

    Overrides as the command line takes them are told as a person fills them in: a list with commas, null as empty.
    """
    filled = _OVERRIDES.sub(lambda overrides: " and ".join(map(_filled_in, shlex.split(overrides[0]))), message)
    return _NAME.sub(lambda name: _quoted(name[0]), filled)


def _filled_in(override: str) -> str:
    name, _, value = override.partition("=")
    if name not in _LABELS:
        return override
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = value
    if isinstance(parsed, list):
        value = ", ".join(map(str, parsed))
    return f"{_quoted(name)} = {value if parsed is not None else '(empty)'}"


def _quoted(name: str) -> str:
    if name not in _LABELS:
        return name
    label, fold = _LABELS[name]
    return f"\u201c{label}\u201d" + (f" ({fold})" if fold else "")


_DOTTED = r"[a-z]+(?:\.[a-z0-9_]+)+"
_NAME = re.compile(rf"(?<![\w./-])(?:{_DOTTED}|evaluation_rows)(?![\w/])(?!\.\w)")
_OVERRIDE = rf"""(?:'{_DOTTED}=[^']*'(?:"'"'[^']*')*|(?<![\w./-]){_DOTTED}=[\w./-]*\w)"""
_OVERRIDES = re.compile(rf"{_OVERRIDE}(?: {_OVERRIDE})*")
"""``data.columns.output=answer 'data.columns.ignore=["a b"]'``: as ``shlex.quote`` writes them."""
