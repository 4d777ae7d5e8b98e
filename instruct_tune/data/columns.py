"""Propose which columns of a source are instruction, input and output, if it uses other names.

A person confirms the proposal: nothing is ever trained on columns that the settings do not name.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from collections.abc import Callable, Sequence

from ..config.run_config import Columns
from ..errors import DataError

# The names that public datasets use, the clearer one first: "source" may be a text to translate,
# but beside a "question" it is the origin of the question.
_INSTRUCTION = (
    "instruction", "instructions", "prompt", "question", "query", "problem", "task", "request", "user", "human",
    "input", "inputs", "source", "src", "text", "document", "article", "sentence",
)  # fmt: skip
_OUTPUT = (
    "output", "outputs", "response", "responses", "completion", "answer", "answers", "reply", "solution", "assistant",
    "gpt", "bot", "target", "targets", "tgt", "summary", "highlights", "translation", "code",
)  # fmt: skip
_INPUT = (
    "input", "inputs", "context", "contexts", "passage", "passages", "background", "document", "article", "text",
    "choices", "options",
)  # fmt: skip
_COLUMN_WORDS = {*_INSTRUCTION, *_OUTPUT, *_INPUT}
# Words that mark a column as metadata of a text, not the text itself.
_METADATA_WORDS = {
    "id", "ids", "idx", "index", "length", "len", "score", "count", "type", "lang", "language", "category", "url",
}  # fmt: skip
# Words that mark a text as one not to learn from.
_BAD_WORDS = {"incorrect", "wrong", "bad", "rejected", "worse"}
_PAIR_ENDINGS = (("1", "2"), ("0", "1"), ("a", "b"), ("one", "two"))

# Names of columns that change what a row means, whatever its instruction, input and output are.
_SYSTEM_NAMES = (
    ("system",), ("sys",), ("system", "prompt"), ("sys", "prompt"), ("system", "message"), ("system", "instruction"),
    ("system", "instructions"),
)  # fmt: skip
_CONTEXT_NAMES = (
    ("tools",), ("available", "tools"), ("functions",), ("history",), ("chat", "history"), ("conversation", "history"),
    ("dialog", "history"), ("dialogue", "history"), ("message", "history"), ("chat", "template", "kwargs"),
    ("previous", "messages"), ("previous", "turns"), ("documents",), ("contexts",), ("passages",), ("choices",),
    ("options",), ("answer", "choices"), ("answer", "options"),
    *itertools.product(("option", "choice"), "abcdef0123456"),
    *itertools.product(("image", "images", "audio", "audios", "video", "videos")),
    *itertools.product(("image", "audio", "video"), ("path", "paths", "url", "urls", "file", "files")),
)  # fmt: skip
# Names of columns that an input can hold, unless their values are lists or objects.
_REFERRED_TO_NAMES = (("context",), ("passage",), ("background",), ("document",), ("article",))
# Names of columns whose ``false`` marks an answer as bad, as in datasets for KTO.
_VERDICT_NAMES = (
    ("label",), ("kto", "tag"), ("correct",), ("is", "correct"), ("accepted",), ("is", "accepted"),
    ("is", "safe"),
)  # fmt: skip

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Columns that hold whole conversations, as chat datasets name them."""


class ColumnsError(DataError):
    """The source lacks a column that the settings name.

    ``found``: the names of its columns. ``proposal``: the mapping that is probably meant, or None.
    """

    def __init__(self, message: str, found: Sequence[str], proposal: Columns | None):
        super().__init__(message)
        self.found = tuple(found)
        self.proposal = proposal


HoldsText = Callable[[str], bool]
"""Predicate on a column name: whether most values are texts. The default, by names alone, accepts every column."""


def propose(names: Sequence[str], holds_text: HoldsText = lambda name: True) -> Columns | None:
    """Return the columns that look like instruction, input (None if there is none), output and system prompt.

    Returns None if no column looks like an instruction, or none like an answer. A source of conversations gives
    the default names, since conversations are unfolded to those.
    """
    texts = [name for name in names if not changes_meaning(name) and not _is_unfit(name) and holds_text(name)]
    system = next((name for name in names if is_system(name) and holds_text(name)), None)
    output = _best_match(_OUTPUT, texts)
    instruction = _best_match(_INSTRUCTION, [name for name in texts if name != output])
    if instruction is None or output is None:
        # Beside a question, two numbered columns are two answers to it.
        pair = _numbered_pair(texts) if instruction is None and output is None else None
        proposal = pair or (Columns() if _conversations(names) else None)
        return proposal and dataclasses.replace(proposal, system=system)
    rest = [name for name in names if name not in (instruction, output) and holds_text(name)]
    return Columns(instruction, _best_match(_INPUT, rest, inside_names=False), output, system)


