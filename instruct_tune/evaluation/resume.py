"""Resuming an evaluation: answers from before a stop, a crash or a restart are kept on disk and not decoded again.

A file contains one run's answers to the same prompts with the same weights, adapter, settings, device and
versions; it is deleted when the evaluation is done. Its first line describes the evaluation, each further one
contains a whole batch: rows that share a batch are always decoded together, so that an interrupted evaluation
ends with the same texts as an uninterrupted one. Damaged lines are ignored.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import GenerationSettings
from ..generation.answer import Answer
from .answer_cache import facts_of

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

log = logging.getLogger(__name__)

FOLDER = "unfinished"
"""The name of these files' folder, in a run's folder."""
MOST = 4
"""How many unfinished evaluations of a run are kept; the least recently written one is deleted."""


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
    """The answers of one evaluation that has not ended yet, by the name of the side."""

    def __init__(self, file: Path, about: Mapping[str, Any]):
        self._file, self._about = file, about
        self._answers = _answers_by_side(file)

    def of(self, side: str) -> KeptAnswers:
        """The answers of ``side`` from before the interruption."""
        return self._answers.get(side, KeptAnswers())

    def add(self, side: str, answers: Mapping[int, Answer], seconds: float = 0.0, remembered: int = 0) -> None:
        """Store a batch. A failed write is only logged, because the batch can be decoded again."""
        if not answers:
            return
        rows = {str(row): [answer.text, answer.tokens, answer.ended] for row, answer in answers.items()}
        try:
            if not self._file.exists():
                self._begin()
            with self._file.open("a", encoding="ascii") as file:
                # Begins with a newline, because a crash may have cut off the last line.
                file.write("\n" + _line({"side": side, "rows": rows, "seconds": seconds, "remembered": remembered}))
        except OSError as error:
            log.warning("answers of an unfinished evaluation could not be kept: %s", error)

    def done(self) -> None:
        """Delete the file: the evaluation has ended, and its answers are stored elsewhere."""
        self._file.unlink(missing_ok=True)

    def _begin(self) -> None:
        # Without parents: the run's folder may have been deleted meanwhile, and then nothing is stored.
        self._file.parent.mkdir(exist_ok=True)
        others = sorted(self._file.parent.glob("*.lines"), key=lambda file: file.stat().st_mtime)
        for oldest in others[: max(0, len(others) + 1 - MOST)]:
            oldest.unlink()
        self._file.write_text(_line({"about": {**self._about, "time": time.time()}}), encoding="ascii")


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
    facts = {
        **facts_of(loaded, settings),
        "sampling": [settings.temperature, settings.top_p, settings.seed],
        "adapter": hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest(),
        "prompts": {side: [list(prompt) for prompt in ids] for side, ids in prompts.items()},
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    description = {**about, "generation": settings.to_dict(), "sides": list(prompts)}
    return Unfinished(folder / FOLDER / f"{name}.lines", description)


def left_behind(folder: Path) -> list[dict[str, Any]]:
    """The unfinished evaluations of the run in ``folder``, the most recently written first.

    Each has ``rows`` in all, ``answered`` by every side, ``generation``, the ``time`` it began, and the other
    fields of its ``about``.
    """
    files = sorted((folder / FOLDER).glob("*.lines"), key=lambda file: -file.stat().st_mtime)
    return [summary for file in files if (summary := _summary(file))]


def _summary(file: Path) -> dict[str, Any] | None:
    about = next((line["about"] for line in _lines(file) if "about" in line), None)
    if about is None:
        return None
    by_side = _answers_by_side(file)
    rows_by_side = [set(by_side[side].answers) if side in by_side else set() for side in about["sides"]]
    return {**about, "answered": len(set.intersection(*rows_by_side))}


def _answers_by_side(file: Path) -> dict[str, KeptAnswers]:
    by_side: dict[str, KeptAnswers] = {}
    for line in _lines(file):
        if "side" in line:
            answers = {int(row): Answer(*values) for row, values in line["rows"].items()}
            by_side.setdefault(line["side"], KeptAnswers()).add(answers, line["seconds"], line["remembered"])
    return by_side


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        checksum, _, payload = line.partition(" ")
        if checksum == f"{zlib.crc32(payload.encode()):08x}":
            yield json.loads(payload)


def _line(content: Mapping[str, Any]) -> str:
    text = json.dumps(content)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"
