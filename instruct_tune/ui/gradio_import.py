"""Import gradio without its type stubs.

At each import gradio parses and renders a ``.pyi`` file for each of its components, though its wheel has them:
a quarter of the import's time. It skips a class whose file ``inspect`` does not find.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_stubs() -> Iterator[None]:
    """Inside the context, ``inspect.getfile`` finds no file of a class of gradio or of the lab, so no stub is made.

    Where gradio makes stubs in another way, or none, nothing changes.
    """
    find = inspect.getfile
    inspect.getfile = _hiding(find)  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = find


def _hiding(find: Callable[[Any], str]) -> Callable[[Any], str]:
    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.partition(".")[0] in ("gradio", __package__.partition(".")[0]):
            raise OSError("a component, for which no stub is made")
        return find(thing)

    return getfile


with without_stubs():
    import gradio  # noqa: F401
