"""What every browser test leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Window


@pytest.fixture(autouse=True)
def no_window_is_left_open() -> Iterator[None]:
    """Close the windows that a test opened; a test that failed did not."""
    before = list(Window.open)
    yield
    for window in [each for each in Window.open if each not in before]:
        window.close()
