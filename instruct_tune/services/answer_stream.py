"""Answers to one instruction as they grow, between two threads: the queue's decodes, the caller's reads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..errors import Stopped

if TYPE_CHECKING:
    from ..config.run_config import GenerationSettings
    from ..generation.generate import Request
    from ..models.base_model import LoadedModel

BASE_AND_TUNED = ("base", "tuned")


class AnswerStream:
    """The state so far: a text for each of ``names`` and ``done``; a ``message`` before there is text, a ``warning``.

    The last state also has, for each name, ``…_tokens``, ``…_seconds`` (from the start of decoding to the answer's
    last token) and ``…_ended`` (by itself, not at the limit). Where ``stop`` ended it, the last state has ``stopped``
    instead, and the texts as far as they came.
    """

    def __init__(self, stop: threading.Event | None = None, names: Sequence[str] = BASE_AND_TUNED):
        self.stop = stop or threading.Event()
        self.names = tuple(names)
        self._news: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._warnings: list[str] = []

    # On the queue's thread

    def message(self, text: str) -> None:
        """Show what the answers are waiting for."""
        self._news.put({"message": text})

    def warn(self, warning: str | None) -> None:
        """Show a sentence that concerns all answers, after those before it; None shows nothing."""
        if warning:
            self._warnings.append(warning)
            self._news.put({"warning": " ".join(self._warnings)})

    def decode(self, loaded: LoadedModel, requests: Sequence[Request], settings: GenerationSettings) -> None:
        """Answer one request for each name. Raises Stopped where ``stop`` is set."""
        from ..generation.generate import generate, one_by_one

        self.warn(one_by_one(loaded))
        began = time.perf_counter()
        last: dict[str, tuple[str, float]] = dict.fromkeys(self.names, ("", 0.0))

        def grown(texts: Sequence[str]) -> None:
            seconds = time.perf_counter() - began
            for name, text in zip(self.names, texts, strict=True):
                if text != last[name][0]:
                    last[name] = (text, seconds)
            self._news.put({**dict(zip(self.names, texts, strict=True)), "seconds": seconds})

        beams = settings.num_beams > 1
        self.message("Searching with beams: shown when it is done…" if beams else "Reading the prompt…")
        answers = generate(loaded, requests, settings, on_tokens=grown, stopping=self.stop.is_set)
        seconds = time.perf_counter() - began
        end: dict[str, Any] = {"done": True, "seconds": seconds}
        for name, answer in zip(self.names, answers, strict=True):
            end |= {name: answer.text, f"{name}_tokens": answer.tokens, f"{name}_ended": answer.ended}
            # Beam search reports nothing on the way: all answers are there at the end.
            end[f"{name}_seconds"] = last[name][1] or seconds
        self._news.put(end)

    # On the caller's thread

    def follow(self, future: Future[None]) -> Iterator[dict[str, Any]]:
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
            future.result()

    def _next(self, future: Future[None]) -> dict[str, Any] | None:
        """The next news. A stop while the job still waits in the queue takes effect at once."""
        while True:
            try:
                return self._news.get(timeout=0.1)
            except queue.Empty:
                if self.stop.is_set():
                    future.cancel()
