"""The live loss chart.

It is one DOM node that Plotly updates in place, so zoom and hover survive an update; a ``gr.Plot`` would be
recreated each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import plotly

from ..util.curves import smooth, thin
from .run_text import loss_sentence
from .scripted_html import static_text

PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
MAX_DOTS, MAX_LINE = 300, 150
"""Most points drawn of a run, however long it is: an update stays under 20 KB."""
GREY, ACCENT, AMBER, GREEN, PURPLE, FAINT = "#6b7280", "#2563eb", "#b45309", "#15803d", "#7c3aed", "#9ca3af"

_LOOK = """
.loss-plot { width: 100%; height: 340px; }
.loss-empty { padding-top: 180px; text-align: center; color: var(--body-text-color-subdued); }
"""


def loss_chart(elem_id: str) -> gr.HTML:
    """A chart that shows a value ``{"data": [...], "layout": {...}}`` and keeps zoom while ``uirevision`` is the same.

    It is drawn once the page has Plotly (``static/page.js``).

    A function and not a subclass of ``gr.HTML``: gradio writes a stub file beside every such subclass.
    """
    return gr.HTML(
        None,
        html_template='<div class="loss-plot" role="group" aria-label="Loss over optimizer steps">'
        '<p class="loss-empty">The loss is drawn here while a run trains.</p></div>',
        css_template=_LOOK,
        js_on_load=static_text("loss_chart.js"),
        elem_id=elem_id,
        padding=False,
    )


def loss_figure(
    metrics: Sequence[Mapping[str, Any]],
    run_id: str,
    log_scale: bool,
    findings: Sequence[Mapping[str, Any]] = (),
    base_bleu: float | None = None,
    bleu_rows: int | None = None,
) -> dict[str, Any]:
    """The value of ``loss_chart``: batch losses as dots, their smoothed line, held-out losses, over optimizer steps.

    BLEU has an axis of its own on the right, named with the number of its rows, and a dashed line at base's.
    The steps of each of ``findings`` are shaded and labelled. ``description`` is the plot in words, for screen
    readers.
    """
    train = [m for m in metrics if m["kind"] == "train"]
    dots = thin(train, MAX_DOTS)
    line = thin(list(zip((m["step"] for m in train), smooth([m["loss"] for m in train]), strict=True)), MAX_LINE)
    data: list[dict[str, Any]] = [
        {
            "name": "training loss, each batch",
            "x": [m["step"] for m in dots],
            "y": [_digits(m["loss"]) for m in dots],
            "customdata": [[round(m["epoch"], 2), _digits(m["learning_rate"], 3)] for m in dots],
            "mode": "markers",
            "marker": {"color": FAINT, "size": 5},
            "hovertemplate": "step %{x}: %{y:.3f}<br>epoch %{customdata[0]}, learning rate %{customdata[1]}"
            "<extra></extra>",
        },
        {
            "name": "training loss, smoothed",
            "x": [step for step, _ in line],
            "y": [_digits(loss) for _, loss in line],
            "mode": "lines",
            "line": {"color": GREY, "width": 1.2},
            "hoverinfo": "skip",
        },
    ]
    for kind, key, name, look in (
        ("eval", "eval_loss", "held-out loss, evaluation rows", {"color": AMBER, "width": 2, "dash": "dot"}),
        ("general", "general_loss", "general loss, no instruction data", {"color": GREEN, "width": 2, "dash": "dash"}),
        ("probe", "probe_loss", "held-out loss, probe rows", {"color": ACCENT, "width": 3.5}),
    ):
        points = thin([m for m in metrics if m["kind"] == kind], MAX_LINE // 3)
        if points:
            data.append(
                {
                    "name": name,
                    "x": [m["step"] for m in points],
                    "y": [_digits(m[key]) for m in points],
                    "customdata": [round(m["epoch"], 2) for m in points],
                    "mode": "lines+markers",
                    "line": look,
                    "hovertemplate": "step %{x}: %{y:.3f}<br>epoch %{customdata}<extra>" + name + "</extra>",
                }
            )
    layout = {
        "uirevision": run_id,
        "margin": {"l": 48, "r": 8, "t": 8, "b": 40},
        "xaxis": {"title": {"text": "optimizer step"}, "type": "linear", "rangemode": "tozero"},
        "yaxis": {"title": {"text": "loss (nats a token)"}, "type": "log" if log_scale else "linear"},
        # The legend grows upwards: on a phone it takes four lines, and the plot below shrinks to make room.
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **_marks(findings),
    }
    if bleu := [m for m in metrics if m["kind"] == "bleu"]:
        data += _bleu_lines(bleu, base_bleu)
        layout["yaxis2"] = {
            "title": {"text": f"BLEU on {bleu_rows} rows" if bleu_rows else "BLEU"},
            "overlaying": "y", "side": "right", "showgrid": False, "rangemode": "tozero",
            "tickmode": "auto", "nticks": 6,
        }  # fmt: skip
        layout["margin"] = {**layout["margin"], "r": 48}
    return {"data": data, "layout": layout, "description": loss_sentence(metrics) or "No loss yet."}


def _bleu_lines(bleu: Sequence[Mapping[str, Any]], base: float | None) -> list[dict[str, Any]]:
    steps = [m["step"] for m in bleu]
    look: dict[str, Any] = {"yaxis": "y2", "mode": "lines+markers", "line": {"color": PURPLE}}
    hover = {"hovertemplate": "step %{x}: BLEU %{y:.1f}<extra></extra>"}
    lines = [{"name": "BLEU", "x": steps, "y": [_digits(m["bleu"]) for m in bleu], **look, **hover}]
    if base is not None:
        dashed = {**look, "mode": "lines", "line": {"color": PURPLE, "dash": "dash"}}
        lines.append({"name": "BLEU of base", "x": [0, steps[-1]], "y": [_digits(base)] * 2, **dashed})
    return lines


def _marks(findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shaded steps with a label at the top; each further finding's label is placed lower, so that none overlap."""
    marked = [finding for finding in findings if finding["steps"]]
    shapes = [
        {"type": "rect", "yref": "paper", "x0": first, "x1": last, "y0": 0, "y1": 1, "layer": "below",
         "line": {"width": 0}, "fillcolor": AMBER, "opacity": 0.1}
        for first, last in (finding["steps"] for finding in marked)
    ]  # fmt: skip
    labels = [
        {"text": finding["label"], "x": sum(finding["steps"]) / 2, "y": 1 - 0.07 * number, "yref": "paper",
         "yanchor": "top", "showarrow": False}
        for number, finding in enumerate(marked)
    ]  # fmt: skip
    return {"shapes": shapes, "annotations": labels} if marked else {}


def _digits(value: float, digits: int = 4) -> float:
    """Round to ``digits`` significant digits: more cannot be seen."""
    return float(f"{value:.{digits}g}")
