"""A row of tokens as boxes: border and label show a token's role, colour shows that it carries loss.

Dataset text never becomes markup: it is passed on as base64, so that nothing in it can be parsed as a template or a
tag, and the script puts it on the page with ``textContent`` only.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import gradio as gr

from ...inspection.token_view import Role, TokenView

_DRAW = """
const grid = element.querySelector('.token-grid'), line = element.querySelector('.token-line');
const names = NAMES;
let tokens = [];
const visible = text => text.replaceAll(' ', '\\u00b7').replaceAll('\\t', '\\u2192');
const tell = at => {
  const token = tokens[at];
  line.textContent = token
    ? `Token ${at + 1} of ${tokens.length}: ${JSON.stringify(token.text)}, id ${token.id}, ` +
      `${names[token.role]}, ${token.loss ? 'carries loss' : 'no loss'}`
    : 'Point at a token, or walk through them with the arrow keys.';
};
const focus = at => {
  const boxes = grid.querySelectorAll('.token');
  if (!boxes[at]) { return; }
  boxes.forEach(box => { box.tabIndex = -1; });
  boxes[at].tabIndex = 0;
  boxes[at].focus();
};
const draw = () => {
  const packed = props.value && props.value.packed;
  if (!packed) { return; }
  tokens = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(packed), c => c.charCodeAt(0))));
  const boxes = document.createDocumentFragment();
  tokens.forEach((token, at) => {
    const box = document.createElement('span');
    box.className = `token role-${token.role}` + (token.loss ? ' loss' : '');
    box.dataset.at = at;
    box.tabIndex = at ? -1 : 0;
    box.setAttribute('role', 'option');
    const text = document.createElement('span');
    text.className = 'text';
    text.textContent = visible(token.text).replaceAll('\\n', '\\u21b5') || '\\u2205';
    const id = document.createElement('span');
    id.className = 'id';
    id.textContent = token.id;
    box.append(text, id);
    boxes.append(box);
    if (token.text.includes('\\n') && !token.text.trim()) {
      boxes.append(Object.assign(document.createElement('span'), {className: 'break'}));
    }
  });
  grid.replaceChildren(boxes);
  tell(-1);
};
for (const reached of ['mouseover', 'focusin']) {
  grid.addEventListener(reached, event => {
    const box = event.target.closest('.token');
    if (box) { tell(+box.dataset.at); }
  });
}
grid.addEventListener('keydown', event => {
  const step = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10}[event.key];
  const box = event.target.closest('.token');
  if (!step || !box) { return; }
  event.preventDefault();
  focus(Math.min(tokens.length - 1, Math.max(0, +box.dataset.at + step)));
});
const ids = element.querySelector('.show-ids');
ids.addEventListener('change', () => grid.classList.toggle('with-ids', ids.checked));
watch('value', draw);
draw();
"""

# The page gets class names and labels of its own for the roles, no text of a dataset.
_ROLES = list(Role)
_CLASSES = {Role.PROMPT: "prompt", Role.SPECIAL: "special", Role.ANSWER: "answer", Role.EOS: "eos", Role.CUT: "cut"}

_TEMPLATE = """
<div class="token-legend" aria-hidden="true">
  <span class="token role-prompt">prompt</span><span class="token role-special">special token</span>
  <span class="token role-answer loss">answer, carries loss</span><span class="token role-eos loss">EOS</span>
  <span class="token role-cut">cut off</span>
  <label><input type="checkbox" class="show-ids"> Token ids</label>
</div>
<div class="token-grid" role="listbox" aria-label="The tokens of the row, in order"></div>
<div class="token-line" aria-live="polite"></div>
"""

# Colours of the page's theme. Loss is the accent colour; roles differ by their outline.
_LOOK = """
.token-grid { max-height: 420px; overflow: auto; padding: 6px 2px; line-height: 1.9; }
.token-legend { display: flex; flex-wrap: wrap; gap: 10px; align-items: center; font-size: 13px; margin-bottom: 6px; }
.token-legend label { margin-left: auto; cursor: pointer; }
.token { display: inline-flex; flex-direction: column; font-family: var(--font-mono); font-size: 13px;
  line-height: 1.35;
  padding: 0 2px; margin: 1px; border-radius: 3px; border: 1px solid transparent; color: var(--body-text-color);
  max-width: 100%; overflow-wrap: anywhere; white-space: pre-wrap; }
.token.role-prompt { background: var(--background-fill-secondary); }
.token.role-special { border: 1px dashed var(--body-text-color-subdued); }
.token.loss { background: color-mix(in srgb, #2563eb 22%, transparent); border-color: #60a5fa; }
.token.role-eos { border: 2px solid #2563eb; }
.token.role-cut { text-decoration: line-through; color: var(--body-text-color-subdued); border: 1px dotted; }
.token:focus { outline: 2px solid #2563eb; outline-offset: 1px; }
.token .id { display: none; font-size: 10px; opacity: 0.75; }
.with-ids .token .id { display: block; }
.break { display: block; height: 0; }
.token-line { font-size: 13px; min-height: 1.5em; color: var(--body-text-color-subdued); }
"""


def token_grid(elem_id: str) -> gr.HTML:
    """The component, hidden; ``grid_value`` makes its value. The sentence beside it is its text alternative."""
    names = {_CLASSES[role]: role.value for role in _ROLES}
    return gr.HTML(
        None,
        html_template=_TEMPLATE,
        css_template=_LOOK,
        js_on_load=_DRAW.replace("NAMES", json.dumps(names)),
        elem_id=elem_id,
        visible=False,
    )


def grid_value(row: TokenView) -> dict[str, Any]:
    """The component's value: the tokens as base64 of JSON, which only the component's own script reads."""
    tokens = [
        {"id": token.id, "text": token.text, "role": _CLASSES[token.role], "loss": token.loss} for token in row.tokens
    ]
    return {"packed": base64.b64encode(json.dumps(tokens).encode()).decode()}
