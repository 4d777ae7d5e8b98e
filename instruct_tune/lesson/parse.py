"""Read a path: one Markdown file, or a folder of such files, whose steps begin with ``# TITLE``.

docs/teaching.md describes the format. Anybody may have written a file, so every fault is one DataError that names the
file, the step and the field, and texts are plain text with two marks: ``**bold**`` and `` `code` ``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.validation import parse_override
from ..data.utf8 import decode
from ..errors import DataError, SettingsError
from ..text.plain_text import counted, shown_name
from .vocabulary import CONTROLS, NOTICES, SETTINGS, TABS, settings_fault, tab_of

MAX_BYTES = 100_000
MAX_STEPS = 40
MAX_NAMES = 20
"""Most controls that a step sets, and most places that it marks."""
LONGEST_TITLE, LONGEST_TEXT, LONGEST_TASK = 100, 2000, 500

FIELDS = ("tab", "sets", "marks", "points_at", "notices")
TASK = "Do:"
_FIELD = re.compile(r"([a-z_]+):(?:[ \t]+(.*))?")
_PATH_TITLE = re.compile(r"path:[ \t]+(.+)")
# C0 and C1 controls but for tab and new line, and the marks that turn the direction of text around them.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Step:
    """One step. ``text``: its paragraphs; ``task``: the one thing to do.

    ``tab``: the tab that *Show me* opens. ``sets``: (control, value). ``marks``: controls, ``points_at``: places in the
    result, by their names in ``vocabulary``. ``notices``: one of ``vocabulary.NOTICES``, or None.
    """

    title: str
    tab: str
    text: tuple[str, ...]
    task: str
    sets: tuple[tuple[str, Any], ...] = ()
    marks: tuple[str, ...] = ()
    points_at: tuple[str, ...] = ()
    notices: str | None = None


@dataclass(frozen=True)
class LessonPath:
    """A path: its title, and its steps in order."""

    title: str
    steps: tuple[Step, ...]


def read_path(source: Path) -> LessonPath:
    """The path in a file, or in the ``.md`` files of a folder in the order of their names.

    Raises DataError for a fault in a file, and where there is none to read.
    """
    files = sorted(source.glob("*.md")) if source.is_dir() else [source]
    if not files:
        raise DataError(f"{source.name} has no .md file: a path has one or more.")
    title, steps = "", list[Step]()
    for file in files:
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_BYTES + 1)
        except OSError as error:
            raise DataError(f"{file.name} cannot be read ({error.strerror}).") from error
        path = parse_path(content, file.name)
        title, steps = title or path.title, [*steps, *path.steps]
        _check_count(steps, source.name)
    return LessonPath(title, tuple(steps))


def parse_path(content: bytes, name: str) -> LessonPath:
    """The path in the bytes of the file ``name``. Raises DataError."""
    if len(content) > MAX_BYTES:
        raise DataError(f"{name} is larger than {MAX_BYTES:,} bytes, which is the most for a path: shorten it.")
    text = decode(content, name).replace("\r\n", "\n").replace("\r", "\n")
    if wrong := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, wrong.start()) + 1
        raise DataError(f"{name}, line {line:,} holds the control character U+{ord(wrong[0]):04X}: remove it.")
    head, *parts = re.split(r"^#[ \t]+", text, flags=re.MULTILINE)
    if not parts:
        raise DataError(f'{name} has no step: a step begins with a line "# TITLE".')
    _check_count(parts, name)
    return LessonPath(
        _path_title(head, name), tuple(_step(part, f"{name}, step {n}") for n, part in enumerate(parts, 1))
    )


def _check_count(steps: list[Any], name: str) -> None:
    if len(steps) > MAX_STEPS:
        raise DataError(f"{name} has {counted(len(steps), 'step')}, and a path has at most {MAX_STEPS}: shorten it.")


def _path_title(head: str, name: str) -> str:
    """The title in what stands before the first step: ``path: TITLE`` or nothing."""
    if not head.strip():
        return ""
    match = _PATH_TITLE.fullmatch(head.strip())
    if not match:
        raise DataError(
            f'{name}: before the first step stands "path: TITLE" or nothing, not {shown_name(head.strip())}.'
        )
    return _limited(match[1].strip(), LONGEST_TITLE, f"{name}, path")


def _step(part: str, where: str) -> Step:
    """The step in the text after ``# ``; ``where`` names it in errors."""
    title, _, rest = part.partition("\n")
    title = _limited(title.strip(), LONGEST_TITLE, f"{where}, title")
    if not title:
        raise DataError(f'{where} has no title: it begins with a line "# TITLE".')
    where = f"{where} ({shown_name(title)})"
    head, _, body = rest.partition("\n\n") if not rest.startswith("\n") else ("", "", rest)
    fields = _fields(head, where)
    tab = fields.get("tab", "")
    if tab not in TABS:
        raise DataError(f"{where}, tab: must be one of {', '.join(TABS)}, not {shown_name(tab)}.")
    text, task = _texts(body, where)
    notices = fields.get("notices") or None
    if notices not in (None, *NOTICES):
        raise DataError(f"{where}, notices: must be one of {', '.join(NOTICES)}, not {shown_name(notices)}.")
    return Step(
        title=title,
        tab=tab,
        text=text,
        task=task,
        sets=_sets(fields.get("sets", ""), f"{where}, sets"),
        marks=_names(fields.get("marks", ""), tab, f"{where}, marks"),
        points_at=_names(fields.get("points_at", ""), tab, f"{where}, points_at"),
        notices=notices,
    )


