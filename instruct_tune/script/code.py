"""Lines of Python that know which settings they carry."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..text.python_literal import literal

TABS = ("data", "format", "train", "compare", "evaluate")
"""The tabs that have sections, in the order of the script."""
WIDTH = 100
"""Characters of a line before a text or a list goes on in the next one."""


@dataclass(frozen=True)
class Line:
    """One line of code. ``settings``: the dotted fields of the configuration whose value it carries."""

    text: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Lines that belong together: a block of the script, a cell of the notebook. ``tab`` shows them on the page."""

    tab: str
    title: str
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


def code(block: str) -> list[Line]:
    """An indented block of fixed code as lines. No value of a configuration belongs in it."""
    return [Line(text) for text in textwrap.dedent(block).removeprefix("\n").removesuffix("\n").split("\n")]


def note(text: str, *settings: str, indent: str = "") -> list[Line]:
    """A comment, in lines of ``WIDTH``; ``text`` may come from a person."""
    return [
        Line(f"{indent}# {line}", settings) for line in textwrap.wrap(one_line(text), WIDTH, break_on_hyphens=False)
    ]


def assign(name: str, value: Any, *settings: str, why: str = "") -> list[Line]:
    """``name = value``, with a comment; a long text or list goes over several lines."""
    whole = literal(value)
    comment = f"  # {one_line(why)}" if why else ""
    if len(name) + len(whole) + 3 <= WIDTH and not (isinstance(value, str) and "\n" in value.rstrip("\n")):
        return [Line(f"{name} = {whole}{comment}", settings)]
    opening, parts, closing = _parts(value)
    inside = [Line(f"    {part}", settings) for part in parts]
    return [Line(f"{name} = {opening}{comment}", settings), *inside, Line(closing, settings)]


def argument(name: str, value: Any, *settings: str, why: str = "", indent: str = "    ") -> Line:
    """A keyword argument on a line of its own, with a comment."""
    return Line(f"{indent}{name}={literal(value)},{f'  # {one_line(why)}' if why else ''}", settings)


def _parts(value: Any) -> tuple[str, list[str], str]:
    """A long value as (opening, lines, closing)."""
    if isinstance(value, str):
        pieces = [piece for line in re.findall(r"[^\n]*\n|[^\n]+", value) for piece in _cut(line)]
        return "(", [literal(piece) for piece in pieces], ")"
    if isinstance(value, Mapping):
        return "{", [f"{literal(key)}: {literal(each)}," for key, each in value.items()], "}"
    if isinstance(value, (list, tuple)):
        return "[", [f"{literal(each)}," for each in value], "]"
    return "(", [literal(value)], ")"


def _cut(text: str) -> Iterable[str]:
    return (text[at : at + WIDTH] for at in range(0, len(text), WIDTH))


def one_line(text: str) -> str:
    """``text`` for a comment: on one line, without characters that do not print."""
    words = "".join(each if each.isprintable() else " " for each in text).split()
    # A line of three slashes would begin a block of metadata, such as the header's (PEP 723).
    return " ".join(words).replace("///", "/ / /")
