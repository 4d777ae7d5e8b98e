"""The live loss chart.

It is one DOM node that Plotly updates in place, so zoom and hover survive an update; a ``gr.Plot`` would be
recreated each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly

from ..util.curves import smooth, thin
from .run_text import loss_sentence
from .scripted_html import Piece

PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
MAX_DOTS, MAX_LINE = 300, 150
"""Most points drawn of a run, however long it is: an update stays under 20 KB."""
GREY, ACCENT, AMBER, GREEN, PURPLE, FAINT = "#6b7280", "#2563eb", "#b45309", "#15803d", "#7c3aed", "#9ca3af"

EMPTY_CHART = "The loss is drawn here while a run trains."
LOSS_CHART = Piece(
    "loss_chart",
    '<div class="loss-plot" role="group" aria-label="Loss over optimizer steps">'
    f'<p class="loss-empty">{EMPTY_CHART}</p></div>',
)
"""A chart of a value ``{"data": [...], "layout": {...}}``, which keeps its zoom while ``uirevision`` is the same.

It is drawn once the page has Plotly (``static/page.js``).
"""


def loss_figure(
    metrics: Sequence[Mapping[str, Any]],
    run_id: str,
    log_scale: bool,
    findings: Sequence[Mapping[str, Any]] = (),
    provenance: Mapping[str, Any] | None = None,
    total_steps: int = 0,
) -> dict[str, Any]:
    """The value of ``LOSS_CHART``: batch losses as dots, their smoothed line, held-out losses, over optimizer steps.

    Held-out loss, smoothed training loss and BLEU are visible at first, the others once they are clicked in the
    legend. BLEU has an axis of its own on the right, and a dashed line at base's. The run's ``provenance`` names
    the rows behind each line. With ``total_steps`` the axis reaches that far, however few are done. The steps of each
    of ``findings`` are shaded and labelled. ``description`` is the plot in words, for screen readers.
    """
    provenance = provenance or {}
    measured = {m["kind"] for m in metrics}
    held_out = next((kind for kind in ("probe", "eval") if kind in measured), None)
    last = max((m["step"] for m in metrics), default=0)
    layout = {
        "uirevision": run_id,
        "margin": {"l": 48, "r": 8, "t": 8, "b": 40},
        "xaxis": step_axis(last, total_steps),
        "yaxis": {
            "title": {"text": "loss (nats a token)"},
            "type": "log" if log_scale else "linear",
            # Without a number Plotly would count from -1 to 4.
            "showticklabels": bool(metrics),
        },
        # The legend grows upwards: on a phone it takes four lines, and the plot below shrinks to make room.
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **_marks(findings, max(total_steps, 1, last)),
    }
    data = [*_training_lines(metrics, held_out is None), *_held_out_lines(metrics, provenance, held_out)]
    if bleu := [m for m in metrics if m["kind"] == "bleu"]:
        data += _bleu_lines(bleu, provenance)
        layout["yaxis2"] = {
            "title": {"text": "BLEU"},
            "overlaying": "y", "side": "right", "showgrid": False, "rangemode": "tozero",
            "tickmode": "auto", "nticks": 6,
        }  # fmt: skip
        layout["margin"] = {**layout["margin"], "r": 48}
    return {"data": data, "layout": layout, "description": loss_sentence(metrics) or "No loss yet."}


FEW_STEPS = 12
"""With so few steps every one has a tick; left to itself, the axis would count in halves and fifths of a step."""


def step_axis(last: int, total: int = 0) -> dict[str, Any]:
    """The axis of optimizer steps, up to the ``last`` one measured; to ``total`` where that is more."""
    axis: dict[str, Any] = {"title": {"text": "optimizer step"}, "type": "linear", "rangemode": "tozero"}
    if not last and not total:
        axis["showticklabels"] = False
    if total:
        axis["autorangeoptions"] = {"include": total}
    if max(last, total) <= FEW_STEPS:
        axis |= {"tickmode": "linear", "tick0": 0, "dtick": 1}
    return axis


def _visible(at_first: bool) -> bool | str:
    return True if at_first else "legendonly"


def _rows(provenance: Mapping[str, Any], name: str) -> str:
    """``8 probe rows``, or ``probe rows`` where their number is not known."""
    count, words = _count(provenance, name), name.replace("_", " ")
    return f"{count:,} {words}" if count else words


def _count(provenance: Mapping[str, Any], name: str) -> int:
    """The number; 0 where an older or imported run does not tell it."""
    return count if isinstance(count := provenance.get(name), int) else 0


def _training_lines(metrics: Sequence[Mapping[str, Any]], with_batches: bool) -> Iterator[dict[str, Any]]:
    """The dots of the batches, visible at first only ``with_batches``, and their smoothed line.

    A trace's uid keeps the visitor's choice in the legend with its line: a later one may be drawn before it.
    """
    train = [m for m in metrics if m["kind"] == "train"]
    dots = thin(train, MAX_DOTS)
    line = thin(list(zip((m["step"] for m in train), smooth([m["loss"] for m in train]), strict=True)), MAX_LINE)
    yield {
        "uid": "batches",
        "name": "training loss, each batch",
        "visible": _visible(with_batches),
        "x": [m["step"] for m in dots],
        "y": [_digits(m["loss"]) for m in dots],
        "customdata": [[round(m["epoch"], 2), _digits(m["learning_rate"], 3)] for m in dots],
        "mode": "markers",
        "marker": {"color": FAINT, "size": 5},
        "hovertemplate": "step %{x}: %{y:.3f}<br>epoch %{customdata[0]}, learning rate %{customdata[1]}<extra></extra>",
    }
    yield {
        "uid": "train",
        "name": "training loss, smoothed",
        "x": [step for step, _ in line],
        "y": [_digits(loss) for _, loss in line],
        "mode": "lines",
        "line": {"color": GREY, "width": 1.2},
        "hovertemplate": "step %{x}: %{y:.3f}<extra>training loss, smoothed</extra>",
    }


def _held_out_lines(
    metrics: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any], first: str | None
) -> Iterator[dict[str, Any]]:
    """The losses without training that were measured; only that of the kind ``first`` is visible at first."""
    evaluation, probe = (f"held-out loss, {_rows(provenance, rows)}" for rows in ("evaluation_rows", "probe_rows"))
    general = "general loss, no instruction data"
    for kind, name, look in (
        ("eval", evaluation, {"color": AMBER, "width": 2, "dash": "dot"}),
        ("general", general, {"color": GREEN, "width": 2, "dash": "dash"}),
        ("probe", probe, {"color": ACCENT, "width": 3.5}),
    ):
        if points := thin([m for m in metrics if m["kind"] == kind], MAX_LINE // 3):
            yield {
                "uid": kind,
                "name": name,
                "visible": _visible(kind == first),
                "x": [m["step"] for m in points],
                "y": [_digits(m[f"{kind}_loss"]) for m in points],
                "customdata": [round(m["epoch"], 2) for m in points],
                "mode": "lines+markers",
                "line": look,
                "hovertemplate": "step %{x}: %{y:.3f}<br>epoch %{customdata}<extra>" + name + "</extra>",
            }


def _bleu_lines(bleu: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    steps, base = [m["step"] for m in bleu], provenance.get("base_bleu")
    rows = _count(provenance, "bleu_rows")
    name = f"BLEU on {rows:,} rows" if rows else "BLEU"
    look: dict[str, Any] = {"yaxis": "y2", "mode": "lines+markers", "line": {"color": PURPLE}}
    hover = {"hovertemplate": "step %{x}: BLEU %{y:.1f}<extra></extra>"}
    lines = [{"uid": "bleu", "name": name, "x": steps, "y": [_digits(m["bleu"]) for m in bleu], **look, **hover}]
    if base is not None:
        dashed = {**look, "mode": "lines", "line": {"color": PURPLE, "dash": "dash"}}
        line = {"x": [0, steps[-1]], "y": [_digits(base)] * 2, "visible": _visible(False)}
        lines.append({"uid": "base-bleu", "name": "BLEU of base", **line, **dashed})
    return lines


def _marks(findings: Sequence[Mapping[str, Any]], last: int) -> dict[str, Any]:
    """Shaded steps with a label at the top; each further finding's label is placed lower, so that none overlap.

    A label near an end of the axis, which reaches to ``last``, begins or ends with its steps: centred on them it would
    run over the end on a phone.
    """
    marked = [finding for finding in findings if finding["steps"]]
    shapes = [
        {"type": "rect", "yref": "paper", "x0": first, "x1": last, "y0": 0, "y1": 1, "layer": "below",
         "line": {"width": 0}, "fillcolor": AMBER, "opacity": 0.1}
        for first, last in (finding["steps"] for finding in marked)
    ]  # fmt: skip
    labels = [
        {"text": finding["label"], **_anchor(finding["steps"], last), "y": 1 - 0.07 * number, "yref": "paper",
         "yanchor": "top", "showarrow": False}
        for number, finding in enumerate(marked)
    ]  # fmt: skip
    return {"shapes": shapes, "annotations": labels} if marked else {}


def _anchor(steps: Sequence[float], last: int) -> dict[str, Any]:
    first, end = steps
    centre = (first + end) / 2
    if centre < last / 3:
        return {"x": first, "xanchor": "left"}
    if centre > 2 * last / 3:
        return {"x": end, "xanchor": "right"}
    return {"x": centre, "xanchor": "center"}


def _digits(value: float, digits: int = 4) -> float:
    """Round to ``digits`` significant digits: more cannot be seen."""
    return float(f"{value:.{digits}g}")
