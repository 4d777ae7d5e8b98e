"""Several runs in one plot: each has a colour, a dash and a marker of its own, so that colour alone says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ...runs.differences import held_out, sentences
from ...util.curves import smooth, thin
from ..charts import MOST_LINE

LOOKS = (
    ("#2563eb", "solid", "circle"),
    ("#b45309", "dash", "square"),
    ("#0f8a6d", "dot", "diamond"),
    ("#9333ea", "dashdot", "triangle-up"),
    ("#e11d48", "longdash", "x"),
    ("#6b7280", "longdashdot", "star"),
)
MOST_RUNS = len(LOOKS)
STEPS, SHARE = "Optimizer step", "Share of the run"
AXES = (STEPS, SHARE)
LONGEST_NAME = 40


def names_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each run is called beside the others: its name, cut; the end of its id too where names are the same."""
    short = [run["name"] if len(run["name"]) <= LONGEST_NAME else run["name"][: LONGEST_NAME - 1] + "…" for run in runs]
    return [
        f"{name} ({run['id'][-4:]})" if short.count(name) > 1 else name for name, run in zip(short, runs, strict=True)
    ]


def overlay_figure(runs: Sequence[Mapping[str, Any]], axis: str, log_scale: bool) -> dict[str, Any]:
    """Held-out losses bold, smoothed training losses faint in the same colour; ``runs`` as ``show_run`` tells them."""
    names = names_of(runs)
    data: list[dict[str, Any]] = []
    for run, name, look in zip(runs, names, LOOKS, strict=False):
        data += _lines(run, name, look, axis)
    percent = {"ticksuffix": " %"} if axis == SHARE else {}
    layout = {
        # Another axis or another choice is another plot: no zoom is kept.
        "uirevision": " ".join([axis, *(run["id"] for run in runs)]),
        "margin": {"l": 56, "r": 12, "t": 8, "b": 44},
        "xaxis": {"title": {"text": axis.lower()}, "type": "linear", "rangemode": "tozero", **percent},
        "yaxis": {"title": {"text": "loss (nats a token)"}, "type": "log" if log_scale else "linear"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    return {"data": data, "layout": layout, "said": sentences(runs, names) or "No run is chosen."}


def _lines(run: Mapping[str, Any], name: str, look: tuple[str, str, str], axis: str) -> list[dict[str, Any]]:
    colour, dash, marker = look
    train = [metric for metric in run["metrics"] if metric["kind"] == "train"]
    steps = [metric["step"] for metric in train]
    own = thin(list(zip(steps, smooth([metric["loss"] for metric in train]), strict=True)), MOST_LINE)
    points = thin(held_out(run), MOST_LINE)
    last = max([run["total_steps"], *steps, *(step for step, _ in points), 1])

    def at(step: int) -> float:
        return round(100 * step / last, 2) if axis == SHARE else step

    # Plotly reads names as markup; a group's name switches both of its lines on and off.
    shared = {"name": escape(name), "legendgroup": run["id"]}
    return [
        {
            **shared,
            "x": [at(step) for step, _ in own],
            "y": [round(loss, 4) for _, loss in own],
            "mode": "lines",
            "line": {"color": colour, "width": 1},
            "opacity": 0.35,
            "showlegend": not points,
            "hoverinfo": "skip",
        },
        {
            **shared,
            "x": [at(step) for step, _ in points],
            "y": [round(loss, 4) for _, loss in points],
            "customdata": [step for step, _ in points],
            "mode": "lines+markers",
            "line": {"color": colour, "width": 3, "dash": dash},
            "marker": {"symbol": marker, "size": 9},
            "showlegend": bool(points),
            "hovertemplate": "step %{customdata}: %{y:.3f}<extra>%{fullData.name}</extra>",
        },
    ]
