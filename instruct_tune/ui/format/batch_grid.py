"""A step's passes as strips: rows end to end, tokens that carry loss coloured, and the attention mask as a square.

Dataset text is passed on as in ``token_grid``: packed as base64, and put on the page with ``textContent`` only.
"""

from __future__ import annotations

import base64
import itertools
import json
from typing import TYPE_CHECKING, Any

import gradio as gr

from .text import pass_title

if TYPE_CHECKING:
    from ...inspection.batch_view import Segment, StepView

MAX_PASSES = 24
"""Passes that are drawn; the table lists all."""

_DRAW = """
const list = element.querySelector('.passes'), border = element.querySelector('.border');
const line = element.querySelector('.border-line');
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  made.className = name;
  if (text !== undefined) { made.textContent = text; }
  return made;
};
const svg = (tag, name, attributes) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  made.setAttribute('class', name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
};
const visible = text => text.replaceAll(' ', '\\u00b7').replaceAll('\\t', '\\u2192').replaceAll('\\n', '\\u21b5');
let segments = [];
// The square: row i is the token that looks, column j what it may look at; each row of data has its own triangle.
const square = one => {
  const width = one.width, lanes = one.lanes.length;
  const drawn = svg('svg', 'square', {viewBox: `0 0 ${width} ${width}`, 'aria-hidden': 'true'});
  drawn.append(svg('rect', 'nobody', {x: 0, y: 0, width, height: width}));
  one.lanes[0].forEach((each, at) => {
    const from = each.start, to = from + each.length;
    drawn.append(svg('polygon', at % 2 ? 'sees odd' : 'sees', {points: `${from},${from} ${to},${to} ${from},${to}`}));
  });
  return drawn;
};
const strip = (lane, width) => {
  const drawn = make('div', 'lane');
  lane.forEach(each => {
    const box = make('button', 'segment');
    box.type = 'button';
    box.style.width = `${100 * each.length / width}%`;
    box.dataset.at = segments.length;
    box.tabIndex = segments.length ? -1 : 0;
    box.setAttribute('aria-label', each.said);
    each.runs.forEach(([length, loss]) => {
      const run = make('span', loss ? 'run loss' : 'run');
      run.style.flexGrow = length;
      box.append(run);
    });
    box.append(make('span', 'from', '0'), make('span', 'number', each.row));
    segments.push({...each, box, lane});
    drawn.append(box);
  });
  return drawn;
};
const token = each => {
  const box = make('span', 'end-token' + (each.loss ? ' loss' : ''));
  box.append(make('span', 'text', visible(each.text) || '\\u2205'), make('span', 'position', each.position));
  return box;
};
const tell = at => {
  const chosen = segments[at];
  if (!chosen) { return; }
  segments.forEach((each, other) => {
    each.box.classList.toggle('chosen', other === at);
    each.box.tabIndex = other === at ? 0 : -1;
  });
  line.textContent = chosen.said;
  const place = chosen.lane.findIndex(each => each.start === chosen.start);
  const before = chosen.lane[place - 1], after = chosen.lane[place + 1];
  const wall = () => make('span', 'wall', '');
  const dots = () => make('span', 'dots', '\\u2026');
  const shown = [];
  if (before) { shown.push(dots(), ...before.last.map(token), wall()); }
  shown.push(...chosen.first.map(token), ...(chosen.last.length ? [dots()] : []), ...chosen.last.map(token));
  if (after) { shown.push(wall(), ...after.first.map(token), dots()); }
  border.replaceChildren(...shown);
};
const draw = () => {
  const packed = props.value && props.value.packed;
  if (!packed) { return; }
  const told = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(packed), c => c.charCodeAt(0))));
  segments = [];
  list.replaceChildren(...told.passes.map(one => {
    const all = make('div', 'pass'), lanes = make('div', 'lanes');
    lanes.append(make('div', 'pass-title', one.title), ...one.lanes.map(lane => strip(lane, one.width)));
    all.append(lanes);
    if (one.lanes.length === 1) { all.append(square(one)); }
    return all;
  }), ...(told.more ? [make('div', 'pass-title', told.more)] : []));
  tell(0);
};
for (const reached of ['mouseover', 'focusin', 'click']) {
  list.addEventListener(reached, event => {
    const box = event.target.closest('.segment');
    if (box) { tell(+box.dataset.at); }
  });
}
list.addEventListener('keydown', event => {
  const box = event.target.closest('.segment'), last = segments.length - 1;
  const at = box && {ArrowRight: +box.dataset.at + 1, ArrowDown: +box.dataset.at + 1, ArrowLeft: +box.dataset.at - 1,
    ArrowUp: +box.dataset.at - 1, Home: 0, End: last}[event.key];
  if (at === undefined || at === null) { return; }
  event.preventDefault();
  segments[Math.min(last, Math.max(0, at))].box.focus();
});
watch('value', draw);
draw();
"""

