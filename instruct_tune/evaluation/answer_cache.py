"""A disk cache of base's answers, so that the next run's evaluation on the same rows decodes its tuned half only.

The cache has one file for each combination of weights, tokenizer, settings, device and versions: all that an
answer depends on but its prompt. Each prompt has one line, keyed by the sha256 of its ids; the prompts
themselves are not stored. Damaged lines are ignored. When the files exceed the limit, the least recently used
ones are deleted.
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
"""Enough for half a million short answers."""

DECODING = 2
"""The version of the lab's own decoding: raised when its texts may change."""


class AnswerCache:
    """All cache files, in one folder."""

    def __init__(self, folder: Path, most_bytes: int = MAX_BYTES):
        self.folder, self.most_bytes = folder, most_bytes

    def cached_answers(self, loaded: LoadedModel, settings: GenerationSettings) -> CachedAnswers | None:
        """The cache of answers with these settings; None for sampled ones, which depend on their batch."""
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
        """The cached answers to numbered prompts (token ids), by number."""
        names = {number: _key(prompt) for number, prompt in prompts.items()}
        return {number: self._answers[name] for number, name in names.items() if name in self._answers}

    def add(self, answers: Mapping[tuple[int, ...], Answer]) -> None:
        """Store answers by their prompts. A failed write is only logged, because they can be decoded again."""
        if not answers:
            return
        new = {_key(prompt): answer for prompt, answer in answers.items()}
        self._answers |= new
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="ascii") as file:
                # Begins with a newline, because a crash may have cut off the last line.
                file.write("\n" + "".join(_line(name, answer) for name, answer in new.items()))
            self._delete_oldest()
        except OSError as error:
            log.warning("base's answers could not be kept: %s", error)

    def _delete_oldest(self) -> None:
        files = sorted(self._file.parent.glob("*.lines"), key=lambda file: file.stat().st_mtime)
        total = sum(file.stat().st_size for file in files)
        while total > self._most_bytes and files:
            oldest = files.pop(0)
            total -= oldest.stat().st_size
            oldest.unlink()


def facts_of(loaded: LoadedModel, settings: GenerationSettings) -> dict[str, Any]:
    """All facts but the prompt that a greedy or beam answer of base depends on."""
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
        # Marks the file as used just now, for the deletion order.
        os.utime(file)
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    return dict(entry for line in lines if (entry := _parse(line)))


def _line(name: str, answer: Answer) -> str:
    payload = json.dumps([name, answer.text, answer.tokens, answer.ended])
    return f"{zlib.crc32(payload.encode()):08x} {payload}\n"


def _parse(line: str) -> tuple[str, Answer] | None:
    checksum, _, payload = line.partition(" ")
    if checksum != f"{zlib.crc32(payload.encode()):08x}":
        return None
    name, text, tokens, ended = json.loads(payload)
    return name, Answer(text, tokens, ended)


def _key(prompt: Sequence[int]) -> str:
    return _sha256(" ".join(map(str, prompt)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
