"""Whether an answer is code that parses: BLEU counts shared words, and suits code poorly.

Which language a row is in is guessed from its reference (``languages.guess``); only rows whose
reference itself parses count, so that a wrong guess is nobody's fault. Nothing is ever run.
"""

from __future__ import annotations

import ast
import json
import re
import sqlite3
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser

from .code_language import guess, unfenced

MOST = 20_000
"""Characters: a longer answer counts as one that does not parse, since parsers may take long over it."""
MAX_STATEMENTS = 200
ACTING = (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA)
SQL_FAULTS = ("syntax error", "incomplete input", "unrecognized token", "parser stack overflow")
VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
}  # fmt: skip
"""HTML elements without an end tag (https://html.spec.whatwg.org/#void-elements)."""
OPTIONAL_END = frozenset(
    ["html", "head", "body", "p", "li", "dt", "dd", "option", "thead", "tbody", "tfoot", "tr", "td", "th", "colgroup"]
)
"""HTML elements whose end tag may be left out (https://html.spec.whatwg.org/#optional-tags)."""


@dataclass(frozen=True)
class ParseShare:
    """Of ``rows`` whose reference is code that parses: how many answers parse in the same language.

    ``languages``: how many of these rows are guessed to be in each.
    """

    rows: int
    base: int
    tuned: int
    languages: Mapping[str, int]


def parse_share(references: Sequence[str], base: Sequence[str], tuned: Sequence[str]) -> ParseShare:
    """Count the answers that parse in the language of their row's reference."""
    found: list[tuple[str, bool, bool]] = []
    for reference, base_answer, tuned_answer in zip(references, base, tuned, strict=True):
        language = guess(reference)
        if language is not None and language in PARSERS and parses(reference, language):
            found.append((language, parses(base_answer, language), parses(tuned_answer, language)))
    languages = [language for language, _, _ in found]
    counted = {language: languages.count(language) for language in sorted(set(languages))}
    return ParseShare(len(found), sum(b for _, b, _ in found), sum(t for _, _, t in found), counted)


def parses(text: str, language: str) -> bool:
    """Whether ``text``, without a markdown fence around it, is well-formed ``language`` (a key of ``PARSERS``).

    Empty text is no code.
    """
    text = unfenced(text).strip()
    return bool(text) and len(text) <= MOST and PARSERS[language](text)


def _python(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            # Other people's code may warn of its escapes; that is none of our own calls.
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # MemoryError: how CPython's parser says "nested too deeply".
        return False
    return True


def _json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _sql(text: str) -> bool:
    """Whether SQLite's parser takes every statement; tables and functions it does not know are no matter."""
    if text.count(";") > MAX_STATEMENTS or "\0" in text:
        return False
    database = sqlite3.connect(":memory:")
    # Nothing is run, but a few statements act while they are compiled.
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action in ACTING else sqlite3.SQLITE_OK)
    try:
        return all(_sql_statement(database, statement) for statement in _statements(text))
    finally:
        database.close()


def _statements(text: str) -> list[str]:
    """Split at the semicolons that end a statement, and not at those within a text or a trigger."""
    statements, begun = [], ""
    for piece in text.split(";"):
        begun += piece + ";"
        if sqlite3.complete_statement(begun):
            statements.append(begun)
            begun = ""
    return [each for each in (*statements, begun) if re.sub(r"--.*", "", each).strip("; \n\t")]


def _sql_statement(database: sqlite3.Connection, statement: str) -> bool:
    try:
        # EXPLAIN compiles and runs nothing.
        database.execute(f"EXPLAIN {statement}")
    except sqlite3.Error as error:
        return not any(sign in str(error) for sign in SQL_FAULTS)
    return True


class _Tags(HTMLParser):
    """Follows which elements are open; ``wrong`` once an end tag has none to close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen = 0
        self.wrong = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        while self.open and self.open[-1] != tag and self.open[-1] in OPTIONAL_END:
            self.open.pop()
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.wrong = True


def _html(text: str) -> bool:
    """Whether every element that needs an end tag has one, in its place, and there is an element at all."""
    tags = _Tags()
    tags.feed(text)
    tags.close()
    unclosed = [tag for tag in tags.open if tag not in OPTIONAL_END]
    return bool(tags.seen) and not tags.wrong and not unclosed and not tags.rawdata


PARSERS: Mapping[str, Callable[[str], bool]] = {"python": _python, "json": _json, "sql": _sql, "html": _html}
