"""Any number of runs beside each other, each table with one ruler: the same rows, asked and scored the same way.

What was measured on other rows, with another template, other decoding, another tokenisation or on other base
weights stands in another table. Pure functions of evaluations' JSON and rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .bleu import difference_interval, paired_test
from .bleu_tokenizers import DEFAULT
from .interpretation import SIGNIFICANT

MAX_TESTED = 2000
"""Tests against a leader that are remembered."""
_TESTED: dict[bytes, float] = {}


@dataclass(frozen=True)
class Entry:
    """One run's evaluation: its JSON, its rows with their answers, and the template that asked."""

    run_id: str
    name: str
    template: Any
    found: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @property
    def measurement_key(self) -> dict[str, Any]:
        """All that has to be the same for two scores to be comparable, in JSON."""
        return {
            "rows": len(self.rows),
            "rows_fingerprint": rows_fingerprint(self.rows),
            "template": _unnamed(self.template),
            "generation": self.found["generation"],
            "signature": self.found["tuned"]["signature"],
            "weights_sha256": self.found.get("weights_sha256"),
        }

    @property
    def answers(self) -> list[str]:
        return [row["tuned"] for row in self.rows]


def rows_fingerprint(rows: Sequence[Mapping[str, Any]]) -> str:
    """A hash of what was asked and expected, row by row in their order."""
    asked = [[row[name] for name in ("instruction", "input", "reference")] for row in rows]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _unnamed(template: Any) -> Any:
    """A name of one's own for a template changes nothing that is asked."""
    if not isinstance(template, Mapping):
        return template
    return {part: text for part, text in template.items() if part != "name"}


def leaderboard_tables(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A table for each ruler, the one with most runs first: ``base``, ``runs`` by score, ``sentence``,
    and its ruler's fields.

    A run stands once in a table, with the first of its ``entries``. Of each: ``run_id, name, seq, bleu, ci``, what it
    gained over base (``delta, delta_ci, p_value``) and ``p_leader``, the paired test against the leader (None for
    the leader itself). ``base``: ``bleu, ci``, as measured beside the leader.
    """
    tables: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        tables.setdefault(json.dumps(entry.measurement_key, sort_keys=True), {}).setdefault(entry.run_id, entry)
    told = [_table(list(table.values())) for table in tables.values()]
    return sorted(told, key=lambda table: -len(table["runs"]))


def differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ruler's fields that are not the same in all tables."""
    names = ("rows_fingerprint", "template", "generation", "signature", "weights_sha256")
    return [name for name in names if any(table[name] != tables[0][name] for table in tables)]


def _table(entries: Sequence[Entry]) -> dict[str, Any]:
    ranked = sorted(entries, key=lambda entry: -entry.found["tuned"]["bleu"])
    leader = ranked[0]
    runs = [_place(entry, leader) for entry in ranked]
    base = {name: leader.found["base"][name] for name in ("bleu", "ci")}
    return {**leader.measurement_key, "base": base, "runs": runs, "sentence": _sentence(runs, base)}


def _place(entry: Entry, leader: Entry) -> dict[str, Any]:
    found, references = entry.found, [row["reference"] for row in leader.rows]
    # A former lab knew this tokenisation alone, and kept no interval of the difference.
    words, delta_ci = found.get("tokenize", DEFAULT), found.get("delta_ci")
    if delta_ci is None:
        base = [row["base"] for row in entry.rows]
        delta_ci = difference_interval(base, entry.answers, references, tokenize=words)
    p_leader = None if entry is leader else _p_value(entry.answers, leader.answers, references, words)
    return {
        "run_id": entry.run_id,
        "name": entry.name,
        "seq": found["seq"],
        "bleu": found["tuned"]["bleu"],
        "ci": found["tuned"]["ci"],
        "delta": found["delta"],
        "delta_ci": delta_ci,
        "p_value": found["p_value"],
        "p_leader": p_leader,
    }


def _p_value(answers: list[str], leader: list[str], references: list[str], words: str) -> float:
    """The paired test, remembered: it takes a tenth of a second, and everybody who looks asks for all of them."""
    asked = hashlib.sha256(json.dumps([answers, leader, references, words]).encode()).digest()
    found = _TESTED.get(asked)
    if found is None:
        found = _TESTED[asked] = paired_test(answers, leader, references, tokenize=words)
        for oldest in list(_TESTED)[:-MAX_TESTED]:
            _TESTED.pop(oldest, None)
    return found


def _sentence(runs: Sequence[Mapping[str, Any]], base: Mapping[str, Any]) -> str:
    """Who leads, claiming no more than the tests do."""
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
