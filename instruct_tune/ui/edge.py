"""The page's edge: what a person caused becomes one sentence in a toast, and nothing is lost."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from ..errors import LabError

F = TypeVar("F", bound=Callable[..., Any])


def said(handler: F) -> F:
    """A handler whose LabErrors are shown as they are; anything else stays gradio's to hide and log."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except LabError as error:
                raise gr.Error(str(error), duration=20, print_exception=False) from error

        return stream  # type: ignore[return-value]

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except LabError as error:
            raise gr.Error(str(error), duration=20, print_exception=False) from error

    return call  # type: ignore[return-value]
