"""The measurements as a table, as JSON and as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .measure import Row, Spread

HEAD = "| | stock | lab | ratio | wanted |\n|---|---|---|---|---|"


def table_row(row: Row) -> str:
    """One row of the markdown table: medians, and in brackets the range of the ratio over repetitions."""
    ratio = f"{_number(row.ratio.median)} ({_range(row.ratio)})" if row.ratio else ""
    cells = [row.what, _cell(row.stock, row.unit), _cell(row.lab, row.unit), ratio, row.wanted]
    return f"| {' | '.join(cells)} |"


def _cell(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return ""
    unit = unit if unit in ("", "%") else f" {unit}"
    return _number(spread.median) + unit


def _range(spread: Spread) -> str:
    return f"{_number(spread.low)}–{_number(spread.high)}"


def _number(value: float) -> str:
    """About three digits, never an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def write_json(path: Path, rows: Sequence[Row], conditions: Mapping[str, Any]) -> None:
    """Write all rows with lowest and highest of each number, and ``conditions``: machine and setting."""
    value = {**conditions, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_plot(path: Path, rows: Sequence[Row], title: str) -> None:
    """Write a PNG: bars of how many times as fast the lab is, and curves of how its cost grows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    compared, curves = [row for row in rows if row.ratio], [row for row in rows if row.curve]
    # The upper part grows with its bars; the lower one is used only where curves were measured.
    heights = [0.6 + 0.45 * max(1, len(compared)), 2.6 if curves else 0.1]
    figure = plt.figure(figsize=(11, 1.2 + sum(heights)), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=heights)
    _draw_ratios(upper.subplots(), compared)
    if curves:
        for axes, row in zip(lower.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
            _draw_curve(axes, row)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw_ratios(axes: Any, rows: Sequence[Row]) -> None:
    ratios = [(row.ratio, row) for row in reversed(rows) if row.ratio]
    names = [row.what for _, row in ratios]
    medians = [ratio.median for ratio, _ in ratios]
    below = [ratio.median - min(ratio.low, ratio.median) for ratio, _ in ratios]
    above = [max(ratio.high, ratio.median) - ratio.median for ratio, _ in ratios]
    axes.barh(names, medians, xerr=[below, above], color="#2563eb", ecolor="#1e3a8a", capsize=3, height=0.6)
    axes.axvline(1, color="#6b7280", linewidth=1)
    for place, (ratio, row) in enumerate(ratios):
        axes.annotate(f" {_number(ratio.median)}", (max(ratio.high, ratio.median), place), va="center", fontsize=8)
        if row.wanted:
            axes.plot([float(row.wanted)] * 2, [place - 0.4, place + 0.4], color="#dc2626", linewidth=2)
    axes.set_xlabel("times as good as stock (bar: median, line: lowest to highest, red: wanted)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.08)


def _draw_curve(axes: Any, row: Row) -> None:
    xs, seconds = zip(*row.curve, strict=True)
    axes.loglog(xs, seconds, "o-", color="#2563eb", markersize=4)
    axes.set_title(row.what.partition(",")[0], fontsize=8)
    axes.set_xticks(xs, [f"{x:.3g}" for x in xs], fontsize=7)
    axes.set_yticks(seconds, [f"{each:.2g}" for each in seconds], fontsize=7)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set_ylabel("seconds", fontsize=7)
