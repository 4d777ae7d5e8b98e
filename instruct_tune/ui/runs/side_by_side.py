"""Runs side by side: up to six in one plot, and a table of the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from ...runs.differences import differing, held_out, rows, same_measurement, sentences
from ...services.access import Access
from ...services.runs import Runs
from ...text.markdown import plain
from ...util.curves import smooth, thin
from ..charts import LOSS_CHART, MAX_LINE, step_axis
from ..context import QUIET, viewer

LOOKS = (
    ("#2563eb", "solid", "circle"),
    ("#b45309", "dash", "square"),
    ("#0f8a6d", "dot", "diamond"),
    ("#9333ea", "dashdot", "triangle-up"),
    ("#e11d48", "longdash", "x"),
    ("#6b7280", "longdashdot", "star"),
)
MAX_RUNS = len(LOOKS)
STEPS, SHARE = "Optimizer step", "Share of the run"
AXES = (STEPS, SHARE)
LONGEST_NAME = 40


def names_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Display names of the runs: each name, cut, with the end of the run's id where names are equal."""
    short = [run["name"] if len(run["name"]) <= LONGEST_NAME else run["name"][: LONGEST_NAME - 1] + "…" for run in runs]
    return [
        f"{name} ({run['id'][-4:]})" if short.count(name) > 1 else name for name, run in zip(short, runs, strict=True)
    ]


def overlay_figure(runs: Sequence[Mapping[str, Any]], axis: str, log_scale: bool) -> dict[str, Any]:
    """Held-out losses bold, smoothed training losses faint in the same colour; ``runs`` as from ``Runs.details``."""
    names = names_of(runs)
    data: list[dict[str, Any]] = []
    for run, name, look in zip(runs, names, LOOKS, strict=False):
        data += _lines(run, name, look, axis)
    last = max((metric["step"] for run in runs for metric in run["metrics"]), default=0)
    share_axis = {"title": {"text": axis.lower()}, "type": "linear", "rangemode": "tozero", "ticksuffix": " %"}
    layout = {
        # Another axis or another choice of runs resets the zoom.
        "uirevision": " ".join([axis, *(run["id"] for run in runs)]),
        "margin": {"l": 56, "r": 12, "t": 8, "b": 44},
        "xaxis": share_axis if axis == SHARE else step_axis(last),
        "yaxis": {"title": {"text": "loss (nats a token)"}, "type": "log" if log_scale else "linear"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    return {"data": data, "layout": layout, "description": sentences(runs, names) or "No run is chosen."}


def _lines(run: Mapping[str, Any], name: str, look: tuple[str, str, str], axis: str) -> list[dict[str, Any]]:
    colour, dash, marker = look
    train = [metric for metric in run["metrics"] if metric["kind"] == "train"]
    steps = [metric["step"] for metric in train]
    line = thin(list(zip(steps, smooth([metric["loss"] for metric in train]), strict=True)), MAX_LINE)
    points = thin(held_out(run), MAX_LINE)
    last = max([run["total_steps"], *steps, *(step for step, _ in points), 1])

    def at(step: int) -> float:
        return round(100 * step / last, 2) if axis == SHARE else step

    # Plotly renders names as markup, and knows no &quot;; a click on a legend group shows or hides both of its lines.
    shared = {"name": escape(name, quote=False), "legendgroup": run["id"]}
    return [
        {
            **shared,
            "x": [at(step) for step, _ in line],
            "y": [round(loss, 4) for _, loss in line],
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


NOTHING = "Choose two runs or more: their held-out losses are drawn in one plot."
OTHER_MEASUREMENT = (
    "They were not measured on the same held-out tokens (another model, other data or another limit): compare how the "
    "lines bend, not how high they are."
)
FIRST_COLUMN, COLUMN = "200px", "230px"


class SideBySide:
    """The contents of the inner tab "Side by side".

    It lists runs when its tab is opened, and draws at each change of its controls.
    """

    def __init__(self, chosen: gr.State, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        self.chosen = chosen
        self.picked = gr.Dropdown(
            [],
            multiselect=True,
            max_choices=MAX_RUNS,
            label="Runs",
            info=f"Up to {MAX_RUNS}; the one chosen in the table is the first",
            elem_id="overlay-runs",
        )
        self.words = gr.Markdown(NOTHING, elem_id="overlay-words")
        with gr.Column(visible=False) as self.drawing:
            self.plot = LOSS_CHART.component("overlay-plot")
            with gr.Row(elem_classes="foot"):
                self.axis = gr.Radio(
                    list(AXES),
                    value=STEPS,
                    label="Horizontal axis",
                    info="The share is for runs of different length",
                    elem_id="overlay-axis",
                )
                self.log_scale = gr.Checkbox(
                    False,
                    label="Logarithmic loss axis",
                    info="For losses that are far apart",
                    elem_id="overlay-log",
                )
            self.table = gr.Dataframe(
                interactive=False,
                label="What they came to, and only the settings that differ",
                wrap=True,
                elem_id="overlay-table",
            )

    def wire(self, tab: gr.Tab) -> None:
        """``tab``: the inner tab that holds the panel."""
        controls, drawn = [self.picked, self.axis, self.log_scale], [self.words, self.drawing, self.plot, self.table]
        listed = tab.select(self._list, [self.picked, self.chosen], self.picked, **QUIET)
        listed.then(self._draw, controls, drawn, **QUIET)
        gr.on([control.input for control in controls], self._draw, controls, drawn, trigger_mode="always_last", **QUIET)

    def there(self, run_ids: list[str]) -> list[str]:
        """The runs that this visitor still sees: one may have been deleted or made private since they were listed."""
        user = viewer(self.access)
        return [run_id for run_id in run_ids if self.runs.is_visible(user, run_id)][:MAX_RUNS]

    def _list(self, picked: list[str] | None, chosen: str | None) -> Any:
        """All runs that the visitor sees; the choice is kept, or begins with the table's chosen run.

        Beside a recorded run stand the other recorded ones: they show what its settings are worth.
        """
        runs = self.runs.summaries(viewer(self.access))
        recorded = [run["id"] for run in runs if run["recorded"]]
        first = [chosen or "", *(recorded if chosen in recorded else ())]
        return gr.Dropdown(
            choices=[(_label(run), run["id"]) for run in runs], value=self.there(list(dict.fromkeys(picked or first)))
        )

    def _draw(self, picked: list[str] | None, axis: str, log_scale: bool) -> list[Any]:
        user = viewer(self.access)
        visible = self.there(picked or [])
        if not visible:
            return [NOTHING, gr.Column(visible=False), gr.skip(), gr.skip()]
        runs = [self.runs.details(user, run_id) for run_id in visible]
        figure = overlay_figure(runs, axis, bool(log_scale))
        table = {"headers": ["", *names_of(runs)], "data": rows(runs)}
        widths = [FIRST_COLUMN, *[COLUMN] * len(runs)]
        shown = gr.Dataframe(table, column_widths=widths)
        return [_words(runs, figure["description"]), gr.Column(visible=True), figure, shown]


def _label(run: Mapping[str, Any]) -> str:
    return f"{run['name']} · {'recorded' if run['recorded'] else run['status']}"


def _words(runs: list[dict[str, Any]], summary: str) -> str:
    """The plot's summary, and notes on equal configurations and on unequal measurements, as markdown."""
    configs = [run["config"] for run in runs]
    paragraphs = [plain(summary, 1000)]
    if len(runs) > 1 and not differing(configs):
        paragraphs.append("They have the same configuration.")
    if not same_measurement(runs):
        paragraphs.append(OTHER_MEASUREMENT)
    return "\n\n".join(paragraphs)
