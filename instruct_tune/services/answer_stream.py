"""One instruction, answered by base and a run, or by whoever is asked, together, as the answers grow.

Two threads meet here: the engine's, which decodes and tells, and the asking one, which reads.
"""

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

WHO = ("base", "tuned")


class Comparison:
    """What has been said so far: ``{base, tuned, done}``, a ``message`` while there is no text yet, a ``warning``.

    ``who``: what those who answer are called, where they are not base and tuned.

    The last item also has, for each side, ``…_tokens``, ``…_seconds`` (from the start of decoding to
    the answer's last token) and ``…_ended`` (by itself, not at the limit). Where ``stop`` ended it,
    the last item has ``stopped`` instead, and the texts as far as they came.
    """

    def __init__(self, stop: threading.Event | None = None, who: Sequence[str] = WHO):
        self.stop = stop or threading.Event()
        self.who = tuple(who)
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._warnings: list[str] = []

    def say(self, message: str) -> None:
        """What is being waited for, in words."""
        self._said.put({"message": message})

    def warn(self, warning: str | None) -> None:
        """What is to be known about both answers, in a sentence beside those before; None where there is nothing."""
        if warning:
            self._warnings.append(warning)
            self._said.put({"warning": " ".join(self._warnings)})

    def decode(self, loaded: LoadedModel, requests: Sequence[Request], settings: GenerationSettings) -> None:
        """Answer with all, a request each. On the engine's thread; raises Stopped where asked to."""
        from ..generation.generate import generate, one_by_one

        self.warn(one_by_one(loaded))
        began = time.perf_counter()
        last: dict[str, tuple[str, float]] = dict.fromkeys(self.who, ("", 0.0))

        def grown(texts: Sequence[str]) -> None:
            seconds = time.perf_counter() - began
            for who, text in zip(self.who, texts, strict=True):
                if text != last[who][0]:
                    last[who] = (text, seconds)
            self._said.put({**dict(zip(self.who, texts, strict=True)), "seconds": seconds})

        self.say("Reading the prompt…" if settings.num_beams == 1 else "Searching with beams: shown when it is done…")
        answers = generate(loaded, requests, settings, on_tokens=grown, stopping=self.stop.is_set)
        seconds = time.perf_counter() - began
        told: dict[str, Any] = {"done": True, "seconds": seconds}
        for who, answer in zip(self.who, answers, strict=True):
            told |= {who: answer.text, f"{who}_tokens": answer.tokens, f"{who}_ended": answer.ended}
            # Beams tell nothing on the way: both are there at the end.
            told[f"{who}_seconds"] = last[who][1] or seconds
        self._said.put(told)

    def follow(self, future: Future[None]) -> Iterator[dict[str, Any]]:
        """Each state as it comes, until ``future`` is done; its error is raised. Closing this stops the decoding."""
        future.add_done_callback(lambda _: self._said.put(None))
        texts: dict[str, Any] = {**dict.fromkeys(self.who, ""), "done": False}
        try:
            while (news := self._next(future)) is not None:
                texts = {**texts, **news}
                yield texts
        finally:
            self.stop.set()
            future.cancel()
        if future.cancelled() or isinstance(future.exception(), Stopped):
            yield {**texts, "done": True, "stopped": True}
        else:
            future.result()

    def _next(self, future: Future[None]) -> dict[str, Any] | None:
        """The next thing said. One who stops while still waiting for a turn need not wait for it."""
        while True:
            try:
                return self._said.get(timeout=0.1)
            except queue.Empty:
                if self.stop.is_set():
                    future.cancel()
