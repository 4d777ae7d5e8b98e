"""Plots for a paper or a slide: PNG at 300 dots an inch, or SVG. Each names the data and weights of its numbers.

Plain data in, bytes out. The page's live plots are in ``ui/charts.py``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..runs.examples import recorded_on
from ..runs.provenance import rows_trained_on
from ..store.run import Run
from ..text.plain_text import shortened
from ..util.curves import smooth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = ("png", "svg")
DOTS_AN_INCH = 300
INCHES = (7.0, 4.4)
GREY, ACCENT, AMBER, FAINT, INK = "#6b7280", "#2563eb", "#b45309", "#9ca3af", "#111827"
SIDES = {
    "base": "base",
    "tuned": "tuned",
    "chat": "chat template",
    "examples": "3 examples",
    "nearest": "nearest row",
}
"""The sides that may have a bar in a plot of scores, in the order of the bars, with their labels."""


@dataclass(frozen=True)
class Subject:
    """The run in a plot: its name, its model, and ``measured``, a text with the data and weights of its numbers."""

    name: str
    model: str
    measured: str


def subject(run: Run) -> Subject:
    """The subject of ``run``, which must be without machine paths."""
    provenance = run.provenance
    adapter = "" if run.adapter_step == run.step else f"adapter of step {run.adapter_step}, "
    parts = [
        f"{adapter}trained on {rows_trained_on(run) or 'rows'} of {run.config['data']['source']}, "
        f"fingerprint {provenance.get('data_fingerprint', 'unknown')}",
        f"base weights sha256 {str(provenance.get('weights_sha256', 'unknown'))[:16]}",
    ]
    measured = "\n".join(filter(None, (" · ".join(parts), recorded_on(provenance))))
    return Subject(run.name, run.config["model"], measured)


def form_of(to: Path) -> str:
    """``png`` or ``svg``, by the file's name. Raises DataError for another."""
    form = to.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise DataError(f"{to.name}: a plot is saved as .png or .svg; give one of these names.")
    return form


def save(to: Path, content: bytes) -> Path:
    """Write a plot. Raises DataError where ``to`` cannot be written."""
    try:
        to.write_bytes(content)
    except OSError as error:
        raise DataError(f"{to.name} cannot be written: {error.strerror or error}.") from error
    return to


def loss_plot(metrics: Sequence[Mapping[str, Any]], about: Subject, form: str = "png") -> bytes:
    """The losses over steps (nats a token): held-out bold, a faint dot for each batch, their smoothed line thin."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _page(about, f"Loss: {about.name}")
    train = [(m["step"], m["loss"]) for m in metrics if m["kind"] == "train"]
    if train:
        steps, losses = zip(*train, strict=True)
        axes.plot(steps, losses, ".", color=FAINT, markersize=4, label="training loss, each batch")
        axes.plot(steps, smooth(losses), color=GREY, linewidth=1, label="training loss, smoothed")
    for kind, key, label, look in (
        ("eval", "eval_loss", "held-out loss, evaluation rows", {"color": AMBER, "marker": "s", "linestyle": ":"}),
        ("probe", "probe_loss", "held-out loss, probe rows", {"color": ACCENT, "marker": "o", "linewidth": 2.5}),
    ):
        points = [(m["step"], m[key]) for m in metrics if m["kind"] == kind]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, markersize=4, **look)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats a token)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(fontsize=8, frameon=False)
    return _rendered(figure, form)


def score_plot(evaluation: Mapping[str, Any], about: Subject, form: str = "png") -> bytes:
    """An evaluation's BLEU: a bar with its 95% interval for base, tuned and each baseline; the signature below."""
    measured = (
        f"{evaluation['rows']} held-out rows · {_decoding(evaluation['generation'])}\n"
        f"{evaluation['tuned']['signature']}\n{about.measured}"
    )
    figure, axes = _page(Subject(about.name, about.model, measured), f"BLEU on held-out rows: {about.name}")
    reports = {"base": evaluation["base"], "tuned": evaluation["tuned"], **evaluation["baselines"]}
    sides = [side for side in SIDES if side in reports]
    for place, side in enumerate(sides):
        report, colour = reports[side], {"base": GREY, "tuned": ACCENT}.get(side, FAINT)
        axes.barh(place, report["bleu"], color=colour, height=0.55)
        end = report["bleu"]
        if report["ci"]:
            low, high = report["ci"]
            axes.errorbar((low + high) / 2, place, xerr=(high - low) / 2, color=INK, capsize=5, linewidth=1.5)
            end = max(end, high)
        axes.annotate(
            f"{report['bleu']:.1f}", (end, place), (6, 0), textcoords="offset points", va="center", weight="bold"
        )
    axes.set_yticks(range(len(sides)), [SIDES[side] for side in sides])
    axes.invert_yaxis()
    axes.set_xlabel("BLEU (0 to 100); the thin line is the 95% interval, bootstrap over rows")
    axes.set_xlim(left=0)
    axes.margins(x=0.12, y=0.2)
    axes.grid(axis="x", alpha=0.3)
    return _rendered(figure, form)


def _decoding(generation: Mapping[str, Any]) -> str:
    """The decoding settings that are set, such as ``max_new_tokens 96, num_beams 1``."""
    names = ("max_new_tokens", "max_length", "num_beams", "early_stopping", "do_sample")
    return ", ".join(f"{name} {json.dumps(generation[name])}" for name in names if generation.get(name))


def _page(about: Subject, title: str) -> tuple[Figure, Axes]:
    """A figure with a title, and in small print below it the model and ``about.measured``."""
    # Figure and not pyplot, which has global state and is not thread-safe.
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.subplots()
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    # Names are other people's texts: a "$" must not begin a formula, and a long name must not shrink the plot.
    axes.set_title(_line(title, 80), parse_math=False, fontsize=11, loc="left")
    caption = "\n".join(_line(line, 120) for line in (about.model, *about.measured.split("\n")))
    figure.supxlabel(caption, parse_math=False, fontsize=6.5, color=GREY, x=0.01, ha="left")
    return figure, axes


def _line(text: str, most: int) -> str:
    return shortened(" ".join(text.split()), most)


def _rendered(figure: Figure, form: str) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format=form, dpi=DOTS_AN_INCH)
    return written.getvalue()