def conversations_in(names: Sequence[str], columns: Columns, holds_text: HoldsText = lambda name: True) -> str | None:
    """Return the column of conversations that replaces instruction and output, if the source lacks them.

    Only with the default column names: a column that the settings name explicitly must exist.
    """
    usual = (columns.instruction, columns.output) == (Columns.instruction, Columns.output)
    if not usual or (columns.instruction in names and columns.output in names):
        return None
    proposal = propose(names, holds_text)
    if proposal is None or dataclasses.replace(proposal, system=None) != Columns():
        return None
    return _conversations(names)


def beside_conversations(names: Sequence[str], columns: Columns) -> str | None:
    """Return the column that the conversations may refer to but do not hold; None if there is none."""
    used = (columns.input, columns.system, *columns.ignore)
    others = [name for name in names if name not in used and not changes_meaning(name)]
    return _best_match(("instruction", *_INPUT), others, inside_names=False)


def is_system(name: str) -> bool:
    """Whether a column of that name holds system prompts."""
    return tuple(_words(name)) in _SYSTEM_NAMES


def changes_meaning(name: str) -> bool:
    """Whether a column of that name changes what a row means, as system prompts, tools, earlier turns, pictures do."""
    return tuple(_words(name)) in (*_SYSTEM_NAMES, *_CONTEXT_NAMES)


def can_be_input(name: str) -> bool:
    """Whether a column of that name is a plausible input where it holds texts."""
    return len(_words(name)) == 1 and _words(name)[0] in _INPUT


def is_referred_to(name: str) -> bool:
    """Whether instructions refer to a column of that name, which a person can name as the input if it holds texts."""
    return tuple(_words(name)) in _REFERRED_TO_NAMES


def is_verdict(name: str) -> bool:
    """Whether ``false`` in a column of that name marks the row's answer as bad."""
    return tuple(_words(name)) in _VERDICT_NAMES


def left_out(names: Sequence[str], columns: Columns) -> list[str]:
    """Return the columns whose values may change what a row means and are neither used nor explicitly ignored."""
    named = (columns.instruction, columns.input, columns.output, columns.system, *columns.ignore)
    kinds = (changes_meaning, is_referred_to, is_verdict)
    return [name for name in names if name not in named and any(is_kind(name) for is_kind in kinds)]


def wanted(names: Sequence[str], columns: Columns) -> list[str]:
    """Return the column names whose values must be read.

    If the source lacks the named columns, this includes every column a proposal could name, so that it can check
    their values.
    """
    needed = {columns.instruction, columns.input, columns.output, columns.system, *left_out(names, columns)}
    if columns.instruction not in names or columns.output not in names:
        needed |= {name for name in names if _COLUMN_WORDS.intersection(_words(name)) or changes_meaning(name)}
        needed.add(_conversations(names))
    return [name for name in names if name in needed]


def as_settings(proposal: Columns, columns: Columns, names: Sequence[str]) -> str:
    """Return the overrides that turn ``columns`` into ``proposal``: ``data.columns.output=answer …``."""
    changes = []
    for part in ("instruction", "input", "output", "system"):
        name, current = getattr(proposal, part), getattr(columns, part)
        # An input column with the default name is optional.
        if name == current or (name is None and current == Columns.input and current not in names):
            continue
        changes.append(shlex.quote(f"data.columns.{part}={'null' if name is None else name}"))
    return " ".join(changes)


def _conversations(names: Sequence[str]) -> str | None:
    return next((name for name in names if name.strip().lower() in CONVERSATIONS), None)


def _best_match(candidates: Sequence[str], names: Sequence[str], inside_names: bool = True) -> str | None:
    """Return the column whose name is the first possible candidate (in any case), else contains it as a word.

    Returns None if several contain that word, since the first of two answers may be the wrong one.
    """
    words = {name: _words(name) for name in names}
    for candidate in candidates:
        for name in names:
            if words[name] == [candidate]:
                return name
    for candidate in candidates if inside_names else ():
        matches = [n for n in names if candidate in words[n] and not _METADATA_WORDS.intersection(words[n])]
        if matches:
            return matches[0] if len(matches) == 1 else None
    return None


def _is_unfit(name: str) -> bool:
    """Whether a name is that of bad answers, or a sentence: the first row of a CSV file without a header."""
    is_sentence = len(name.split()) > 4 or (len(name.split()) > 1 and name.rstrip().endswith(("?", ".", "!", ":")))
    return is_sentence or bool(_BAD_WORDS.intersection(_words(name)))


def _words(name: str) -> list[str]:
    """``"modelResponse"`` and ``"Model Response"`` → ``["model", "response"]``."""
    return re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _numbered_pair(names: Sequence[str]) -> Columns | None:
    """Match ``text1`` and ``text2``, or ``sentence_a`` and ``sentence_b``: the first is the instruction."""
    by_words = {tuple(_words(name)): name for name in names}
    for words, name in by_words.items():
        for first, second in _PAIR_ENDINGS:
            other = (*words[:-1], second)
            if len(words) > 1 and words[-1] == first and other in by_words and not set(words).intersection(_OUTPUT):
                return Columns(name, None, by_words[other])
    return None
