"""Variants that run at night."""

from collections.abc import Iterable
from typing import Any

import pytest

NIGHT = (pytest.mark.slow, pytest.mark.nightly)


def at_night_after(count: int, values: Iterable[Any]) -> list[Any]:
    """``values`` for ``parametrize``, of which all but the first ``count`` run at night: they cost as much as these."""
    params = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*each, marks=() if at < count else NIGHT) for at, each in enumerate(params)]
