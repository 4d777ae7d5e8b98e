/* global element, watch, make, unpacked, visible, option, follow, ARROWS, ENDS */
const grid = element.querySelector('.heat'),
  line = element.querySelector('.heat-line');
const legend = element.querySelector('.heat-legend'),
  numbers = element.querySelector('.heat-numbers');
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
const shown = token => (token.ends ? 'EOS' : visible(token.text));
const value = (token, by) => (by === 'gain' ? token.base.loss - token.tuned.loss : token[by].loss);
const number = (token, by) =>
  by === 'gain' ? (value(token, by) < 0 ? '\u2212' : '+') + Math.abs(value(token, by)).toFixed(1) : token[by].percent;
const paint = () => {
  const by = mode();
  grid.querySelectorAll('.heat-token').forEach(box => {
    const token = tokens[+box.dataset.at],
      much = value(token, by);
    const colour = COLOURS[by === 'gain' ? (much < 0 ? 'less' : 'more') : by];
    const depth = 0.55 * Math.min(1, Math.abs(much) / DEEPEST[by]);
    box.style.backgroundColor = `rgba(${colour}, ${depth.toFixed(3)})`;
    box.classList.toggle('more', by === 'gain' && much >= 0.5);
    box.classList.toggle('less', by === 'gain' && much <= -0.5);
    box.querySelector('.number').textContent = number(token, by);
  });
  legend.textContent = `${LEGENDS[by]} Point at a token, or use the arrow keys.`;
};
const list = (who, token) => {
  const body = element.querySelector(`.heat-${who} tbody`);
  body.replaceChildren(
    ...token[who].candidates.map(each => {
      const row = make('tr', each.id === token.id ? 'it' : '');
      row.append(make('td', '', (each.id === token.id ? '\u2713 ' : '') + shown(each)), make('td', '', each.percent));
      return row;
    }),
  );
};
const describe = at => {
  const token = tokens[at];
  line.textContent =
    `Token ${at + 1} of ${tokens.length}: ${token.ends ? 'EOS' : JSON.stringify(token.text)}, ` +
    WHO.map(who => `${who} ${token[who].percent} (loss ${token[who].loss.toFixed(2)})`).join(', ');
  WHO.forEach(who => list(who, token));
  // The current one need not have the focus: a mouse may rest on another.
  grid.querySelectorAll('.heat-token').forEach(box => box.classList.toggle('current', +box.dataset.at === at));
};
const draw = () => {
  const answer = unpacked();
  if (!answer?.length) {
    return;
  }
  tokens = answer;
  const boxes = document.createDocumentFragment();
  tokens.forEach((token, at) => {
    boxes.append(option(at, 'heat-token', make('span', 'text', shown(token)), make('span', 'number')));
    if (!token.ends && token.text.includes('\n')) {
      boxes.append(make('span', 'break'));
    }
  });
  grid.replaceChildren(boxes);
  paint();
  // The training changed this token's loss most.
  const gains = tokens.map(token => value(token, 'gain'));
  describe(Math.max(0, gains.indexOf(Math.max(...gains))));
};
follow(grid, '.heat-token', {...ARROWS, ...ENDS}, describe);
grid.addEventListener('mouseleave', () => {
  const box = document.activeElement.closest('.heat-token');
  if (box && grid.contains(box)) {
    describe(+box.dataset.at);
  }
});
element.querySelectorAll('input[name=heat-mode]').forEach(choice => choice.addEventListener('change', paint));
numbers.addEventListener('change', () => grid.classList.toggle('with-numbers', numbers.checked));
watch('value', draw);
draw();
