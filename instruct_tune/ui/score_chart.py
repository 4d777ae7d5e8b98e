"""Two bars with their 95% intervals: BLEU of base and tuned, in the page's own colours, light and dark.

Plain HTML and not a plot: it holds five numbers, and so it is there at once and never remade.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gradio as gr

_BAR = """
<div class="line" aria-hidden="true">
  <span class="who">{who}</span>
  <span class="track">
    <span class="bar {who}" style="width: ${{value.{who}.width}}%"></span>
    <span class="interval" style="left: ${{value.{who}.low}}%; width: ${{value.{who}.spread}}%"></span>
  </span>
  <span class="number">${{value.{who}.bleu}}</span>
</div>
"""
_TEMPLATE = (
    '<div class="scores" role="img" aria-label="BLEU: base ${value.base.said}; tuned ${value.tuned.said}.">'
    + _BAR.format(who="base")
    + _BAR.format(who="tuned")
    + '<div class="line axis" aria-hidden="true"><span class="who"></span><span class="track">'
    "<span>0</span><span>${value.middle}</span><span>${value.most}</span></span>"
    '<span class="number"></span></div>'
    '<div class="note">BLEU; the thin line is the 95% interval of each (bootstrap over rows)</div></div>'
)
_CSS = """
.scores { padding: 12px 4px 4px; }
.line { display: flex; align-items: center; gap: 12px; margin-bottom: 10px; }
.who { width: 48px; text-align: right; }
.number { width: 48px; font-weight: 600; font-variant-numeric: tabular-nums; }
.track { position: relative; flex: 1; height: 34px; border-left: 1px solid var(--body-text-color-subdued); }
.bar { position: absolute; inset: 4px auto 4px 0; border-radius: 0 4px 4px 0; }
.bar.base { background: #6b7280; }
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
    nothing = {"width": 0, "low": 0, "spread": 0, "bleu": "", "said": "not measured"}
    value = {"base": nothing, "tuned": nothing, "middle": "", "most": ""}
    return gr.HTML(value, html_template=_TEMPLATE, css_template=_CSS, elem_id=elem_id)


def scores(found: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation's JSON as the chart's value: numbers only, widths in percent of the axis."""
    ends = [end for who in ("base", "tuned") for end in (found[who]["bleu"], *(found[who]["ci"] or ()))]
    most = min(100, max(5, 5 * math.ceil(max(ends) / 5)))

    def side(report: Mapping[str, Any]) -> dict[str, Any]:
        low, high = report["ci"] or (report["bleu"], report["bleu"])
        said = f"{report['bleu']:.1f}" + (f", 95% interval {low:.1f} to {high:.1f}" if report["ci"] else "")
        width, start, end = (round(100 * min(at, most) / most, 2) for at in (report["bleu"], low, high))
        spread = round(end - start, 2)
        return {"width": width, "low": start, "spread": spread, "bleu": f"{report['bleu']:.1f}", "said": said}

    return {"base": side(found["base"]), "tuned": side(found["tuned"]), "middle": f"{most / 2:g}", "most": f"{most:g}"}
