/* global element, watch, make, unpacked, visible, follow, ARROWS, ENDS */
const list = element.querySelector('.passes'),
  border = element.querySelector('.border');
const line = element.querySelector('.border-line');
const svg = (tag, name, attributes) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  made.setAttribute('class', name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
};
let segments = [];
// The square: row i is the token that looks, column j what it may look at; each row of data has its own triangle.
const square = one => {
  const width = one.width;
  const drawn = svg('svg', 'square', {viewBox: `0 0 ${width} ${width}`, 'aria-hidden': 'true'});
  drawn.append(svg('rect', 'nobody', {x: 0, y: 0, width, height: width}));
  one.lanes[0].forEach((each, at) => {
    const from = each.start,
      to = from + each.length;
    drawn.append(svg('polygon', at % 2 ? 'sees odd' : 'sees', {points: `${from},${from} ${to},${to} ${from},${to}`}));
  });
  return drawn;
};
const strip = (lane, width) => {
  const drawn = make('div', 'lane');
  lane.forEach(each => {
    const box = make('button', 'segment');
    box.type = 'button';
    box.style.width = `${(100 * each.length) / width}%`;
    box.dataset.at = segments.length;
    box.tabIndex = segments.length ? -1 : 0;
    box.setAttribute('aria-label', each.description);
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
  box.append(make('span', 'text', visible(each.text)), make('span', 'position', each.position));
  return box;
};
const describe = at => {
  const chosen = segments[at];
  if (!chosen) {
    return;
  }
  segments.forEach((each, other) => {
    each.box.classList.toggle('chosen', other === at);
    each.box.tabIndex = other === at ? 0 : -1;
  });
  line.textContent = chosen.description;
  const place = chosen.lane.findIndex(each => each.start === chosen.start);
  const before = chosen.lane[place - 1],
    after = chosen.lane[place + 1];
  const wall = () => make('span', 'wall', '');
  const dots = () => make('span', 'dots', '\u2026');
  const shown = [];
  if (before) {
    shown.push(dots(), ...before.last.map(token), wall());
  }
  shown.push(...chosen.first.map(token), ...(chosen.last.length ? [dots()] : []), ...chosen.last.map(token));
  if (after) {
    shown.push(wall(), ...after.first.map(token), dots());
  }
  border.replaceChildren(...shown);
};
const draw = () => {
  const step = unpacked();
  if (!step) {
    return;
  }
  segments = [];
  list.replaceChildren(
    ...step.passes.map(one => {
      const all = make('div', 'pass'),
        lanes = make('div', 'lanes');
      lanes.append(make('div', 'pass-title', one.title), ...one.lanes.map(lane => strip(lane, one.width)));
      all.append(lanes);
      if (one.lanes.length === 1) {
        all.append(square(one));
      }
      return all;
    }),
    ...(step.more ? [make('div', 'pass-title', step.more)] : []),
  );
  describe(0);
};
follow(list, '.segment', {...ARROWS, ArrowDown: 1, ArrowUp: -1, ...ENDS}, describe);
watch('value', draw);
draw();
