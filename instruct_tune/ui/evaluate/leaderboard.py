"""The leaderboard: one table for each set of runs measured alike, best run first; settings are never mixed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...errors import DataError
from ...evaluation.leaderboard import differing
from ...services.access import Access
from ...services.evaluations import Evaluations
from ...text.markdown import plain
from ..context import QUIET, viewer
from ..formatting import decoding

NOTHING, READING = "No run was evaluated yet.", "Reading all evaluations…"
HEADERS = ["", "run", "BLEU", "95% interval", "over base", "its interval", "p against base", "p against the leader"]
WIDTHS = ["36px", "184px", "70px", "110px", "86px", "112px", "94px", "112px"]
WHAT = {
    "rows_fingerprint": "rows",
    "template": "template",
    "chat_markup": "text that the chat template writes",
    "generation": "decoding",
    "signature": "tokenisation or version of BLEU",
    "weights_sha256": "base weights",
}
"""The fields that have to agree within a table, in words."""


class LeaderboardPanel:
    """The contents of the inner tab "All runs"; its tables are read whenever that tab is opened.

    ``run``: the choice of the run, whose table is shown first.
    """

    def __init__(self, run: gr.Dropdown, *, evaluations: Evaluations, access: Access):
        self.run, self.evaluations, self.access = run, evaluations, access
        self.leader = gr.Markdown(READING, elem_id="standings-leader")
        self.which = gr.Dropdown(
            [],
            label="Measured on",
            info="Scores can be compared within a table, never across two",
            visible=False,
            elem_id="standings-which",
        )
        self.table = gr.Dataframe(
            headers=HEADERS,
            column_widths=WIDTHS,
            interactive=False,
            show_label=False,
            wrap=True,
            visible=False,
            elem_id="standings-table",
        )
        self.words = gr.Markdown("", elem_id="standings-words", elem_classes="note")

    def wire(self, tab: gr.Tab) -> None:
        """``tab``: the inner tab that holds the tables."""
        outputs = [self.words, self.which, self.leader, self.table]
        tab.select(self._read, self.run, outputs, **QUIET)
        self.which.input(self._choose, self.which, [self.leader, self.table], trigger_mode="always_last", **QUIET)

    def _read(self, run_id: str | None) -> list[Any]:
        tables = self.evaluations.leaderboard(viewer(self.access))
        if not tables:
            return ["", gr.Dropdown(visible=False), NOTHING, gr.Dataframe(visible=False)]
        first = next((table for table in tables if run_id in (run["run_id"] for run in table["runs"])), tables[0])
        chosen = gr.Dropdown(choices=choices(tables), value=key(first), visible=len(tables) > 1)
        return [introduction(tables), chosen, *self._table_updates(first)]

    def _choose(self, chosen: str | None) -> list[Any]:
        for table in self.evaluations.leaderboard(viewer(self.access)):
            if key(table) == chosen:
                return self._table_updates(table)
        raise DataError("Those evaluations are gone: open another tab and then this one again for what is there now.")

    def _table_updates(self, table: Mapping[str, Any]) -> list[Any]:
        return [f"**{plain(table['sentence'], 600)}**", gr.Dataframe(lines(table), visible=True)]


def introduction(tables: Sequence[Mapping[str, Any]]) -> str:
    """How many tables there are and which settings differ; for a single table, the settings it was measured with."""
    if len(tables) == 1:
        return f"Every evaluation so far was measured alike: {plain(measured_on(tables[0]), 300)}."
    why = ", ".join(WHAT[name] for name in differing(tables))
    return f"These are {len(tables)} tables, because not all was measured alike. What differs: {why}."


def choices(tables: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, key) for a dropdown."""
    return [(f"{_runs(len(table['runs']))} · {measured_on(table)}", key(table)) for table in tables]


def key(table: Mapping[str, Any]) -> str:
    """A table's identity: the settings in ``WHAT`` as JSON. Its index changes with each new evaluation."""
    return json.dumps([table[name] for name in WHAT], sort_keys=True)


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def measured_on(table: Mapping[str, Any]) -> str:
    """The settings that a table was measured with, on one line."""
    template = table["template"] if isinstance(table["template"], str) else "own"
    words = next((part for part in table["signature"].split("|") if part.startswith("tok:")), "")
    markup = f" (text {table['chat_markup'][:6]})" if table["chat_markup"] else ""
    weights = f" · weights {table['weights_sha256'][:8]}" if table["weights_sha256"] else ""
    return (
        f"{table['rows']} rows ({table['rows_fingerprint'][:6]}) · {decoding(table['generation']).rstrip('.')} · "
        f"template {template}{markup} · {words}{weights}"
    )


def lines(table: Mapping[str, Any]) -> list[list[str]]:
    """The table's cells: runs by BLEU, and base once, at the place of its own score."""
    runs = table["runs"]
    cells = [(run["bleu"], [str(place), *_cells(run)]) for place, run in enumerate(runs, 1)]
    base = table["base"]
    cells.append((base["bleu"], ["", "base", f"{base['bleu']:.2f}", _interval(base["ci"], ""), "", "", "", ""]))
    return [line for _, line in sorted(cells, key=lambda each: -each[0])]


def _cells(run: Mapping[str, Any]) -> list[str]:
    p_values = (run["p_value"], run["p_leader"])
    return [
        run["name"],
        f"{run['bleu']:.2f}",
        _interval(run["ci"], ""),
        f"{run['delta']:+.2f}",
        _interval(run["delta_ci"], "+"),
        *("—" if p_value is None else f"{p_value:.3f}" for p_value in p_values),
    ]


def _interval(ends: Sequence[float] | None, sign: str) -> str:
    return f"{ends[0]:{sign}.1f} to {ends[1]:{sign}.1f}" if ends else "—"
