/* global element, watch, make, unpacked */
// A guess, picked or drawn, and the measured effect laid over it. Guesses stay in the browser: a tab that is opened
// again finds them in the window.
const NS = 'http://www.w3.org/2000/svg';
const part = name => element.querySelector('.exp-' + name);
const guesses = (window.labGuesses ??= {});
const HEIGHT = 260,
  EDGE = {left: 56, right: 16, top: 12, bottom: 32};
let value, guess;

const digits = amount => amount.toFixed(value.digits);
const svg = (tag, name, attributes, text) => {
  const made = document.createElementNS(NS, tag);
  made.setAttribute('class', name);
  for (const [key, each] of Object.entries(attributes)) {
    made.setAttribute(key, each);
  }
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
};

// The axis, fixed before the answer is seen: its ends would tell where the curve goes.
const range = () => {
  const start = value.mean[0];
  const ends = value.drawn ? [0.5 * start, 1.5 * start] : [];
  const seen = value.drawn && !guess.revealed ? [] : value.seeds.flat();
  const low = Math.min(...ends, ...seen),
    high = Math.max(...ends, ...seen);
  const margin = value.drawn ? 0 : 0.12 * (high - low || 1);
  return [Math.max(0, low - margin), high + margin];
};

const scales = () => {
  const width = Math.max(280, part('plot').clientWidth),
    [low, high] = range(),
    last = value.labels.length - 1;
  const inner = width - EDGE.left - EDGE.right,
    tall = HEIGHT - EDGE.top - EDGE.bottom;
  // Arms stand apart from the edges, a curve begins at its axis.
  const pad = value.drawn ? 0 : inner / (2 * (last + 1));
  return {
    width,
    low,
    high,
    x: at => EDGE.left + pad + ((inner - 2 * pad) * at) / Math.max(1, last),
    y: amount => EDGE.top + tall * (1 - (amount - low) / (high - low)),
    amount: y => Math.min(high, Math.max(low, low + (high - low) * (1 - (y - EDGE.top) / tall))),
  };
};

const path = (values, to) =>
  values.map((amount, at) => `${at ? 'L' : 'M'}${to.x(at).toFixed(1)},${to.y(amount).toFixed(1)}`).join('');

// Round numbers: 1, 2 or 5 times a power of ten, at most six of them.
const ticks = (low, high) => {
  const rough = (high - low) / 5,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(each => power * each >= rough);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  const places = Math.max(0, -Math.floor(Math.log10(step)));
  return Array.from({length: count}, (_, at) => [(first + at) * step, ((first + at) * step).toFixed(places)]);
};

const axes = (chart, to) => {
  for (const [amount, label] of ticks(to.low, to.high)) {
    const y = to.y(amount);
    chart.append(svg('line', 'exp-grid', {x1: EDGE.left, x2: to.width - EDGE.right, y1: y, y2: y}));
    chart.append(svg('text', 'exp-tick', {x: EDGE.left - 8, y: y + 4, 'text-anchor': 'end'}, label));
  }
  const last = value.labels.length - 1;
  value.labels.forEach((label, at) => {
    const anchor = value.drawn && at === last ? 'end' : value.drawn && !at ? 'start' : 'middle';
    chart.append(svg('text', 'exp-tick', {x: to.x(at), y: HEIGHT - 10, 'text-anchor': anchor}, label));
  });
};

const curveWords = values =>
  values.map((amount, at) => `${value.labels[at]} ${digits(amount)}`).join(', ') + ` ${value.unit}`;

const place = (at, amount) => {
  const [low, high] = range();
  guess.curve[at] = Math.min(high, Math.max(low, amount));
  guess.made = true;
};

// The point that has the focus keeps it, although the plot is drawn anew.
const redraw = () => {
  const at = document.activeElement?.dataset?.at;
  const had = at !== undefined && element.contains(document.activeElement);
  draw();
  if (had) {
    part('plot').querySelector(`[data-at="${at}"]`)?.focus();
  }
};

const handle = (at, to) => {
  const point = svg('circle', 'exp-handle', {cx: to.x(at), cy: to.y(guess.curve[at]), r: 8, tabindex: 0});
  point.dataset.at = at;
  const says = {
    role: 'slider',
    'aria-orientation': 'vertical',
    'aria-label': `${value.name} at ${value.labels[at]}`,
    'aria-valuemin': to.low.toFixed(3),
    'aria-valuemax': to.high.toFixed(3),
    'aria-valuenow': guess.curve[at].toFixed(3),
    'aria-valuetext': `${value.labels[at]}: ${digits(guess.curve[at])} ${value.unit}`,
  };
  for (const [name, text] of Object.entries(says)) {
    point.setAttribute(name, text);
  }
  point.addEventListener('keydown', event => {
    const step = (to.high - to.low) / 100;
    const by = {ArrowUp: step, ArrowDown: -step, PageUp: 10 * step, PageDown: -10 * step}[event.key];
    const across = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (by !== undefined) {
      event.preventDefault();
      place(at, guess.curve[at] + by);
      redraw();
    } else if (across) {
      event.preventDefault();
      part('plot')
        .querySelector(`[data-at="${at + across}"]`)
        ?.focus();
    }
  });
  return point;
};

const drawable = (chart, to) => {
  const draws = event => {
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) * to.width) / box.width,
      y = ((event.clientY - box.top) * HEIGHT) / box.height;
    const distances = value.labels.map((_, at) => Math.abs(to.x(at) - x));
    // The first point is known.
    const nearest = Math.max(1, distances.indexOf(Math.min(...distances)));
    place(nearest, to.amount(y));
    const point = chart.querySelector(`[data-at="${nearest}"]`);
    point.setAttribute('cy', to.y(guess.curve[nearest]));
    chart.querySelector('.exp-guess').setAttribute('d', path(guess.curve, to));
  };
  chart.addEventListener('pointerdown', event => {
    event.preventDefault();
    chart.setPointerCapture(event.pointerId);
    draws(event);
  });
  chart.addEventListener('pointermove', event => {
    if (chart.hasPointerCapture(event.pointerId)) {
      draws(event);
    }
  });
  chart.addEventListener('pointerup', () => redraw());
};

