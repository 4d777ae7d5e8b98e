"""Share of answers that are code that parses, a second measure because BLEU counts shared words and suits code poorly.

A row's language is guessed from its reference (``code_language.guess``). Only rows whose reference parses count, so a
wrong guess does not count against an answer. A word, a sentence or a comment may parse too; it counts only where the
reference is no more than that. No code is ever run.
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
"""Maximum characters; a longer answer counts as not parsing, because parsers could take long on it."""
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
BARE = (
    ast.Name, ast.Constant, ast.Attribute, ast.Tuple, ast.UnaryOp, ast.unaryop, ast.BoolOp, ast.boolop, ast.Compare,
    ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.expr_context,
)  # fmt: skip
"""Nodes of Python expressions that compute nothing; ``Paris is in France`` has no others."""
_SQL_COMMENT = re.compile(r"--.*|/\*[\s\S]*?(?:\*/|\Z)")


@dataclass(frozen=True)
class ParseShare:
    """Of ``rows`` whose reference is code that parses, the number of answers that are code in the same language.

    ``languages``: number of these rows by guessed language.
    """

    rows: int
    base: int
    tuned: int
    languages: Mapping[str, int]


def parse_share(references: Sequence[str], base: Sequence[str], tuned: Sequence[str]) -> ParseShare:
    """Count the answers that are code in the language of their row's reference."""
    results: list[tuple[str, bool, bool]] = []
    for reference, base_answer, tuned_answer in zip(references, base, tuned, strict=True):
        language = guess(reference)
        if language is not None and language in PARSERS and parses(reference, language):
            counts = parses if is_bare(reference, language) else is_code
            results.append((language, counts(base_answer, language), counts(tuned_answer, language)))
    languages = [language for language, _, _ in results]
    counted = {language: languages.count(language) for language in sorted(set(languages))}
    return ParseShare(len(results), sum(b for _, b, _ in results), sum(t for _, _, t in results), counted)


def parses(text: str, language: str) -> bool:
    """Whether ``text``, without a markdown fence around it, is well-formed ``language`` (a key of ``PARSERS``).

    Empty text does not parse.
    """
    text = unfenced(text).strip()
    return bool(text) and len(text) <= MOST and PARSERS[language](text)


def is_code(text: str, language: str) -> bool:
    """Whether ``text`` parses as ``language`` and is more than words and comments."""
    return parses(text, language) and not is_bare(text, language)


def is_bare(text: str, language: str) -> bool:
    """Whether ``text``, which parses, is only words or comments: ``Yes``, ``# done`` or, as JSON, ``42``."""
    return language in _BARE and _BARE[language](unfenced(text).strip())


def _python(text: str) -> bool:
    try:
        _python_module(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # CPython's parser raises MemoryError for code nested too deeply.
        return False
    return True


def _python_module(text: str) -> ast.Module:
    with warnings.catch_warnings():
        # The parsed code may trigger warnings, such as for invalid escapes; they do not concern the lab.
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _is_bare_python(text: str) -> bool:
    return all(map(_is_bare_statement, _python_module(text).body))


def _is_bare_statement(statement: ast.stmt) -> bool:
    match statement:
        # "Answer: Paris" is an annotation without a value.
        case ast.Expr(expression) | ast.AnnAssign(annotation=expression, value=None):
            return all(isinstance(node, BARE) for node in ast.walk(expression))
        case ast.Pass() | ast.Break() | ast.Continue() | ast.Return(None):
            return True
    return False


def _json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _sql(text: str) -> bool:
    """Whether SQLite's parser accepts every statement; unknown tables and functions are allowed."""
    if text.count(";") > MAX_STATEMENTS or "\0" in text:
        return False
    database = sqlite3.connect(":memory:")
    # Nothing is executed, but a few statements take effect when they are compiled.
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action in ACTING else sqlite3.SQLITE_OK)
    try:
        return all(_sql_statement(database, statement) for statement in _statements(text))
    finally:
        database.close()


def _statements(text: str) -> list[str]:
    """Split at semicolons that end a statement, not at those in a string or a trigger."""
    statements, begun = [], ""
    for piece in text.split(";"):
        begun += piece + ";"
        if sqlite3.complete_statement(begun):
            statements.append(begun)
            begun = ""
    return [statement for statement in (*statements, begun) if _SQL_COMMENT.sub("", statement).strip("; \r\n\t")]


def _sql_statement(database: sqlite3.Connection, statement: str) -> bool:
    try:
        # EXPLAIN compiles the statement without running it.
        database.execute(f"EXPLAIN {statement}")
    except sqlite3.Error as error:
        return not any(sign in str(error) for sign in SQL_FAULTS)
    return True


class _Tags(HTMLParser):
    """Tracks open elements; ``wrong`` is set once an end tag matches no open element."""

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
    """Whether there is an element, and every element that needs an end tag has one in the right place."""
    tags = _Tags()
    tags.feed(text)
    tags.close()
    unclosed = [tag for tag in tags.open if tag not in OPTIONAL_END]
    return bool(tags.seen) and not tags.wrong and not unclosed and not tags.rawdata


PARSERS: Mapping[str, Callable[[str], bool]] = {"python": _python, "json": _json, "sql": _sql, "html": _html}
_BARE: Mapping[str, Callable[[str], bool]] = {
    "python": _is_bare_python,
    "json": lambda text: not isinstance(json.loads(text), dict | list),
    "sql": lambda text: not _statements(text),
}
