"""A value as Python source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def literal(value: Any) -> str:
    """``value`` as a Python expression that evaluates to it; lists for tuples, as in JSON.

    Characters that do not print are escaped, so that nothing can hide or turn around code on a screen.
    """
    if isinstance(value, str):
        shown = repr(value)
        # The project's quotes are double; repr uses them only where the text has single ones.
        return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in value and "'" not in value else shown
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(each) for each in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)
