"""The ledger as code: each filter as the lines that keep the same rows."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..config.filters import DROP_LEAKAGE, ByHand, Contains, Filter, Language, Length, Matches, NearDuplicates, Sample
from ..config.run_config import DataSettings
from ..data.near_duplicates import PART
from ..text import code_language
from ..text.python_literal import literal
from .code import Line, assign, code, note
from .record import Record
from .spelled_out import SPELLED_OUT

FILTERS = "data.filters"
NEAR = ("drop_near_duplicates", DROP_LEAKAGE.step)
"""Steps that compare texts with rapidfuzz."""


def needs_rapidfuzz(data: DataSettings) -> bool:
    """Whether a script for these settings needs rapidfuzz."""
    return any(step.step in NEAR for step in data.filters)


def before_split(data: DataSettings, record: Record | None) -> Iterator[Line]:
    """The filters in order, all but ``drop_leakage``, which needs the split."""
    if needs_rapidfuzz(data):
        yield from _NEAR_CODE
    steps = [step for step in data.filters if step != DROP_LEAKAGE]
    if not steps:
        yield Line("# No filter: every row is kept.", (FILTERS,))
    for number, step in enumerate(steps):
        lines = _CODE[step.step](step)
        yield from (Line(line.text, (FILTERS,) if line.text.strip() else ()) for line in lines)
        yield Line(f"print(len(rows), {literal(f'rows after {step.step}{_in_lab(record, number)}')})")


def after_split() -> Iterator[Line]:
    """``drop_leakage``: held-out rows stay, so that scores remain comparable."""
    yield from note(
        "Leakage: a training row that nearly repeats a held-out one would make the score too good.", FILTERS
    )
    yield Line("held_out_questions = [question(row) for row in held_out]", (FILTERS,))
    yield Line("own = own_parts([*train, *held_out])", (FILTERS,))
    yield Line(
        "clean = [at for at, row in enumerate(train) if not is_near(question(row), held_out_questions, own)]",
        (FILTERS,),
    )
    yield Line("train = train.select(clean)", (FILTERS,))


def _in_lab(record: Record | None, number: int) -> str:
    """How many rows the lab kept at the step, where it recorded that."""
    ledger = record.provenance.get("ledger") if record else None
    if not isinstance(ledger, Sequence) or number >= len(ledger):
        return ""
    kept = ledger[number].get("kept") if isinstance(ledger[number], Mapping) else None
    return f" (in the lab {kept})" if isinstance(kept, int) else ""


def _keep(condition: str) -> list[Line]:
    return [Line(f"rows = [row for row in rows if {condition}]")]


def _text_of(part: str) -> str:
    """The expression for the text that a step examines; ``row``: all three texts, one a line."""
    return '"\\n".join(row.values())' if part == "row" else f'row["{part}"]'


def _length(step: Length) -> Iterator[Line]:
    length = f"len({_text_of(step.of)})"
    if step.unit == "tokens":
        yield from code("""
            import re

            from transformers import AutoTokenizer


        """)
        yield from SPELLED_OUT
        yield Line(f"counting = AutoTokenizer.from_pretrained({literal(step.tokenizer)})")
        length = f"len(spelled_out(counting, {_text_of(step.of)}))"
    low, high = f"{step.min} <= " if step.min is not None else "", f" <= {step.max}" if step.max is not None else ""
    yield from _keep(f"{low}{length}{high}")


def _contains(step: Contains) -> Iterator[Line]:
    yield from assign("part", step.text)
    yield from _keep(f"part.casefold() {'not in' if step.exclude else 'in'} {_text_of(step.of)}.casefold()")


def _matches(step: Matches) -> Iterator[Line]:
    yield Line("import re")
    yield Line("")
    yield from assign("pattern", step.pattern)
    yield from _keep(f"{'not ' if step.exclude else ''}re.search(pattern, {_text_of(step.of)})")


def _language(step: Language) -> Iterator[Line]:
    yield from note(
        "The lab guesses the language of an answer by counting signs of each. The guess is its own, so here it is "
        "whole, to keep the same rows."
    )
    yield from (Line(text) for text in _language_guess())
    yield Line("")
    comparison = "!=" if step.exclude else "=="
    yield from _keep(f'(guess(row["output"]) or "none") {comparison} {literal(step.language)}')


@functools.cache
def _language_guess() -> tuple[str, ...]:
    """The module that guesses, without its docstring and what comes before its imports."""
    source = inspect.getsource(code_language)
    return tuple(source[source.index("import itertools") :].strip().split("\n"))


def _near_duplicates(step: NearDuplicates) -> Iterator[Line]:
    yield from assign("SIMILAR", step.threshold)
    yield from code("""
        kept, questions, seen, own = [], [], set(), own_parts(rows)
        for row in rows:
            text = question(row)
            # An exact copy of any earlier row goes; a near one only where the earlier row stayed.
            if text not in seen and not is_near(text, questions, own, SIMILAR):
                kept.append(row)
                questions.append(text)
            seen.add(text)
        rows = kept
    """)


def _sample(step: Sample) -> Iterator[Line]:
    yield Line("import random")
    yield Line("")
    yield Line(f"drawn = set(random.Random({step.seed}).sample(range(len(rows)), min({step.n}, len(rows))))")
    yield Line("rows = [row for at, row in enumerate(rows) if at in drawn]")


def _by_hand(step: ByHand) -> Iterator[Line]:
    verb = "kept" if step.step == "keep_rows" else "dropped"
    yield from code("""
        import hashlib
        import json

    """)
    yield from note(
        f"Somebody {verb} these rows by hand in the lab. Why, only they know; which ones, their ids tell: a hash of a "
        "row's three texts."
    )
    yield Line("by_hand = {")
    yield from (Line(f"    {literal(each)},") for each in step.rows)
    yield Line("}")
    yield from code("""
        def row_id(row):
            return hashlib.sha256(json.dumps(list(row.values())).encode()).hexdigest()[:16]


    """)
    yield from _keep(f"row_id(row) {'in' if step.step == 'keep_rows' else 'not in'} by_hand")


def _exact_duplicates(step: Filter) -> list[Line]:
    return code("""
        first = {}
        for at, row in enumerate(rows):
            first.setdefault(tuple(row.values()), at)
        rows = [rows[at] for at in first.values()]
    """)


_CODE: dict[str, Callable[[Any], Iterator[Line] | list[Line]]] = {
    "without_input": lambda step: _keep('not row["input"].strip()'),
    "with_input": lambda step: _keep('row["input"].strip()'),
    "drop_empty": lambda step: _keep('row["instruction"].strip() and row["output"].strip()'),
    "length": _length,
    "contains": _contains,
    "matches": _matches,
    "language": _language,
    "drop_exact_duplicates": _exact_duplicates,
    "drop_near_duplicates": _near_duplicates,
    "sample": _sample,
    "keep_rows": _by_hand,
    "drop_rows": _by_hand,
}

_NEAR_CODE = (
    *code("""
        import re
        from collections import Counter

        from rapidfuzz import fuzz, process

        # A word; in scripts without spaces (Thai, Lao, Burmese, Khmer, kana, Han) a character.
    """),
    *assign("PART", PART.pattern),
    *code('''


    def question(row):
        """Instruction and input, without what capitals and spaces add."""
        return " ".join(re.findall(r"\\w+|[^\\w\\s]", f"{row['instruction']}\\n{row['input']}".lower()))


    def own_parts(rows):
        """Question -> what it is without the sentences and lines that five different questions have in common."""
        parts = {}
        for row in rows:
            split = re.split(r"\\n|(?<=[.:?!])\\s", f"{row['instruction']}\\n{row['input']}".lower())
            parts.setdefault(question(row), [" ".join(re.findall(r"\\w+|[^\\w\\s]", part)) for part in split])
        common = Counter(part for of_one in parts.values() for part in set(of_one))
        return {text: " ".join(p for p in of_one if p and common[p] < 5) for text, of_one in parts.items()}


    def words(text):
        return {part for word in text.split() for part in re.findall(PART, word)}


    def is_near(text, others, own, similar=0.9):
        """Whether a text shares nearly its letters, in their order, and 70% of its words with one of the others.

        So do their ``own`` parts: a system prompt, or the instruction of a task, makes no copies. Their numbers are
        the same: another number makes another question.
        """
        own_words, numbers = words(text), re.findall(r"\\d+", text)
        for other, _, _ in process.extract(text, others, scorer=fuzz.ratio, score_cutoff=100 * similar, limit=None):
            other_words = words(other)
            shared = len(own_words & other_words)
            alike = fuzz.ratio(own[text], own[other]) >= 100 * similar and numbers == re.findall(r"\\d+", other)
            if alike and shared >= 0.7 * (len(own_words) + len(other_words) - shared):
                return True
        return False


    '''),
)
