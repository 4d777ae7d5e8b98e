// The sweep's picture: a colour, a dash and a number for each setting, and a line for each seed.
import {count, h} from './room_common.js';

const ticks = (low, high, most) => {
  const raw = (high - low) / most || 1,
    size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find(each => each * size >= raw) * size;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({length: Math.floor(high / step + 1e-9) - first + 1}, (_, at) =>
    Number(((first + at) * step).toPrecision(6)),
  );
};

// Labels at the ends of lines, moved apart so that none covers another.
const spread = (labels, gap, low, high) => {
  const sorted = labels.sort((one, other) => one.y - other.y);
  sorted.forEach((each, at) => (each.y = Math.max(each.y, low, at ? sorted[at - 1].y + gap : 0)));
  [...sorted].reverse().forEach((each, at, all) => (each.y = Math.min(each.y, high, at ? all[at - 1].y - gap : high)));
  return sorted;
};

const EDGE = {left: 48, right: 32, top: 16, bottom: 40};

export const sweepPicture = (cards, runs, width, height = Math.round(width * (width < 480 ? 0.8 : 0.5))) => {
  const lines = cards.flatMap((card, at) =>
    card.runs.flatMap(id => runs.filter(run => run.run_id === id && run.curve.length).map(run => ({at, run}))),
  );
  if (!lines.length) {
    return h(
      'p',
      {key: 'picture', class: 'quiet empty'},
      'Curves appear here as soon as somebody’s run has measured its held-out loss.',
    );
  }
  const points = lines.flatMap(line => line.run.curve),
    losses = points.map(point => point[1]);
  const most = Math.max(1, ...points.map(point => point[0])),
    room = (Math.max(...losses) - Math.min(...losses)) * 0.06 || 0.05;
  const low = Math.min(...losses) - room,
    high = Math.max(...losses) + room;
  const x = step => EDGE.left + (step / most) * (width - EDGE.left - EDGE.right),
    y = loss => EDGE.top + ((high - loss) / (high - low)) * (height - EDGE.top - EDGE.bottom);
  const tick = loss => [
    h('line', {class: 'grid', x1: EDGE.left, x2: width - EDGE.right, y1: y(loss), y2: y(loss)}),
    h('text', {x: EDGE.left - 8, y: y(loss) + 4, 'text-anchor': 'end'}, loss),
  ];
  const labels = [...new Set(lines.map(line => line.at))].map(at => {
    const end = lines.find(line => line.at === at).run.curve.at(-1);
    return {at, x: x(end[0]) + 14, y: y(end[1])};
  });
  const line = ({at, run}) =>
    h('polyline', {
      key: run.run_id,
      class: `line card-${at + 1}`,
      points: run.curve.map(each => `${x(each[0])},${y(each[1])}`).join(' '),
    });
  const label = each => [
    h('circle', {class: `end card-${each.at + 1}`, cx: each.x, cy: each.y, r: 9}),
    h('text', {class: 'number', x: each.x, y: each.y + 4, 'text-anchor': 'middle'}, each.at + 1),
  ];
  const whole = ticks(0, most, width < 480 ? 4 : 8).filter(Number.isInteger);
  return h(
    'svg',
    {
      key: 'picture',
      class: 'picture',
      viewBox: `0 0 ${width} ${height}`,
      role: 'img',
      'aria-label': `Held-out loss by step of ${count(lines.length, 'run')}; the table below has the numbers.`,
    },
    ticks(low, high, 5).map(tick),
    whole.map(step => h('text', {x: x(step), y: height - EDGE.bottom + 20, 'text-anchor': 'middle'}, step)),
    h('text', {x: width - EDGE.right, y: height - 4, 'text-anchor': 'end'}, 'step'),
    h('text', {x: EDGE.left - 40, y: 10, class: 'axis'}, 'held-out loss'),
    lines.map(line),
    spread(labels, 20, EDGE.top, height - EDGE.bottom).map(label),
  );
};

export const swatch = number =>
  h(
    'svg',
    {class: 'swatch', viewBox: '0 0 56 20', 'aria-hidden': 'true'},
    h('line', {class: `line card-${number}`, x1: 0, x2: 36, y1: 10, y2: 10}),
    h('circle', {class: `end card-${number}`, cx: 46, cy: 10, r: 9}),
    h('text', {class: 'number', x: 46, y: 14, 'text-anchor': 'middle'}, number),
  );
