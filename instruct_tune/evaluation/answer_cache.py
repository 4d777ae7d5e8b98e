"""Base's answers, kept on disk: the next run's evaluation on the same rows pays for its tuned half alone.

A shelf is a file for all that an answer depends on but its prompt: weights, tokenizer, settings,
device, versions. In it each prompt has a line, found by the sha256 of its ids; prompts themselves are
not kept. A line that is damaged is as good as none. When the files grow over the limit, those that
were used the longest time ago go.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import GenerationSettings
from ..generation.answer import Answer
from ..generation.generate import end_tokens

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

log = logging.getLogger(__name__)

MAX_BYTES = 64_000_000
"""Half a million short answers."""

DECODING = 2
"""Counted up when the lab's own decoding may give other texts than before."""


class AnswerCache:
    """All shelves, in one folder."""

    def __init__(self, folder: Path, most_bytes: int = MAX_BYTES):
        self.folder, self.most_bytes = folder, most_bytes

    def cached_answers(self, loaded: LoadedModel, settings: GenerationSettings) -> CachedAnswers | None:
        """Where answers with these settings are; None for sampled ones, which depend on their company."""
        if settings.do_sample:
            return None
        facts = json.dumps(facts_of(loaded, settings), sort_keys=True)
        return CachedAnswers(self.folder / f"{_sha256(facts)}.lines", self.most_bytes)


class CachedAnswers:
    """Answers that differ only in their prompts."""

    def __init__(self, file: Path, most_bytes: int):
        self._file, self._most_bytes = file, most_bytes
        self._answers = _read(file)

    def known(self, prompts: Mapping[int, Sequence[int]]) -> dict[int, Answer]:
        """Of numbered prompts (their ids) those that were answered before."""
        names = {number: _name(prompt) for number, prompt in prompts.items()}
        return {number: self._answers[name] for number, name in names.items() if name in self._answers}

    def add(self, answers: Mapping[tuple[int, ...], Answer]) -> None:
        """Keep answers by their prompts. A disk that does not take them is no reason to fail: they are made again."""
        if not answers:
            return
        new = {_name(prompt): answer for prompt, answer in answers.items()}
        self._answers |= new
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="ascii") as file:
                # The line before may have been cut off by a crash.
                file.write("\n" + "".join(_line(name, answer) for name, answer in new.items()))
            self._make_room()
        except OSError as error:
            log.warning("base's answers could not be kept: %s", error)

    def _make_room(self) -> None:
        files = sorted(self._file.parent.glob("*.lines"), key=lambda file: file.stat().st_mtime)
        total = sum(file.stat().st_size for file in files)
        while total > self._most_bytes and files:
            oldest = files.pop(0)
            total -= oldest.stat().st_size
            oldest.unlink()


def facts_of(loaded: LoadedModel, settings: GenerationSettings) -> dict[str, Any]:
    """All that a greedy or beam answer of base depends on, but its prompt."""
    generation = settings.to_dict()
    for sampling in ("temperature", "top_p", "seed"):
        del generation[sampling]
    return {
        "decoding": DECODING,
        "weights": loaded.weights.sha256,
        "config": loaded.base.config.to_json_string(use_diff=False),
        "defaults": loaded.base.generation_config.to_dict(),
        "vocabulary": loaded.tokenizer.get_vocab(),
        "ends": end_tokens(loaded),
        "generation": generation,
        "computed": [loaded.device.type, str(loaded.base.dtype)],
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
    }


def _read(file: Path) -> dict[str, Answer]:
    try:
        # Used just now, so the last to go.
        os.utime(file)
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    return dict(found for line in lines if (found := _parsed(line)))


def _line(name: str, answer: Answer) -> str:
    told = json.dumps([name, answer.text, answer.tokens, answer.ended])
    return f"{zlib.crc32(told.encode()):08x} {told}\n"


def _parsed(line: str) -> tuple[str, Answer] | None:
    checksum, _, told = line.partition(" ")
    if checksum != f"{zlib.crc32(told.encode()):08x}":
        return None
    name, text, tokens, ended = json.loads(told)
    return name, Answer(text, tokens, ended)


def _name(prompt: Sequence[int]) -> str:
    return _sha256(" ".join(map(str, prompt)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
