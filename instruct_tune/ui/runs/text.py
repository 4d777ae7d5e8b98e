"""The table of runs, and a run's summary beside it: searched, sorted and paged on the server, not in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...text.markdown import plain

PAGE_ROWS = 25
BLEU = "BLEU (rows)"
HEADERS = ["Run", "State", "Held-out loss", BLEU, "Steps", "When", "Id"]
WIDTHS = ["32%", "13%", "12%", "22%", "9%", "12%", "1px"]
"""Widths of the columns. The last one, the run's id, is not drawn: a click on a row reads it there."""
ALL_RUNS = "All runs"
# Which runs are listed.
SHOWS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    ALL_RUNS: lambda run: True,
    "Trained here": lambda run: not run["recorded"] and not run["imported"],
    "Recorded or imported": lambda run: bool(run["recorded"] or run["imported"]),
    "Evaluated": lambda run: run["tuned_bleu"] is not None,
    "Not finished": lambda run: run["status"] != "finished",
}
CHOSEN = "background: color-mix(in srgb, #2563eb 16%, transparent);"

# Sort orders: (key, descending). A run without a value comes last.
Key = Callable[[Mapping[str, Any]], Any]
SORTS: dict[str, tuple[Key, bool]] = {
    "Newest first": (lambda run: run["created"], True),
    "Oldest first": (lambda run: run["created"], False),
    "Name": (lambda run: run["name"].casefold(), False),
    "State": (lambda run: run["status"], False),
    "Best BLEU": (lambda run: run["tuned_bleu"], True),
    "Largest gain in BLEU": (
        lambda run: None if run["tuned_bleu"] is None else run["tuned_bleu"] - run["base_bleu"],
        True,
    ),
    "Largest on disk": (lambda run: run["bytes"], True),
}


@dataclass(frozen=True)
class Page:
    """One page of the search result: ``number`` counts from 0, ``found`` runs in ``pages`` pages."""

    runs: tuple[Mapping[str, Any], ...]
    number: int
    pages: int
    found: int


def with_numbers(
    runs: Sequence[Mapping[str, Any]], evaluations: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The runs with their last evaluation's BLEU and its number of rows, and their bytes on disk."""
    return [{**run, **_scores(evaluations.get(run["id"])), "bytes": sizes.get(run["id"], 0)} for run in runs]


def _scores(evaluation: Mapping[str, Any] | None) -> dict[str, Any]:
    if evaluation is None:
        return dict.fromkeys(("base_bleu", "tuned_bleu", "bleu_rows"))
    base, tuned = (evaluation[side]["bleu"] for side in ("base", "tuned"))
    return {"base_bleu": base, "tuned_bleu": tuned, "bleu_rows": evaluation["rows"]}


def page_of(runs: Sequence[Mapping[str, Any]], search: str, sort: str, number: int, show: str = ALL_RUNS) -> Page:
    """One page of the runs, sorted, with every word of ``search`` in name, tags, notes, state, model, data, origin.

    ``show``: a key of ``SHOWS``.
    """
    words, listed = search.casefold().split(), SHOWS.get(show, SHOWS[ALL_RUNS])
    matches = [run for run in runs if listed(run) and all(word in _search_text(run) for word in words)]
    key, descending = SORTS.get(sort, SORTS["Newest first"])
    with_value = sorted((run for run in matches if key(run) is not None), key=key, reverse=descending)
    ordered = [*with_value, *(run for run in matches if key(run) is None)]
    pages = max(1, -(-len(ordered) // PAGE_ROWS))
    number = min(max(number, 0), pages - 1)
    return Page(tuple(ordered[number * PAGE_ROWS : (number + 1) * PAGE_ROWS]), number, pages, len(ordered))


def _search_text(run: Mapping[str, Any]) -> str:
    parts = ("name", "status", "model", "source", "recorded", "parent_name", "id", "notes")
    return "\n".join([*(str(run[part] or "") for part in parts), *run["tags"]]).casefold()


def table(page: Page, held_out: Mapping[str, float | None], chosen: str | None) -> dict[str, Any]:
    """The page as a Dataframe's value; the row of the chosen run is marked and tinted. Its id is the last cell."""
    rows = [_row(run, held_out.get(run["id"]), run["id"] == chosen) for run in page.runs]
    tint = [[CHOSEN if run["id"] == chosen else "" for _ in HEADERS] for run in page.runs]
    return {"headers": HEADERS, "data": rows, "metadata": {"display_value": rows, "styling": tint}}


def _row(run: Mapping[str, Any], held_out: float | None, chosen: bool) -> list[str]:
    scored = run["tuned_bleu"] is not None
    bleu = f"{run['base_bleu']:.1f} → {run['tuned_bleu']:.1f} ({run['bleu_rows']:,})" if scored else ""
    tags = f" · {', '.join(run['tags'])}" if run["tags"] else ""
    parent = f" (from {run['parent_name']})" if run["parent_name"] else ""
    return [
        ("▸ " if chosen else "") + run["name"] + parent + tags,
        ("imported, " if run["imported"] else "") + run["status"] + (f" ({run['phase']})" if run["phase"] else ""),
        "" if held_out is None else f"{held_out:.3f}",
        bleu,
        f"{run['step']}/{run['total_steps']}" if run["total_steps"] else "",
        "recorded" if run["recorded"] else time.strftime("%d %b, %H:%M", time.localtime(run["created"])),
        run["id"],
    ]


def run_summary(run: Mapping[str, Any], total_bytes: int) -> str:
    """What the table has no column for, in one line of markdown. ``total_bytes``: the run's size on disk."""
    parts = [run["model"].split("/")[-1], f"data {run['source'].split('/')[-1]}"]
    if run["tags"]:
        parts.append(f"tags {', '.join(run['tags'])}")
    if not run["recorded"]:
        parts.append(f"begun {time.strftime('%Y-%m-%d %H:%M', time.localtime(run['created']))}")
    parts += [f"{size(total_bytes)} on disk", f"id {run['id']}"]
    return plain(" · ".join(parts), 600)


def size(count: int) -> str:
    """``1234567`` → ``1.2 MB``."""
    if count < 1000:
        return f"{count} bytes"
    unit = next((unit for unit in (1e3, 1e6) if count < 1000 * unit), 1e9)
    return f"{count / unit:.1f} {({1e3: 'kB', 1e6: 'MB', 1e9: 'GB'})[unit]}"


def sentence(page: Page, in_all: int, total_bytes: int, search: str) -> str:
    """The number of runs and their size, the number found, and the page."""
    if not in_all:
        return "No run yet: start one in Train."
    text = f"{in_all} run{'s' * (in_all != 1)}, {size(total_bytes)} on disk."
    if search.strip() or page.found != in_all:
        text = f"{page.found} of {text}"
    if search.strip() and not page.found:
        text += " Nothing holds these words."
    return text + (f" Page {page.number + 1} of {page.pages}." if page.pages > 1 else "")
