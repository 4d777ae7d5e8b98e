"""Answers on disk: base's, kept for all later evaluations, and all those of an evaluation that has not ended.

Base's answers, so that the next run's evaluation on the same rows decodes its tuned half only, have one file for
each combination of weights, tokenizer, settings, device and versions: all that an answer depends on but its prompt.
Each prompt has one line, keyed by the sha256 of its ids; the prompts themselves are not stored. When the files
exceed the limit, the least recently used ones are deleted.

An unfinished evaluation, so that answers from before a stop, a crash or a restart are not decoded again, has one
file for a run's answers to the same prompts with the same weights, adapter, settings, device and versions; it is
deleted when the evaluation is done. Its first line describes the evaluation, each further one contains a whole
batch: rows that share a batch are always decoded together, so that an interrupted evaluation ends with the same
texts as an uninterrupted one.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import GenerationSettings
from ..generation.answer import Answer
from ..util import checked_lines
from ..util.hashing import sha256_of_file, sha256_of_json, sha256_of_text

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

log = logging.getLogger(__name__)

MAX_BYTES = 64_000_000
"""The limit of base's answers: enough for half a million short ones."""

DECODING = 3
"""The version of the lab's own decoding: raised when its texts or their numbers of tokens may change."""
FOLDER = "unfinished"
"""The folder of a run's unfinished evaluations, in the run's folder."""
MOST = 4
"""How many unfinished evaluations of a run are kept; the least recently written one is deleted."""


class CachedAnswers:
    """Base's answers that differ only in their prompts, in ``file``; its folder has at most ``most_bytes``."""

    def __init__(self, file: Path, most_bytes: int = MAX_BYTES):
        self._file, self._most_bytes = file, most_bytes
        # Marks the file as used just now, for the deletion order.
        with suppress(OSError):
            os.utime(file)
        self._answers = {key: Answer(*values) for key, *values in checked_lines.read(file)}

    def known(self, prompts: Mapping[int, Sequence[int]]) -> dict[int, Answer]:
        """The cached answers to numbered prompts (token ids), by number."""
        keys = {number: _key(prompt) for number, prompt in prompts.items()}
        return {number: self._answers[key] for number, key in keys.items() if key in self._answers}

    def add(self, answers: Mapping[tuple[int, ...], Answer]) -> None:
        """Store answers by their prompts. A failed write is only logged, because they can be decoded again."""
        if not answers:
            return
        new = {_key(prompt): answer for prompt, answer in answers.items()}
        self._answers |= new
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lines = ([key, answer.text, answer.tokens, answer.ended] for key, answer in new.items())
            checked_lines.append(self._file, lines)
            checked_lines.keep_newest(self._file.parent, self._most_bytes, lambda file: file.stat().st_size)
        except OSError as error:
            log.warning("base's answers could not be kept: %s", error)


def cache_of(folder: Path, loaded: LoadedModel, settings: GenerationSettings) -> CachedAnswers | None:
    """The cache of base's answers with these settings; None for sampled ones, which depend on their batch."""
    if settings.do_sample:
        return None
    return CachedAnswers(folder / f"{sha256_of_json(_key_of(loaded, settings))}{checked_lines.ENDING}")


@dataclass
class KeptAnswers:
    """One side's answers so far: ``answers`` by row, and the ``seconds`` that their decoding took.

    ``remembered``: how many of them came from an earlier evaluation without decoding.
    """

    answers: dict[int, Answer] = field(default_factory=dict)
    seconds: float = 0.0
    remembered: int = 0

    def add(self, answers: Mapping[int, Answer], seconds: float = 0.0, remembered: int = 0) -> None:
        self.answers |= answers
        self.seconds += seconds
        self.remembered += remembered