_TEMPLATE = """
<div class="batch-legend" aria-hidden="true">
  <span class="sample run"></span> read <span class="sample run loss"></span> carries loss
  <span class="sample pad"></span> padding <span class="sample sees"></span> who sees whom: each row itself, backwards
</div>
<div class="passes" role="group" aria-label="The passes of the step and the rows in them"></div>
<div class="border-line" aria-live="polite"></div>
<div class="border" role="group" aria-label="Tokens at the row's borders, with their positions"></div>
"""

_LOOK = """
.batch-legend { display: flex; flex-wrap: wrap; gap: 4px 8px; align-items: center; font-size: 13px; }
.batch-legend .sample { flex: none; align-self: center; width: 22px; height: 12px; margin-left: 8px; }
.batch-legend .sample:first-child { margin-left: 0; }
.passes { max-height: 460px; overflow: auto; padding: 2px; }
.pass { display: flex; gap: 14px; align-items: flex-end; padding: 8px 0; }
.lanes { flex: 1; min-width: 0; }
.pass-title, .border-line { font-size: 13px; color: var(--body-text-color-subdued); }
.border-line { min-height: 1.5em; margin-top: 4px; }
.lane { display: flex; margin-top: 4px; height: 44px; border-radius: 4px; overflow: visible;
  background: repeating-linear-gradient(45deg, transparent 0 4px, var(--border-color-primary) 4px 6px); }
.sample.pad { background: repeating-linear-gradient(45deg, transparent 0 3px, var(--border-color-primary) 3px 5px); }
.segment { position: relative; display: flex; align-self: stretch; box-sizing: border-box; margin: 0; padding: 0;
  border: 0; border-radius: 0; height: 44px; min-width: 3px; cursor: pointer;
  border-left: 2px solid var(--body-text-color); background: var(--background-fill-primary); }
.segment:last-child { border-right: 2px solid var(--body-text-color); }
.run { flex: 1 1 0; align-self: stretch; background: var(--border-color-primary); }
.run.loss { background: #2563eb; }
.segment .number, .segment .from { position: absolute; bottom: 1px; left: 3px; font-size: 11px; line-height: 1.2;
  padding: 0 2px; border-radius: 2px; color: var(--body-text-color); background: var(--background-fill-primary); }
.segment .number { top: 2px; bottom: auto; font-weight: 600; }
.segment.chosen, .segment:focus { outline: 2px solid #f59e0b; outline-offset: 0; z-index: 1; }
.square { width: 96px; height: 96px; flex: none; }
.square .nobody { fill: var(--background-fill-secondary); stroke: var(--border-color-primary); stroke-width: 1%; }
.square .sees, .sample.sees { fill: #2563eb; background: #2563eb; }
.square .sees.odd { fill: #60a5fa; }
.border { display: flex; flex-wrap: wrap; align-items: stretch; gap: 3px; padding: 4px 0; min-height: 46px; }
.end-token { display: flex; flex-direction: column; font-family: var(--font-mono); font-size: 13px; padding: 1px 4px;
  border-radius: 3px; border: 1px solid var(--border-color-primary); color: var(--body-text-color); max-width: 100%;
  overflow-wrap: anywhere; white-space: pre-wrap; background: var(--background-fill-secondary); }
.end-token.loss { background: color-mix(in srgb, #2563eb 22%, transparent); border-color: #60a5fa; }
.end-token .position { font-size: 10px; opacity: 0.8; }
.wall { width: 3px; background: var(--body-text-color); margin: 0 3px; }
.dots { align-self: center; color: var(--body-text-color-subdued); }
@media (max-width: 500px) { .square { width: 60px; height: 60px; } .segment .from { display: none; } }
"""


def batch_grid(elem_id: str) -> gr.HTML:
    """The component, hidden at first; ``grid_value`` makes its value. The table beside it is its text alternative."""
    return gr.HTML(None, html_template=_TEMPLATE, css_template=_LOOK, js_on_load=_DRAW, elem_id=elem_id, visible=False)


def grid_value(view: StepView) -> dict[str, Any]:
    """The component's value: the passes as base64 of JSON, which only the component's own script reads."""
    passes = [
        {
            "title": pass_title(number, one),
            "width": one.width,
            "lanes": [[_segment(segment) for segment in lane] for lane in one.lanes],
        }
        for number, one in enumerate(view.passes[:MAX_PASSES], start=1)
    ]
    left_out = len(view.passes) - len(passes)
    value = {"passes": passes, "more": f"And {left_out:,} more passes, which the table has." if left_out > 0 else ""}
    return {"packed": base64.b64encode(json.dumps(value).encode()).decode()}


def _segment(segment: Segment) -> dict[str, Any]:
    first, last = ([vars(token) for token in end] for end in (segment.first, segment.last))
    return {
        "row": segment.row + 1,
        "start": segment.start,
        "length": segment.length,
        "runs": [[len(list(run)), loss] for loss, run in itertools.groupby(segment.loss)],
        "first": first,
        "last": last,
        "said": (
            f"Training row {segment.row + 1}: {segment.length} tokens at positions 0 to {segment.positions[-1]}, "
            f"{segment.supervised} carry loss."
        ),
    }
