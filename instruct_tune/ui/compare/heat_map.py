"""Token losses as a heat map: the answer's tokens as boxes, coloured by loss, and each model's likeliest tokens.

Dataset text never becomes markup: it is passed on as in ``token_grid`` (base64), and put on the page with
``textContent`` only.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import gradio as gr

from .text import percent

if TYPE_CHECKING:
    from ...evaluation.token_losses import AnswerLosses, TokenScore

_DRAW = """
const grid = element.querySelector('.heat'), line = element.querySelector('.heat-line');
const legend = element.querySelector('.heat-legend'), numbers = element.querySelector('.heat-numbers');
const WHO = ['base', 'tuned'];
const LEGENDS = {
  gain: 'Blue, underlined: tuned finds the token likelier than base. Orange, dashed: less likely. Stronger: by more.',
  base: 'The darker, the more base is surprised by the token (its loss).',
  tuned: 'The darker, the more tuned is surprised by the token (its loss).',
};
const COLOURS = {base: '107, 114, 128', tuned: '37, 99, 235', more: '37, 99, 235', less: '217, 119, 6'};
const DEEPEST = {gain: 3, base: 6, tuned: 6};
let tokens = [];
const mode = () => element.querySelector('input[name=heat-mode]:checked').value;
const visible = token => token.ends ? 'EOS'
  : token.text.replaceAll(' ', '\\u00b7').replaceAll('\\t', '\\u2192').replaceAll('\\n', '\\u21b5') || '\\u2205';
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  made.className = name;
  if (text !== undefined) { made.textContent = text; }
  return made;
};
const value = (token, by) => by === 'gain' ? token.base.loss - token.tuned.loss : token[by].loss;
const number = (token, by) => by === 'gain'
  ? (value(token, by) < 0 ? '\\u2212' : '+') + Math.abs(value(token, by)).toFixed(1) : token[by].percent;