class Unfinished:
    """The answers of one evaluation that has not ended yet, by the name of the side; without ``file`` not on disk.

    ``about`` describes the evaluation; as read from the file, it is None where that line is missing or damaged.
    """

    def __init__(self, file: Path | None = None, about: Mapping[str, Any] | None = None):
        self._file, self.about = file, about
        self._sides: dict[str, KeptAnswers] = {}
        for line in checked_lines.read(file) if file else ():
            if "about" in line:
                self.about = line["about"]
            else:
                answers = {int(row): Answer(*values) for row, values in line["rows"].items()}
                self.of(line["side"]).add(answers, line["seconds"], line["remembered"])

    def of(self, side: str) -> KeptAnswers:
        """The answers of ``side`` so far."""
        return self._sides.setdefault(side, KeptAnswers())

    def add(self, side: str, answers: Mapping[int, Answer], seconds: float = 0.0, remembered: int = 0) -> None:
        """Store a batch. A failed write is only logged, because the batch can be decoded again."""
        self.of(side).add(answers, seconds, remembered)
        if not answers or not self._file:
            return
        rows = {str(row): [answer.text, answer.tokens, answer.ended] for row, answer in answers.items()}
        batch = {"side": side, "rows": rows, "seconds": seconds, "remembered": remembered}
        try:
            if not self._file.exists():
                self._begin(self._file)
            checked_lines.append(self._file, [batch])
        except OSError as error:
            log.warning("answers of an unfinished evaluation could not be kept: %s", error)

    def done(self) -> None:
        """Delete the file: the evaluation has ended, and its answers are stored elsewhere."""
        if self._file:
            self._file.unlink(missing_ok=True)

    def _begin(self, file: Path) -> None:
        # Without parents: the run's folder may have been deleted meanwhile, and then nothing is stored.
        file.parent.mkdir(exist_ok=True)
        checked_lines.keep_newest(file.parent, MOST - 1)
        checked_lines.append(file, [{"about": {**(self.about or {}), "time": time.time()}}])


def unfinished(
    folder: Path,
    loaded: LoadedModel,
    settings: GenerationSettings,
    prompts: Mapping[str, Sequence[Sequence[int]]],
    about: Mapping[str, Any],
) -> Unfinished:
    """The file of the evaluation with ``prompts`` (ids, by side) of the run in ``folder``.

    ``about``: its description for people, see ``left_behind``.
    """
    key = {
        **_key_of(loaded, settings),
        "sampling": [settings.temperature, settings.top_p, settings.seed],
        "adapter": sha256_of_file(folder / "adapter" / "adapter_model.safetensors"),
        "prompts": {side: [list(prompt) for prompt in ids] for side, ids in prompts.items()},
    }
    description = {**about, "generation": settings.to_dict(), "sides": list(prompts)}
    return Unfinished(folder / FOLDER / f"{sha256_of_json(key)}{checked_lines.ENDING}", description)


def left_behind(folder: Path) -> list[dict[str, Any]]:
    """The unfinished evaluations of the run in ``folder``, the most recently written first.

    Each has ``rows`` in all, ``answered`` by every side, ``generation``, the ``time`` it began, and the other
    fields of its ``about``.
    """
    found = [Unfinished(file) for file in reversed(checked_lines.oldest_first(folder / FOLDER))]
    return [{**each.about, "answered": _answered(each, each.about["sides"])} for each in found if each.about]


def _answered(kept: Unfinished, sides: Sequence[str]) -> int:
    return len(set.intersection(*(set(kept.of(side).answers) for side in sides)))


def _key_of(loaded: LoadedModel, settings: GenerationSettings) -> dict[str, Any]:
    """All that a greedy or beam answer of base depends on, but the prompt."""
    # Imports torch, which the page's first look at unfinished evaluations does not need.
    from ..generation.generate import end_tokens

    generation = settings.to_dict()
    for sampling in ("temperature", "top_p", "seed"):
        del generation[sampling]
    return {
        "decoding": DECODING,
        "weights": loaded.weights.sha256,
        "config": loaded.base.config.to_json_string(use_diff=False),
        "defaults": loaded.base.generation_config.to_dict(),
        "vocabulary": loaded.tokenizer.get_vocab(),
        "ends": end_tokens(loaded, settings.stop),
        "generation": generation,
        "computed": [loaded.device.type, str(loaded.base.dtype)],
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
    }


def _key(prompt: Sequence[int]) -> str:
    return sha256_of_text(" ".join(map(str, prompt)))
