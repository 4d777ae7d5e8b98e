"""Rows and where they come from, in words and as table rows. Pure functions, no gradio.

Dataset text is hostile. It only ever leaves here as text (cells, text boxes), or through ``plain`` where it has to
stand inside markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config.run_config import Columns
from ...data.columns import conversations_in, propose
from ...data.paging import RowsPage
from ...data.preview import FirstRows
from ...data.splits import Example
from ...text.markdown import plain

LONGEST_CELL = 200
LONGEST_TEXT = 50_000
"""Characters of a text that are shown in full: a row can be a megabyte, a browser's patience is less."""


def data_sentence(told: Mapping[str, Any], name: str) -> str:
    """What was loaded from the source of that ``name``, and how it was split."""
    return (
        f"**{plain(name)}**: {told['rows_loaded']:,} rows loaded, **{told['train_rows']:,} to train on**, "
        f"**{told['test_rows']:,} held out**. Licence: {plain(told['licence'])}. "
        f"Fingerprint `{told['fingerprint']}`."
    )


def columns_sentence(told: Mapping[str, Any], columns: Columns, proposed: bool) -> str:
    """How the source's columns were read, where that is not plain: proposed ones, conversations, one left out."""
    found = told["columns"]
    named = {"instruction": columns.instruction, "input": columns.input, "output": columns.output}
    if columns.system:
        named["system prompt"] = columns.system
    if proposed and conversations_in(found, columns):
        return (
            "Each conversation was read as one instruction and its output. "
            f"**Proposed: system prompt = {plain(columns.system or 'none')}.** If that is wrong, change the boxes "
            "under *Columns and split* and load again."
        )
    if proposed:
        pairs = ", ".join(f"{part} = {plain(name) if name else 'none'}" for part, name in named.items())
        return (
            f"The columns of this dataset have other names. **Proposed: {pairs}.** If that is wrong, change the boxes "
            "under *Columns and split* and load again."
        )
    if column := conversations_in(found, columns):
        return f"Each conversation in the column {plain(column)} was read as one instruction and its output."
    likely = propose(found)
    if likely and likely.input and columns.input not in found and likely.input not in named.values():
        return (
            f"The column {plain(likely.input)} is not used. If the instructions refer to it, name it as the column of "
            "the input under *Columns and split* and load again."
        )
    return ""


def notes_sentence(told: Mapping[str, Any]) -> str:
    """What is odd about the rows that were loaded."""
    return " ".join(plain(note, 1000) for note in told["notes"])


def example_rows(found: RowsPage) -> list[list[Any]]:
    """A page of rows as table rows, long texts cut."""
    return [
        [number, *cells]
        for (number, _), cells in zip(found.rows, text_rows([row for _, row in found.rows]), strict=True)
    ]


def text_rows(rows: Sequence[Example]) -> list[list[str]]:
    """Instruction, input and output of each row, long texts cut."""
    return [[cut(text, LONGEST_CELL) for text in (row.instruction, row.input, row.output)] for row in rows]


def first_rows_sentence(early: FirstRows) -> str:
    """What is shown of a large file while the rest is read."""
    return (
        f"**The first {len(early.rows)} of about {early.estimate:,} rows**, as they stand in the file: nothing is "
        "filtered or shuffled yet, and the rest is still being read."
    )


def cut(text: str, most: int) -> str:
    """``text``, its end replaced by "…" where it has more than ``most`` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def cut_note(row: Example) -> str:
    """What to say of a row that is too long to be shown whole; nothing of others."""
    longest = max(len(row.instruction), len(row.input), len(row.output))
    return f" (its first {LONGEST_TEXT:,} of {longest:,} characters)" if longest > LONGEST_TEXT else ""


def page_sentence(found: RowsPage, search: str, size: int) -> str:
    """Which rows of how many are shown."""
    if not found.rows:
        return f"No row contains “{plain(search, 40)}”: search for something else, or clear the search."
    first = (found.page - 1) * size + 1
    rows = "1 row" if found.matches == 1 else f"{found.matches:,} rows"
    of = f"{rows} with what is searched for" if search else rows
    return f"Page **{found.page:,} of {found.pages:,}** · {first:,} to {first + len(found.rows) - 1:,} of {of}"
