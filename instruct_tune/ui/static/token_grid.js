/* global element, watch, make, unpacked, visible, option, follow, ARROWS, ROLES */
const grid = element.querySelector('.token-grid'),
  line = element.querySelector('.token-line');
let tokens = [];
const describe = at => {
  const token = tokens[at];
  line.textContent = token
    ? `Token ${at + 1} of ${tokens.length}: ${JSON.stringify(token.text)}, id ${token.id}, ` +
      `${ROLES[token.role]}, ${token.loss ? 'carries loss' : 'no loss'}`
    : 'Point at a token, or walk through them with the arrow keys.';
};
const draw = () => {
  const row = unpacked();
  if (!row) {
    return;
  }
  tokens = row;
  const boxes = document.createDocumentFragment();
  tokens.forEach((token, at) => {
    const name = `token role-${token.role}` + (token.loss ? ' loss' : '');
    boxes.append(option(at, name, make('span', 'text', visible(token.text)), make('span', 'id', token.id)));
    if (token.text.includes('\n') && !token.text.trim()) {
      boxes.append(make('span', 'break'));
    }
  });
  grid.replaceChildren(boxes);
  element.querySelector('.token-legend .role-cut').hidden = !tokens.some(token => token.role === 'cut');
  describe(-1);
};
follow(grid, '.token', ARROWS, describe);
const ids = element.querySelector('.show-ids');
ids.addEventListener('change', () => grid.classList.toggle('with-ids', ids.checked));
watch('value', draw);
draw();
