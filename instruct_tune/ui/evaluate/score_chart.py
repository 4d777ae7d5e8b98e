"""A bar and its 95% interval for base, tuned and each baseline: BLEU, in the page's own colours, light and dark.

Plain HTML and not a plot: it holds a few numbers, and so it is there at once and never remade.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...export.figures import SIDES
from .text import baselines_of

_BAR = """
<div class="line" aria-hidden="true" style="display: ${{value.{who}.display}}">
  <span class="who">{label}</span>
  <span class="track">
    <span class="bar {who}" style="width: ${{value.{who}.width}}%"></span>
    <span class="interval" style="left: ${{value.{who}.low}}%; width: ${{value.{who}.spread}}%"></span>
  </span>
  <span class="number">${{value.{who}.bleu}}</span>
</div>
"""
_NOTHING = {"width": 0, "low": 0, "spread": 0, "bleu": "", "said": "", "display": "none"}
_TEMPLATE = (
    '<div class="scores" role="img" aria-label="BLEU: ${value.said}.">'
    + "".join(_BAR.format(who=who, label=label) for who, label in SIDES.items())
    + '<div class="line axis" aria-hidden="true"><span class="who"></span><span class="track">'
    "<span>0</span><span>${value.middle}</span><span>${value.most}</span></span>"
    '<span class="number"></span></div>'
    '<div class="note">BLEU; the thin line is the 95% interval of each (bootstrap over rows)</div></div>'
)
_CSS = """
.scores { padding: 12px 4px 4px; }
.line { display: flex; align-items: center; gap: 12px; margin-bottom: 10px; }
.who { width: 100px; text-align: right; }
.number { width: 48px; font-weight: 600; font-variant-numeric: tabular-nums; }
.track { position: relative; flex: 1; height: 34px; border-left: 1px solid var(--body-text-color-subdued); }
.bar { position: absolute; inset: 4px auto 4px 0; border-radius: 0 4px 4px 0; }
.bar.base { background: #6b7280; }
.bar.chat, .bar.examples, .bar.nearest { background: #9ca3af; }
.bar.tuned { background: #2563eb; }
.interval { position: absolute; top: 16px; height: 2px; background: var(--body-text-color); }
.interval::before, .interval::after {
  content: ""; position: absolute; top: -5px; width: 2px; height: 12px; background: var(--body-text-color);
}
.interval::before { left: 0; }
.interval::after { right: 0; }
.axis { margin-bottom: 2px; }
.axis .track { height: auto; border: none; display: flex; justify-content: space-between; }
.axis, .note { color: var(--body-text-color-subdued); font-size: 12px; }
.note { text-align: center; }
"""


def score_chart(elem_id: str) -> gr.HTML:
    """The chart, empty; its value comes from ``scores``."""
    return gr.HTML(_value({}, 5), html_template=_TEMPLATE, css_template=_CSS, elem_id=elem_id)


def scores(found: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation's JSON as the chart's value: numbers only, widths in percent of the axis."""
    reports = {"base": found["base"], "tuned": found["tuned"], **baselines_of(found)}
    ends = [end for report in reports.values() for end in (report["bleu"], *(report["ci"] or ()))]
    return _value(reports, min(100, max(5, 5 * math.ceil(max(ends) / 5))))


def _value(reports: Mapping[str, Mapping[str, Any]], most: int) -> dict[str, Any]:
    sides = {who: _side(reports[who], most) if who in reports else _NOTHING for who in SIDES}
    said = "; ".join(f"{SIDES[who]} {sides[who]['said']}" for who in reports) or "not measured"
    return {**sides, "said": said, "middle": f"{most / 2:g}", "most": f"{most:g}"}


def _side(report: Mapping[str, Any], most: int) -> dict[str, Any]:
    low, high = report["ci"] or (report["bleu"], report["bleu"])
    said = f"{report['bleu']:.1f}" + (f", 95% interval {low:.1f} to {high:.1f}" if report["ci"] else "")
    width, start, end = (round(100 * min(at, most) / most, 2) for at in (report["bleu"], low, high))
    spread, bleu = round(end - start, 2), f"{report['bleu']:.1f}"
    return {"width": width, "low": start, "spread": spread, "bleu": bleu, "said": said, "display": "flex"}