const measured = (chart, to) => {
  value.seeds.forEach(seed => chart.append(svg('path', 'exp-seed', {d: path(seed, to)})));
  if (!value.drawn) {
    value.seeds.forEach(seed =>
      seed.forEach((amount, at) => chart.append(svg('circle', 'exp-dot', {cx: to.x(at), cy: to.y(amount), r: 3}))),
    );
  }
  chart.append(svg('path', 'exp-mean', {d: path(value.mean, to)}));
};

const drawPlot = () => {
  const shown = value.drawn || guess.revealed;
  part('plot').hidden = !shown;
  if (!shown) {
    part('plot').replaceChildren();
    return;
  }
  const to = scales();
  const chart = svg('svg', 'exp-chart', {viewBox: `0 0 ${to.width} ${HEIGHT}`, height: HEIGHT});
  const open = value.drawn && !guess.revealed;
  chart.setAttribute('role', open ? 'group' : 'img');
  chart.setAttribute('aria-label', open ? 'Draw your curve' : value.description);
  chart.classList.toggle('open', open);
  axes(chart, to);
  if (value.reference) {
    chart.append(svg('path', 'exp-reference', {d: path(value.reference.values, to)}));
  }
  if (guess.revealed) {
    measured(chart, to);
  }
  if (value.drawn) {
    chart.append(svg('path', 'exp-guess', {d: path(guess.curve, to)}));
  }
  if (open) {
    value.labels.slice(1).forEach((_, before) => chart.append(handle(before + 1, to)));
    drawable(chart, to);
  }
  const legend = make('div', 'exp-legend');
  const named = [
    ['reference', value.reference?.label],
    ['guess', value.drawn && 'your curve'],
    ['mean', guess.revealed && 'measured, mean'],
    ['seed', guess.revealed && 'each seed'],
  ];
  for (const [name, label] of named) {
    if (label) {
      const entry = make('span', '');
      entry.append(make('i', 'exp-key ' + name), label);
      legend.append(entry);
    }
  }
  part('plot').replaceChildren(make('div', 'exp-unit', `${value.name}, ${value.unit}`), chart, legend);
};

const verdict = () => {
  if (!value.drawn) {
    const picked = value.choices.find(([direction]) => direction === guess.choice)[1];
    return `Your guess: ${picked}. ${guess.choice === value.direction ? 'So it was measured.' : 'It was measured otherwise.'}`;
  }
  const last = value.mean.length - 1,
    apart = value.mean.slice(1).map((amount, at) => Math.abs(amount - guess.curve[at + 1]));
  const mean = apart.reduce((sum, each) => sum + each, 0) / apart.length;
  return (
    `Your curve ends at ${digits(guess.curve[last])}, the measured one at ${digits(value.mean[last])}; ` +
    `on average your points are ${digits(mean)} away.`
  );
};

const drawAnswer = () => {
  if (!guess.revealed) {
    part('answer').replaceChildren();
    return;
  }
  const tip = make('p', 'exp-try', value.try);
  tip.prepend(make('b', '', 'Try: '));
  part('answer').replaceChildren(
    make('p', 'exp-verdict', verdict()),
    make('p', 'exp-effect', value.effect),
    make('p', 'exp-because', value.because),
    tip,
  );
};

const drawChoices = () => {
  const box = part('choices');
  box.hidden = value.drawn;
  const choices = value.choices.map(([direction, text]) => {
    const label = make('label', ''),
      radio = make('input', '');
    radio.type = 'radio';
    radio.name = 'exp-choice';
    radio.value = direction;
    radio.checked = guess.choice === direction;
    radio.disabled = guess.revealed;
    radio.addEventListener('change', () => {
      guess.choice = direction;
      guess.made = true;
    });
    label.append(radio, text);
    return label;
  });
  box.replaceChildren(make('legend', '', value.guess), ...choices);
};

const help = () => {
  if (guess.revealed) {
    return '';
  }
  return value.drawn
    ? 'Draw the curve: drag across the plot, or reach a point with Tab and move it with the arrow keys. ' +
        'Its first point is measured.'
    : '';
};

const draw = () => {
  part('question').textContent = value.question;
  part('changed').textContent = value.changed;
  part('help').textContent = help();
  part('curve').textContent = value.drawn ? `Your curve: ${curveWords(guess.curve)}.` : '';
  drawPlot();
  drawAnswer();
};

element.querySelector('.experiment').addEventListener('reveal', () => {
  if (!guess.made) {
    part('help').textContent = value.drawn
      ? 'Draw a curve first; then it is revealed.'
      : 'Pick one of the three first.';
    (value.drawn ? part('plot').querySelector('.exp-handle') : part('choices').querySelector('input'))?.focus();
    return;
  }
  guess.revealed = true;
  drawChoices();
  draw();
  part('answer').scrollIntoView({block: 'nearest'});
});

const update = () => {
  value = unpacked();
  if (!value) {
    return;
  }
  guess = guesses[value.key] ??= {curve: value.labels.map(() => value.mean[0]), made: false, revealed: false};
  drawChoices();
  draw();
};
let drawnWidth = 0;
new ResizeObserver(() => {
  // Its height changes with what is drawn.
  const width = element.clientWidth;
  if (value && width !== drawnWidth) {
    drawnWidth = width;
    redraw();
  }
}).observe(element.querySelector('.experiment'));
watch('value', update);
update();