def _fields(head: str, where: str) -> dict[str, str]:
    """``NAME: VALUE`` a line. Raises DataError for any other line, and for a name that is unknown or given twice."""
    fields: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in head.split("\n"))):
        match = _FIELD.fullmatch(line)
        if not match or match[1] not in FIELDS:
            raise DataError(
                f"{where}: {shown_name(line)} is not a field: there are {', '.join(FIELDS)}, each as NAME: VALUE, "
                "and an empty line before the text."
            )
        if match[1] in fields:
            raise DataError(f"{where}, {match[1]}: is given twice.")
        fields[match[1]] = (match[2] or "").strip()
    return fields


def _texts(body: str, where: str) -> tuple[tuple[str, ...], str]:
    """The paragraphs and the task, which is the last paragraph."""
    *paragraphs, task = [" ".join(each.split()) for each in re.split(r"\n[ \t]*\n", body) if each.strip()] or [""]
    if not task.startswith(TASK):
        raise DataError(f'{where}: its last paragraph must be one thing to do, "{TASK} …".')
    if not paragraphs:
        raise DataError(f'{where}: has no text before "{TASK}".')
    _limited("".join(paragraphs), LONGEST_TEXT, f"{where}, text")
    return tuple(paragraphs), _limited(task.removeprefix(TASK).strip(), LONGEST_TASK, f"{where}, {TASK}")


def _limited(text: str, most: int, where: str) -> str:
    if len(text) > most:
        raise DataError(f"{where}: has {len(text):,} characters, and at most {most:,} are allowed: shorten it.")
    return text


def _listed(text: str, separator: str, where: str) -> Iterator[str]:
    names = [each.strip() for each in text.split(separator) if each.strip()]
    if len(names) > MAX_NAMES:
        raise DataError(f"{where}: names {len(names):,}, and at most {MAX_NAMES} are allowed.")
    yield from names


def _names(text: str, tab: str, where: str) -> tuple[str, ...]:
    """The places in a list with commas, each on the step's tab."""
    names = tuple(_listed(text, ",", where))
    for name in names:
        if tab_of(name) is None:
            raise DataError(f"{where}: there is no {shown_name(name)} to mark: docs/teaching.md has the list.")
        if tab_of(name) != tab:
            raise DataError(f"{where}: {name} is on the tab {tab_of(name)}, and this step opens {tab}.")
    return names


def _sets(text: str, where: str) -> tuple[tuple[str, Any], ...]:
    """The controls and values in a list with semicolons: ``lora.r = 64; template = alpaca``."""
    values: dict[str, Any] = {}
    for assignment in _listed(text, ";", where):
        try:
            name, value = parse_override(assignment)
        except SettingsError:
            raise DataError(f"{where}: {shown_name(assignment)} must be NAME = VALUE.") from None
        if name not in SETTINGS and name not in CONTROLS:
            raise DataError(f"{where}: there is no control {shown_name(name)} to set: docs/teaching.md has the list.")
        value = value.strip() if isinstance(value, str) else value
        if name in CONTROLS and not CONTROLS[name].accepts(value):
            raise DataError(f"{where}: {name} must be {CONTROLS[name].range}.")
        values[name] = value
    if fault := settings_fault({name: value for name, value in values.items() if name in SETTINGS}):
        raise DataError(f"{where}: {fault}.")
    return tuple(values.items())
