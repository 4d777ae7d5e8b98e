"""An evaluation on its way, kept on disk: what was answered before a stop, a crash or a restart is not asked again.

A file for one run's answers to the very same prompts with the same weights, adapter, settings, device and
versions; it goes when the evaluation is done. Its first line says what it is about, each further one
holds a whole batch: rows that share a batch are always decoded together, so that an evaluation that was
broken off ends with the same texts as one that was not. A damaged line is as good as none.
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
"""In a run's folder, where these files lie."""
MOST = 4
"""How many unfinished evaluations of a run are kept; the one that was at work the longest time ago goes."""


@dataclass
class KeptAnswers:
    """What one side has said so far: ``answers`` by row, the ``seconds`` their decoding took.

    ``remembered``: how many of them were known from an earlier evaluation, and not decoded.
    """

    answers: dict[int, Answer] = field(default_factory=dict)
    seconds: float = 0.0
    remembered: int = 0

    def add(self, answers: Mapping[int, Answer], seconds: float = 0.0, remembered: int = 0) -> None:
        self.answers |= answers
        self.seconds += seconds
        self.remembered += remembered


class Unfinished:
    """The answers of one evaluation that has not ended yet, side by side by name."""

    def __init__(self, file: Path, about: Mapping[str, Any]):
        self._file, self._about = file, about
        self._said = _said(file)

    def of(self, side: str) -> KeptAnswers:
        """What ``side`` had said when the evaluation was left."""
        return self._said.get(side, KeptAnswers())

    def add(self, side: str, answers: Mapping[int, Answer], seconds: float = 0.0, remembered: int = 0) -> None:
        """Keep a batch. A disk that does not take it is no reason to fail: it is answered again."""
        if not answers:
            return
        rows = {str(row): [answer.text, answer.tokens, answer.ended] for row, answer in answers.items()}
        try:
            if not self._file.exists():
                self._begin()
            with self._file.open("a", encoding="ascii") as file:
                # The line before may have been cut off by a crash.
                file.write("\n" + _line({"side": side, "rows": rows, "seconds": seconds, "remembered": remembered}))
        except OSError as error:
            log.warning("answers of an unfinished evaluation could not be kept: %s", error)

    def done(self) -> None:
        """The evaluation has ended: its answers are elsewhere now."""
        self._file.unlink(missing_ok=True)

    def _begin(self) -> None:
        # In the folder of the run, which may have been deleted meanwhile: then nothing is kept.
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
    """What is kept of the evaluation that asks ``prompts`` (ids, by side) of the run with this ``folder``.

    ``about``: what is told of it to a person, see ``left_behind``.
    """
    facts = {
        **facts_of(loaded, settings),
        "sampling": [settings.temperature, settings.top_p, settings.seed],
        "adapter": hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest(),
        "prompts": {side: [list(prompt) for prompt in ids] for side, ids in prompts.items()},
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    whole = {**about, "generation": settings.to_dict(), "sides": list(prompts)}
    return Unfinished(folder / FOLDER / f"{name}.lines", whole)


def left_behind(folder: Path) -> list[dict[str, Any]]:
    """The unfinished evaluations of the run with this ``folder``, the last one first.

    Each: ``rows`` in all, ``answered`` by every side, ``generation``, ``time`` it began, and whatever
    else was told about it.
    """
    files = sorted((folder / FOLDER).glob("*.lines"), key=lambda file: -file.stat().st_mtime)
    return [told for file in files if (told := _told(file))]


def _told(file: Path) -> dict[str, Any] | None:
    about = next((line["about"] for line in _lines(file) if "about" in line), None)
    if about is None:
        return None
    said = _said(file)
    everybody = [set(said[side].answers) if side in said else set() for side in about["sides"]]
    return {**about, "answered": len(set.intersection(*everybody))}


def _said(file: Path) -> dict[str, KeptAnswers]:
    said: dict[str, KeptAnswers] = {}
    for line in _lines(file):
        if "side" in line:
            answers = {int(row): Answer(*told) for row, told in line["rows"].items()}
            said.setdefault(line["side"], KeptAnswers()).add(answers, line["seconds"], line["remembered"])
    return said


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        checksum, _, told = line.partition(" ")
        if checksum == f"{zlib.crc32(told.encode()):08x}":
            yield json.loads(told)


def _line(told: Mapping[str, Any]) -> str:
    text = json.dumps(told)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"
