"""Answers to one instruction as they grow, between two threads: one waits for the device, the caller's reads."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..errors import Stopped

if TYPE_CHECKING:
    from ..generation.answer import Answer
    from ..pretrained.locate import Weights

log = logging.getLogger(__name__)
BASE_AND_TUNED = ("base", "tuned")


class AnswerStream:
    """The state so far: a text for each of ``names`` and ``done``; a ``message`` before there is text, a ``warning``.

    The last state also has, for each name, ``…_tokens``, ``…_seconds`` (from the start of decoding to the answer's
    last token) and ``…_ended`` (by itself, not at the limit). Where ``stop`` ended it, the last state has ``stopped``
    instead, and the texts as far as they came. ``warning``: makes a sentence about the base model's weights.
    """

    def __init__(
        self,
        stop: threading.Event | None = None,
        names: Sequence[str] = BASE_AND_TUNED,
        warning: Callable[[Weights], str | None] = lambda weights: None,
    ):
        self.stop = stop or threading.Event()
        self.names, self._warning = tuple(names), warning
        self._news: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._warnings: list[str] = []
        self._last = dict.fromkeys(self.names, ("", 0.0))

    # compute.answer_work.AnswerEvents, on the thread that waits for the work

    def begun(self) -> None:
        """The first text is the sign of it."""

    def message(self, text: str) -> None:
        """Show what the answers are waiting for."""
        self._news.put({"message": f"{text[:1].upper()}{text[1:].rstrip('…')}…"})

    def loaded(self, weights: Weights) -> None:
        self.warn(self._warning(weights))

    def warn(self, warning: str | None) -> None:
        """Show a sentence that concerns all answers, after those before it; None shows nothing."""
        if warning:
            self._warnings.append(warning)
            self._news.put({"warning": " ".join(self._warnings)})

    def grown(self, texts: Sequence[str], seconds: float) -> None:
        for name, text in zip(self.names, texts, strict=True):
            if text != self._last[name][0]:
                self._last[name] = (text, seconds)
        self._news.put({**dict(zip(self.names, texts, strict=True)), "seconds": seconds})

    def yield_to_queue(self) -> None:
        """Answers are short work, which yields to nothing."""

    def stopping(self) -> bool:
        return self.stop.is_set()

    # On the caller's thread

    def follow(self, future: Future[tuple[list[Answer], float]]) -> Iterator[dict[str, Any]]:
        """Each state as it comes, until ``future`` is done; raises its error. Closing it stops the decoding."""
        future.add_done_callback(lambda _: self._news.put(None))
        state: dict[str, Any] = {**dict.fromkeys(self.names, ""), "done": False}
        try:
            while (news := self._next(future)) is not None:
                state = {**state, **news}
                yield state
        finally:
            self.stop.set()
            future.cancel()
        if future.cancelled() or isinstance(future.exception(), Stopped):
            yield {**state, "done": True, "stopped": True}
        else:
            yield {**state, **self._end(*future.result())}

    def _end(self, answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
        end: dict[str, Any] = {"done": True, "seconds": seconds}
        for name, answer in zip(self.names, answers, strict=True):
            end |= {name: answer.text, f"{name}_tokens": answer.tokens, f"{name}_ended": answer.ended}
            # Beam search reports nothing on the way: all answers are there at the end.
            end[f"{name}_seconds"] = self._last[name][1] or seconds
        return end

    def _next(self, future: Future[Any]) -> dict[str, Any] | None:
        """The next news. A stop while the job still waits in the queue takes effect at once."""
        while True:
            try:
                return self._news.get(timeout=0.1)
            except queue.Empty:
                if self.stop.is_set():
                    future.cancel()


class AwaitedAnswer:
    """The ``compute.answer_work.AnswerEvents`` of an answer that is shown when it is whole."""

    def __init__(
        self, stop: threading.Event | None = None, warning: Callable[[Weights], str | None] = lambda weights: None
    ):
        self.stop, self._warning = stop or threading.Event(), warning
        self.warning: str | None = None

    def begun(self) -> None:
        """The answer is the only sign of it."""

    def message(self, text: str) -> None:
        log.info("%s", text)

    def loaded(self, weights: Weights) -> None:
        self.warn(self._warning(weights))

    def warn(self, warning: str | None) -> None:
        self.warning = warning

    def grown(self, texts: Sequence[str], seconds: float) -> None:
        """Nobody sees it before it is whole."""

    def yield_to_queue(self) -> None:
        """Short work yields to nothing."""

    def stopping(self) -> bool:
        return self.stop.is_set()
