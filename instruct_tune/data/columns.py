"""Which columns of a source are meant by instruction, input and output, where it uses other names.

A proposal is for a person to look at: nothing is ever trained on columns that nobody named.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Sequence

from ..errors import DataError
from ..settings import Columns

# The names that public datasets use, the clearer one first: "source" may be a text to translate,
# but beside a "question" it is where the question comes from.
_INSTRUCTION = (
    "instruction", "instructions", "prompt", "question", "query", "problem", "task", "request", "user", "human",
    "input", "inputs", "source", "src", "text", "document", "article", "sentence",
)  # fmt: skip
_OUTPUT = (
    "output", "outputs", "response", "responses", "completion", "answer", "answers", "reply", "solution", "assistant",
    "gpt", "bot", "target", "targets", "tgt", "summary", "highlights", "translation", "code",
)  # fmt: skip
_INPUT = ("input", "inputs", "context", "passage", "background", "document", "article", "text")
# Words that make a column something about a text, and not the text.
_ABOUT = {"id", "ids", "idx", "index", "length", "len", "score", "count", "type", "lang", "language", "category", "url"}
_PAIR_ENDINGS = (("1", "2"), ("0", "1"), ("a", "b"), ("one", "two"))

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Columns that hold whole conversations, as chat datasets name them."""


class ColumnsError(DataError):
    """The source lacks a column that was asked for.

    ``found`` are the names it has; ``proposal`` what a person probably means, or None.
    """

    def __init__(self, message: str, found: Sequence[str], proposal: Columns | None):
        super().__init__(message)
        self.found = tuple(found)
        self.proposal = proposal


def propose(found: Sequence[str]) -> Columns | None:
    """The columns that look like instruction, input (None where there is none) and output.

    None where nothing looks like an instruction, or nothing like an answer. A source of
    conversations, which stand in for the columns by their usual names, gives those.
    """
    output = _first(_OUTPUT, found)
    instruction = _first(_INSTRUCTION, [name for name in found if name != output])
    if instruction is None or output is None:
        return _numbered_pair(found) or (Columns() if _conversations(found) else None)
    rest = [name for name in found if name not in (instruction, output)]
    return Columns(instruction, _first(_INPUT, rest, inside_names=False), output)


def conversations_in(found: Sequence[str], columns: Columns) -> str | None:
    """The column of conversations that stands in for instruction and output, where the source has neither.

    Only while the settings ask for the usual names: a column that is asked for by its own must be there.
    """
    usual = (columns.instruction, columns.output) == (Columns.instruction, Columns.output)
    if not usual or (columns.instruction in found and columns.output in found) or propose(found) != Columns():
        return None
    return _conversations(found)


def wanted(found: Sequence[str], columns: Columns) -> list[str]:
    """The names, of those found, whose values are needed."""
    needed = (columns.instruction, columns.input, columns.output, conversations_in(found, columns))
    return [name for name in found if name in needed]


def as_settings(proposal: Columns, asked: Columns, found: Sequence[str]) -> str:
    """The overrides that turn ``asked`` into ``proposal``: ``data.columns.output=answer …``."""
    changes = []
    for field in dataclasses.fields(Columns):
        name, before = getattr(proposal, field.name), getattr(asked, field.name)
        # Without being told, an input column of the usual name may be missing.
        if name == before or (name is None and before == Columns.input and before not in found):
            continue
        changes.append(shlex.quote(f"data.columns.{field.name}={'null' if name is None else name}"))
    return " ".join(changes)


def _conversations(found: Sequence[str]) -> str | None:
    return next((name for name in found if name.strip().lower() in CONVERSATIONS), None)


def _first(known: Sequence[str], found: Sequence[str], inside_names: bool = True) -> str | None:
    """The column with the clearest of the ``known`` names: as a whole (any case), else as a word in it."""
    words = {name: _words(name) for name in found}
    for wanted in known:
        for name in found:
            if words[name] == [wanted]:
                return name
    for wanted in known if inside_names else ():
        for name in found:
            if wanted in words[name] and not _ABOUT.intersection(words[name]):
                return name
    return None


def _words(name: str) -> list[str]:
    """``"modelResponse"`` and ``"Model Response"`` → ``["model", "response"]``."""
    return re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _numbered_pair(found: Sequence[str]) -> Columns | None:
    """``text1`` and ``text2``, ``sentence_a`` and ``sentence_b``: the first is asked, the second answers."""
    by_words = {tuple(_words(name)): name for name in found}
    for words, name in by_words.items():
        for first, second in _PAIR_ENDINGS:
            if len(words) > 1 and words[-1] == first and (*words[:-1], second) in by_words:
                return Columns(name, None, by_words[(*words[:-1], second)])
    return None