const paint = () => {
  const by = mode();
  grid.querySelectorAll('.heat-token').forEach(box => {
    const token = tokens[+box.dataset.at], much = value(token, by);
    const colour = COLOURS[by === 'gain' ? (much < 0 ? 'less' : 'more') : by];
    const depth = 0.55 * Math.min(1, Math.abs(much) / DEEPEST[by]);
    box.style.backgroundColor = `rgba(${colour}, ${depth.toFixed(3)})`;
    box.classList.toggle('more', by === 'gain' && much >= 0.5);
    box.classList.toggle('less', by === 'gain' && much <= -0.5);
    box.querySelector('.number').textContent = number(token, by);
  });
  legend.textContent = LEGENDS[by];
};
const list = (who, token) => {
  const body = element.querySelector(`.heat-${who} tbody`);
  body.replaceChildren(...(token ? token[who].candidates : []).map(each => {
    const row = make('tr', each.id === token.id ? 'it' : '');
    row.append(make('td', '', (each.id === token.id ? '\\u2713 ' : '') + visible(each)), make('td', '', each.percent));
    return row;
  }));
};
const tell = at => {
  const token = tokens[at];
  line.textContent = token
    ? `Token ${at + 1} of ${tokens.length}: ${token.ends ? 'EOS' : JSON.stringify(token.text)}, ` +
      WHO.map(who => `${who} ${token[who].percent} (loss ${token[who].loss.toFixed(2)})`).join(', ')
    : 'Point at a token, or walk through them with the arrow keys: the five likeliest of each model are shown here.';
  WHO.forEach(who => list(who, token));
  // The one that is told of need not have the focus: a mouse may rest on another.
  grid.querySelectorAll('.heat-token').forEach(box => box.classList.toggle('told', +box.dataset.at === at));
};
const draw = () => {
  const packed = props.value && props.value.packed;
  if (!packed) { return; }
  tokens = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(packed), c => c.charCodeAt(0))));
  const boxes = document.createDocumentFragment();
  tokens.forEach((token, at) => {
    const box = make('span', 'heat-token');
    box.dataset.at = at;
    box.tabIndex = at ? -1 : 0;
    box.setAttribute('role', 'option');
    box.append(make('span', 'text', visible(token)), make('span', 'number'));
    boxes.append(box);
    if (!token.ends && token.text.includes('\\n')) { boxes.append(make('span', 'break')); }
  });
  grid.replaceChildren(boxes);
  paint();
  tell(-1);
};
for (const reached of ['mouseover', 'focusin', 'click']) {
  grid.addEventListener(reached, event => {
    const box = event.target.closest('.heat-token');
    if (box) { tell(+box.dataset.at); }
  });
}
grid.addEventListener('mouseleave', () => {
  const box = document.activeElement.closest('.heat-token');
  if (box && grid.contains(box)) { tell(+box.dataset.at); }
});
grid.addEventListener('keydown', event => {
  const box = event.target.closest('.heat-token'), last = tokens.length - 1;
  const at = box && {ArrowRight: +box.dataset.at + 1, ArrowLeft: +box.dataset.at - 1, ArrowDown: +box.dataset.at + 10,
    ArrowUp: +box.dataset.at - 10, Home: 0, End: last}[event.key];
  if (at === undefined || at === null) { return; }
  event.preventDefault();
  const next = grid.querySelectorAll('.heat-token')[Math.min(last, Math.max(0, at))];
  box.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
element.querySelectorAll('input[name=heat-mode]').forEach(choice => choice.addEventListener('change', paint));
numbers.addEventListener('change', () => grid.classList.toggle('with-numbers', numbers.checked));
watch('value', draw);
draw();
"""

_TEMPLATE = """
<div class="heat-choices" role="radiogroup" aria-label="What the colours show">
  <label><input type="radio" name="heat-mode" value="gain" checked> Difference</label>
  <label><input type="radio" name="heat-mode" value="base"> Base</label>
  <label><input type="radio" name="heat-mode" value="tuned"> Tuned</label>
  <label><input type="checkbox" class="heat-numbers"> Numbers</label>
</div>
<div class="heat-legend"></div>
<div class="heat" role="listbox" aria-label="The tokens of the answer, in order"></div>
<div class="heat-line" aria-live="polite"></div>
<div class="heat-candidates">
  <table class="heat-base"><caption>Base's likeliest</caption><tbody></tbody></table>
  <table class="heat-tuned"><caption>Tuned's likeliest</caption><tbody></tbody></table>
</div>
"""

_LOOK = """
.heat-choices { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; }
.heat-choices label { cursor: pointer; }
.heat-legend, .heat-line { font-size: 13px; min-height: 1.5em; color: var(--body-text-color-subdued); }
.heat { max-height: 360px; overflow: auto; padding: 6px 2px; line-height: 1.9; }
.heat-token { display: inline-flex; flex-direction: column; font-family: var(--font-mono); font-size: 13px;
  line-height: 1.35; padding: 0 2px; margin: 1px; border-radius: 3px; border-bottom: 2px solid transparent;
  color: var(--body-text-color); max-width: 100%; overflow-wrap: anywhere; white-space: pre-wrap; }
.heat-token.more { border-bottom: 2px solid #2563eb; }
.heat-token.less { border-bottom: 2px dashed #b45309; }
.heat-token.told { outline: 1px solid var(--body-text-color-subdued); outline-offset: 1px; }
.heat-token:focus { outline: 2px solid #2563eb; outline-offset: 1px; }
.heat-token .number { display: none; font-size: 10px; }
.with-numbers .heat-token .number { display: block; }
.break { display: block; height: 0; }
.heat-candidates { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; min-height: 150px; align-items: start; }
.heat-candidates table { font-size: 13px; table-layout: fixed; width: 100%; border-collapse: collapse; }
.heat-candidates caption { text-align: left; font-weight: 600; }
.heat-candidates :is(table, tbody, tr, td) { border: none; }
.heat-candidates td { padding: 1px 4px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.heat-candidates td:first-child { font-family: var(--font-mono); }
.heat-candidates td:last-child { width: 5.5em; text-align: right; font-variant-numeric: tabular-nums; }
.heat-candidates .it { font-weight: 700; }
"""


def heat_map(elem_id: str) -> gr.HTML:
    """The component; ``heat_value`` makes its value. One a page; the table beside it is its text alternative."""
    return gr.HTML(None, html_template=_TEMPLATE, css_template=_LOOK, js_on_load=_DRAW, elem_id=elem_id, visible=False)


def heat_value(losses: AnswerLosses) -> dict[str, Any]:
    """The component's value: the tokens as base64 of JSON, which only the component's own script reads."""
    tokens = [
        {
            "id": token.id,
            "text": token.text,
            "ends": token.ends,
            "base": _score_value(token.base),
            "tuned": _score_value(token.tuned),
        }
        for token in losses.tokens
    ]
    return {"packed": base64.b64encode(json.dumps(tokens).encode()).decode()}


def _score_value(score: TokenScore) -> dict[str, Any]:
    return {
        "loss": round(score.loss, 4),
        "percent": percent(score.probability),
        "candidates": [
            {"id": candidate.id, "text": candidate.text, "percent": percent(candidate.probability)}
            for candidate in score.candidates
        ],
    }
