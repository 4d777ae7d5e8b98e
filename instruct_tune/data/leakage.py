"""Find leakage: training rows that are near copies of held-out rows, which makes the held-out score misleading."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .near_duplicates import NearPair


@dataclass(frozen=True)
class Leakage:
    """``nearest``: for each held-out row with a near copy in training, the nearest one; most similar pairs first.

    In these pairs ``first`` is the training row and ``second`` the held-out one. ``train_rows``: all training
    rows that are a near copy of any held-out row.
    """

    nearest: tuple[NearPair, ...]
    train_rows: frozenset[int]


def find_leakage(pairs: Sequence[NearPair], train: int, rows: int) -> Leakage:
    """Select the ``near_pairs`` of ``rows`` texts that cross the split; the first ``train`` texts are training rows."""
    # Exact copies are paired with the first of them only, which represents them all.
    first_copy = {pair.second: pair.first for pair in pairs if pair.similarity == 1}
    similar: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for pair in pairs:
        if pair.similarity < 1:
            similar[pair.first].append((pair.second, pair.similarity))
            similar[pair.second].append((pair.first, pair.similarity))

    def near(row: int) -> list[tuple[int, float]]:
        text = first_copy.get(row, row)
        return [(text, 1.0), *similar.get(text, ())]

    held_out = {first_copy.get(row, row) for row in range(train, rows)}
    nearest = []
    for row in range(train, rows):
        # Training rows come first, so a text that occurs in training has its first copy there.
        trained = [(similarity, -text) for text, similarity in near(row) if text < train]
        if trained:
            similarity, text = max(trained)
            nearest.append(NearPair(-text, row, similarity))
    return Leakage(
        nearest=tuple(sorted(nearest, key=lambda pair: (-pair.similarity, pair.second))),
        train_rows=frozenset(row for row in range(train) if any(text in held_out for text, _ in near(row))),
    )
