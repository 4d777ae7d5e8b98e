"""Plain data → what the page shows: tables, sentences, coloured text. Pure functions, no gradio.

Dataset and model text is hostile. It only ever leaves here as text (spans, cells, text boxes), or
through ``plain`` where it has to stand inside markdown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..data.columns import conversations_in, propose
from ..dataset import Example
from ..fetching.loading import Loading
from ..looking.browse import RowsPage
from ..looking.first_rows import FirstRows
from ..looking.xray import Role, XRay
from ..settings import Columns
from ..words.markdown import plain


def data_sentence(told: Mapping[str, Any], name: str) -> str:
    """What was loaded from the source of that ``name``, and how it was split."""
    return (
        f"**{plain(name)}**: {told['rows_loaded']:,} rows loaded, **{told['train_rows']:,} to train on**, "
        f"**{told['test_rows']:,} held out**. Licence: {plain(told['licence'])}. "
        f"Fingerprint `{told['fingerprint']}`."
    )


def loading_sentence(loading: Loading) -> str:
    """What is being done for a dataset, and how far a download is."""
    if not loading.total:
        return f"{plain(loading.phase or 'Getting ready')} …"
    done, total = loading.done / 1e6, loading.total / 1e6
    return f"{plain(loading.phase)}: {done:,.1f} of {total:,.1f} MB, {loading.speed / 1e6:,.1f} MB/s"


def columns_sentence(told: Mapping[str, Any], columns: Columns, proposed: bool) -> str:
    """How the source's columns were read, where that is not plain: proposed ones, conversations, one left out."""
    found = told["columns"]
    named = {"instruction": columns.instruction, "input": columns.input, "output": columns.output}
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


LONGEST_CELL = 200
LONGEST_TEXT = 50_000
"""Characters of a text that are shown in full: a row can be a megabyte, a browser's patience is less."""


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


TOKEN_HEADERS = ["position", "id", "token", "what", "carries loss"]


def token_rows(row: XRay) -> list[list[Any]]:
    """Every token: position from 1, id, the tokenizer's spelling, what it is, whether it carries loss."""
    return [
        [at, token.id, token.spelling, token.role.value, "yes" if token.loss else "no"]
        for at, token in enumerate(row.tokens, start=1)
    ]


def prompt_of(row: XRay) -> str:
    return "".join(token.text for token in row.tokens if token.role in (Role.PROMPT, Role.SPECIAL))


def answer_of(row: XRay) -> str:
    return "".join(token.text for token in row.tokens if token.role in (Role.ANSWER, Role.EOS))


def run_choices(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, id) for a dropdown, newest first."""
    return [
        (f"{run['name']} · {run['recorded'] or run['status']} · {run['model'].split('/')[-1]}", run["id"])
        for run in runs
    ]


def bin_choices(binned: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, id) for a dropdown: each deleted run and how long it can still be restored."""
    return [(f"{run['name']} · {_minutes(run['seconds_left'])} left", run["id"]) for run in binned]


def _minutes(seconds: float) -> str:
    return f"{int(seconds / 60)} min" if seconds >= 60 else "less than a minute"


def duration(seconds: float | None) -> str:
    """``75`` → ``1 min 15 s``."""
    if seconds is None:
        return "—"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def run_sentence(status: Mapping[str, Any]) -> str:
    """Where a run stands, in one line of markdown."""
    train = status["metrics"].get("train")
    part = f" ({status['part']['done']} of {status['part']['total']})" if status["part"] else ""
    parts = [f"**{status['status']}**" + (f" · {status['phase']}{part}" if status["phase"] else "")]
    if status["total_steps"]:
        parts.append(f"step {status['step']} of {status['total_steps']}")
    if train:
        parts.append(f"{train['tokens_per_second']:,.0f} tokens/s")
        parts.append(f"loss {train['loss']:.3f}")
    if probe := status["metrics"].get("probe"):
        parts.append(f"held-out loss {probe['probe_loss']:.3f}")
    if status["eta_seconds"] is not None:
        parts.append(f"{duration(status['eta_seconds'])} left")
    if status["place"]:
        parts.append(line_sentence(status).rstrip("."))
    if status["private"]:
        parts.append("made of an upload, so others do not see it")
    if status["recorded"]:
        parts.append(status["recorded"])
    if status["message"] and status["message"] != f"Finished {status['step']} steps.":
        parts.append(plain(status["message"], 400))
    return " · ".join(parts)


def hours(number: int) -> str:
    """``168`` → ``7 days``; ``24`` → ``24 hours``."""
    if number >= 48 and number % 24 == 0:
        return f"{number // 24} days"
    return f"{number} hour" + ("s" if number != 1 else "")


def line_sentence(waiting: Mapping[str, Any]) -> str:
    """A place in the line, and when its turn may come."""
    ahead = waiting["place"] - 1
    said = "Next in line" if not ahead else f"Waiting in line, {ahead} before it"
    seconds = waiting["starts_in_seconds"]
    return said + (f"; begins in about {duration(seconds)}." if seconds is not None else ".")


def events_text(events: Sequence[Mapping[str, Any]], last: int = 12) -> str:
    """The last events in words, newest first."""
    return "\n".join(
        f"{time.strftime('%H:%M:%S', time.localtime(event['time']))}  {event['text']}"
        for event in reversed(events[-last:])
    )


def strip(dataset: str, rows: int | None, model: str, run: Mapping[str, Any] | None, busy: str | None) -> str:
    """What is chosen and what is going on, in one line above the tabs."""
    parts = [f"**Data** {plain(dataset, 40)}" + (f" ({rows:,} rows)" if rows else ""), f"**Model** {plain(model, 60)}"]
    if run:
        state = run["status"] + (f", step {run['step']}/{run['total_steps']}" if run["total_steps"] else "")
        state += f", place {run['place']} in line" if run["place"] else ""
        parts.append(f"**Run** {plain(run['name'], 40)}: {state}")
    parts.append(f"**Lab** busy with {plain(busy, 60)}" if busy else "**Lab** idle")
    return " &nbsp;·&nbsp; ".join(parts)
