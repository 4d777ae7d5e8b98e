"""Small histograms side by side, in the page's own colours, light and dark, on a phone one below the other.

Plain boxes and not a plot: a report has five of them, each two dozen numbers, and they are there at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

_DRAW = """
const place = element.querySelector('.histograms');
const make = (kind, name, text) => {
  const made = document.createElement(kind);
  made.className = name;
  if (text !== undefined) { made.textContent = text; }
  return made;
};
const draw = () => {
  const charts = (props.value && props.value.charts) || [];
  place.replaceChildren(...charts.map(chart => {
    const figure = make('figure', 'histogram');
    const plot = make('div', 'plot'), bars = make('div', 'bars'), axis = make('div', 'axis');
    plot.setAttribute('role', 'img');
    plot.setAttribute('aria-label', `${chart.title}: ${chart.said}`);
    chart.bars.forEach(bar => {
      const box = make('div', 'bin');
      const filled = make('div', 'filled');
      filled.style.height = `${bar.height}%`;
      box.title = bar.said;
      box.append(filled);
      bars.append(box);
    });
    plot.append(bars);
    if (chart.limit !== null) {
      const line = make('div', 'limit');
      line.style.left = `${chart.limit}%`;
      const words = make('span', chart.limit > 55 ? 'left' : 'right', chart.limit_said);
      line.append(words);
      plot.append(line);
    }
    chart.ticks.forEach(tick => axis.append(make('span', '', tick)));
    figure.append(make('figcaption', '', chart.title), plot, axis, make('div', 'said', chart.said));
    return figure;
  }));
};
watch('value', draw);
draw();
"""

_LOOK = """
.histograms { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 18px; padding: 8px 2px; }
/* Titles, plots and axes of all of them stand in line, however long a title is. */
.histogram { margin: 0; min-width: 0; display: grid; grid-template-rows: subgrid; grid-row: span 4; row-gap: 0; }
figcaption { align-self: end; font-weight: 600; font-size: 14px; margin-bottom: 4px; color: var(--body-text-color); }
.plot { position: relative; height: 96px; border-bottom: 1px solid var(--body-text-color-subdued); }
.bars { display: flex; height: 100%; gap: 1px; }
.bin { flex: 1; display: flex; align-items: flex-end; }
.bin:hover { background: var(--background-fill-secondary); }
.filled { width: 100%; background: #6b7280; border-radius: 2px 2px 0 0; }
.limit { position: absolute; top: 0; bottom: 0; border-left: 2px dashed #b45309; }
.limit span { position: absolute; top: 0; font-size: 12px; white-space: nowrap; color: var(--body-text-color);
  background: var(--background-fill-primary); padding: 0 3px; border-radius: 3px; }
.limit .right { left: 3px; }
.limit .left { right: 3px; }
.axis { display: flex; justify-content: space-between; font-size: 12px; color: var(--body-text-color-subdued); }
.said { font-size: 12px; color: var(--body-text-color-subdued); }
"""


def histograms(elem_id: str) -> gr.HTML:
    """The component, empty; its value comes from ``histograms_value``."""
    return gr.HTML(
        None,
        html_template='<div class="histograms"></div>',
        css_template=_LOOK,
        js_on_load=_DRAW,
        elem_id=elem_id,
    )


def histograms_value(charts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``report_view.charts`` as the component takes them: numbers, and words of ours."""
    return {"charts": list(charts)}
