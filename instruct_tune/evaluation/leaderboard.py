"""The leaderboard: runs ranked in tables, each with one measurement: the same rows, prompted and scored alike.

Evaluations with other rows, another template, other decoding, another tokenisation or other base weights are in
another table. Pure functions of evaluations' JSON and rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..util.hashing import sha256_of_json
from .bleu import paired_test
from .interpretation import SIGNIFICANT

MAX_TESTED = 2000
"""The most p-values against a leader in the cache."""
_P_VALUES: dict[str, float] = {}


@dataclass(frozen=True)
class Entry:
    """One run's evaluation: its JSON (``found``), its rows with their answers, and the template of its prompts.

    ``chat_markup``: what a chat template wrote around the question when the run began, with that day's date in some.
    """

    run_id: str
    name: str
    template: Any
    found: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    chat_markup: Mapping[str, str] = field(default_factory=dict)

    @property
    def measurement_key(self) -> dict[str, Any]:
        """Everything that must be equal for two scores to be comparable, as JSON."""
        return {
            "rows": len(self.rows),
            "rows_fingerprint": rows_fingerprint(self.rows),
            "template": _without_name(self.template),
            "chat_markup": sha256_of_json(self.chat_markup)[:16] if self.chat_markup else "",
            "generation": self.found["generation"],
            "signature": self.found["tuned"]["signature"],
            "weights_sha256": self.found["weights_sha256"],
        }

    @property
    def answers(self) -> list[str]:
        return [row["tuned"] for row in self.rows]


def rows_fingerprint(rows: Sequence[Mapping[str, Any]]) -> str:
    """A hash of the rows' instructions, inputs and references, in order."""
    texts = [[row[name] for name in ("instruction", "input", "reference")] for row in rows]
    return sha256_of_json(texts)[:16]


def _without_name(template: Any) -> Any:
    """The template without its name, which does not change the prompts."""
    if not isinstance(template, Mapping):
        return template
    return {part: text for part, text in template.items() if part != "name"}


def leaderboard_tables(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A table for each measurement key, the one with most runs first: ``base``, ``runs`` by score, ``sentence``,
    and the key's fields.

    A table contains a run once, with the first of its ``entries``. Each run has ``run_id, name, seq, bleu, ci``, its
    gain over base (``delta, delta_ci, p_value``) and ``p_leader``, the paired test against the leader (None for
    the leader itself). ``base``: ``bleu, ci``, as measured with the leader.
    """
    tables: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        tables.setdefault(json.dumps(entry.measurement_key, sort_keys=True), {}).setdefault(entry.run_id, entry)
    results = [_table(list(table.values())) for table in tables.values()]
    return sorted(results, key=lambda table: -len(table["runs"]))


def tied_groups(entries: Sequence[Entry], table: Mapping[str, Any]) -> dict[str, int]:
    """The group of each run of a table, from 1 for the best: the best run that is left, and all that the paired test
    cannot tell from it."""
    chosen = {(run["run_id"], run["seq"]) for run in table["runs"]}
    left = [entry for entry in entries if (entry.run_id, entry.found["seq"]) in chosen]
    groups: dict[str, int] = {}
    while left:
        level = [row for row in _table(left)["runs"] if row["p_leader"] is None or row["p_leader"] > SIGNIFICANT]
        number = len(set(groups.values())) + 1
        groups |= {row["run_id"]: number for row in level}
        left = [entry for entry in left if entry.run_id not in groups]
    return groups


def differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The measurement key's fields that differ between the tables."""
    names = ("rows_fingerprint", "template", "chat_markup", "generation", "signature", "weights_sha256")
    return [name for name in names if any(table[name] != tables[0][name] for table in tables)]


def _table(entries: Sequence[Entry]) -> dict[str, Any]:
    ranked = sorted(entries, key=lambda entry: -entry.found["tuned"]["bleu"])
    leader = ranked[0]
    runs = [_run_row(entry, leader) for entry in ranked]
    base = {name: leader.found["base"][name] for name in ("bleu", "ci")}
    return {**leader.measurement_key, "base": base, "runs": runs, "sentence": _sentence(runs, base)}


def _run_row(entry: Entry, leader: Entry) -> dict[str, Any]:
    evaluation, references = entry.found, [row["reference"] for row in leader.rows]
    p_leader = None if entry is leader else _p_value(entry.answers, leader.answers, references, evaluation["tokenize"])
    return {
        "run_id": entry.run_id,
        "name": entry.name,
        "seq": evaluation["seq"],
        "bleu": evaluation["tuned"]["bleu"],
        "ci": evaluation["tuned"]["ci"],
        "delta": evaluation["delta"],
        "delta_ci": evaluation["delta_ci"],
        "p_value": evaluation["p_value"],
        "p_leader": p_leader,
    }


def _p_value(answers: list[str], leader: list[str], references: list[str], tokenize: str) -> float:
    """The paired test, cached: it takes a tenth of a second, and every view of the page needs all of them."""
    key = sha256_of_json([answers, leader, references, tokenize])
    p_value = _P_VALUES.get(key)
    if p_value is None:
        p_value = _P_VALUES[key] = paired_test(answers, leader, references, tokenize=tokenize)
        for oldest in list(_P_VALUES)[:-MAX_TESTED]:
            _P_VALUES.pop(oldest, None)
    return p_value


def _sentence(runs: Sequence[Mapping[str, Any]], base: Mapping[str, Any]) -> str:
    """Which run leads; the sentence claims no more than the tests show."""
    leader, others = runs[0], runs[1:]
    if leader["bleu"] <= base["bleu"]:
        return f"No run scores above base ({base['bleu']:.1f})."
    first = f"{leader['name']} scores {leader['bleu']:.1f}, base {base['bleu']:.1f}"
    if not others:
        return f"{first}; no other run was measured like it."
    level = [run["name"] for run in others if run["p_leader"] > SIGNIFICANT]
    if not level:
        whom = others[0]["name"] if len(others) == 1 else f"all {len(others)} others"
        return f"{first}; it leads {whom} by more than chance (p = {max(run['p_leader'] for run in others):.3f})."
    names = ", ".join(level[:3]) + (f" and {len(level) - 3} more" if len(level) > 3 else "")
    return f"{first}; that it is ahead of {names} could be chance."
