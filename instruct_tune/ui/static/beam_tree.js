/* global element, trigger, watch, make, unpacked, tokenParts */
const SIDES = {base: 'Base', tuned: 'Tuned'},
  ROW = 32,
  GAP = 28,
  WIDEST = 144,
  SVG = 'http://www.w3.org/2000/svg';
const find = name => element.querySelector(name);
const trees = find('.trees'),
  slider = find('.step'),
  play = find('.play'),
  step = find('.step-text');
const measure = document.createElement('canvas').getContext('2d');
let views = [],
  playing;
const number = value => (value < 0 ? '\u2212' : '') + Math.abs(value).toFixed(2);
const nth = rank => `${rank}${['st', 'nd', 'rd'][rank - 1] || 'th'}`;
const plain = beam => (beam.ends ? 'the end' : beam.text ? JSON.stringify(beam.text) : `the bytes ${beam.bytes}`);
// The node of a beam, and its path from the first step.
const grow = tree =>
  tree.steps.map((beams, at) => beams.map((beam, index) => ({...beam, at, index, key: `${at}.${index}`})));
const pathOf = (nodes, node) => {
  const path = [node];
  while (path[0].parent !== null) {
    path.unshift(nodes[path[0].at - 1][path[0].parent]);
  }
  return path;
};
const mean = node => node.score / (node.at + 1);
// Beams that continue stand in the upper rows, complete answers below them.
const rowOf = (beams, node) => node.index + (node.ended && beams.some(beam => !beam.ended) ? 0.5 : 0);
const place = nodes => {
  let x = 40;
  nodes.forEach(beams => {
    const width = Math.max(
      ...beams.map(node => {
        const label = node.ends ? 'end' : node.text;
        return Math.min(WIDEST, measure.measureText(label).width + 7 * node.bytes.length + (node.ended ? 86 : 18));
      }),
      24,
    );
    beams.forEach(node => {
      Object.assign(node, {x, width, y: (rowOf(beams, node) + 0.5) * ROW});
    });
    x += width + GAP;
  });
  return x - GAP + 24;
};
const curve = (from, node) => {
  const middle = node.x - GAP / 2;
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', `M${from.x} ${from.y}C${middle} ${from.y} ${middle} ${node.y} ${node.x} ${node.y}`);
  return path;
};
const boxOf = node => {
  const box = make('button', node.ended ? 'node ended' : 'node'),
    label = make('span', 'label');
  box.type = 'button';
  label.append(...tokenParts(node));
  box.append(label);
  if (node.ended) {
    box.append(make('span', 'mean', number(mean(node))), make('span', 'rank'));
  }
  Object.assign(box.style, {left: `${node.x}px`, top: `${node.y - 12}px`, maxWidth: `${node.width}px`});
  box.dataset.key = node.key;
  box.tabIndex = -1;
  return box;
};
const textOf = path => path.map(node => (node.ends ? '' : node.text)).join('');
const View = (side, tree) => {
  const made = make('section', `side ${side}`),
    head = make('div', 'head'),
    scroll = make('div', 'scroll');
  const canvas = make('div', 'canvas'),
    svg = document.createElementNS(SVG, 'svg'),
    line = make('div', 'reading');
  const nodes = grow(tree),
    all = nodes.flat(),
    width = place(nodes);
  const height = Math.max(...all.map(node => node.y)) + ROW / 2;
  const byKey = new Map(all.map(node => [node.key, node]));
  const finished = tree.finished.map(([at, index]) => nodes[at][index]);
  head.append(make('span', 'who', SIDES[side]), make('span', 'facts', tree.sentence));
  canvas.setAttribute('role', 'group');
  canvas.setAttribute('aria-label', `${SIDES[side]}'s beams as a tree; arrow keys walk through it`);
  Object.assign(canvas.style, {width: `${width}px`, height: `${height}px`});
  svg.setAttribute('width', width);
  svg.setAttribute('height', height);
  svg.setAttribute('aria-hidden', 'true');
  const root = {x: 16, y: (Math.min(nodes[0].length, 5) * ROW) / 2};
  const origin = make('span', 'origin');
  Object.assign(origin.style, {left: '8px', top: `${root.y - 4}px`});
  canvas.append(svg, origin);
  all.forEach(node => {
    const parent = node.at ? nodes[node.at - 1][node.parent] : undefined;
    node.edge = curve(root, node);
    node.box = boxOf(node);
    node.from = parent;
    svg.append(node.edge);
    canvas.append(node.box);
  });
  // The box's own width is known once it is drawn: an edge begins at the end of the parent's box.
  const join = () =>
    all.forEach(node => {
      const {from} = node;
      if (!from) {
        return;
      }
      const end = {x: from.x + from.box.offsetWidth, y: from.y};
      node.edge.setAttribute('d', curve(end, node).getAttribute('d'));
    });
  let now = tree.steps.length - 1,
    leader,
    kept = [];
  const paint = (name, chosen) =>
    all.forEach(node => {
      node.box.classList.toggle(name, chosen.has(node.key));
      node.edge.classList.toggle(name, chosen.has(node.key));
    });
  const ancestors = chosen => new Set(chosen.flatMap(node => pathOf(nodes, node).map(each => each.key)));
  const fate = node => {
    const rank = (node.at > now ? finished : kept).indexOf(node);
    if (node.ended && rank < 0) {
      return 'complete, and not among the best five';
    }
    if (node.ended) {
      return `complete, ${nth(rank + 1)} by ${number(mean(node))} a token`;
    }
    return node.box.classList.contains('dead') ? 'given up later' : `${nth(node.index + 1)} of the beams that go on`;
  };
  const trace = node => {
    paint('traced', ancestors(node ? [node] : []));
    made.querySelectorAll('tbody tr').forEach(row => row.classList.toggle('traced', row.dataset.key === node?.key));
    line.textContent = node
      ? `Step ${node.at + 1}: ${plain(node)} with ${node.percent}, sum ${number(node.score)}, ${fate(node)}. ` +
        `So far: \u201c${textOf(pathOf(nodes, node))}\u201d`
      : 'Point at a token to see its beam; press it to continue from there in both models.';
  };
  const show = at => {
    now = Math.min(at, nodes.length - 1);
    const byMean = (a, b) => mean(b) - mean(a),
      over = now === nodes.length - 1;
    const seen = all.filter(node => node.at <= now),
      complete = seen.filter(node => node.ended);
    kept = over ? finished : [...complete].sort(byMean).slice(0, 5);
    const going = nodes[now].filter(node => !node.ended);
    leader = over ? finished[0] : [...kept.slice(0, 1), ...going].sort(byMean)[0];
    const alive = ancestors([...going, ...kept]);
    paint('unseen', new Set(all.filter(node => node.at > now).map(node => node.key)));
    paint('dead', new Set(seen.filter(node => !alive.has(node.key)).map(node => node.key)));
    paint('lead', ancestors([leader]));
    complete.forEach(node => {
      node.box.querySelector('.rank').textContent = kept.indexOf(node) + 1 || '';
    });
    all.forEach(node => {
      node.box.tabIndex = node === leader ? 0 : -1;
    });
    seen.forEach(node => {
      node.box.setAttribute('aria-label', `Step ${node.at + 1}, ${plain(node)}, ${node.percent}, ${fate(node)}`);
    });
    trace();
  };
  const reveal = node => {
    const left = node.x - 24,
      right = node.x + node.width + 24 - scroll.clientWidth;
    scroll.scrollLeft = Math.max(right, Math.min(left, scroll.scrollLeft));
  };
  const neighbour = (node, pressed) => {
    if (pressed === 'ArrowLeft') {
      return node.from;
    }
    if (pressed === 'ArrowRight') {
      return (nodes[node.at + 1] || []).find(each => each.parent === node.index);
    }
    if (pressed === 'Home' || pressed === 'End') {
      return pressed === 'End' ? leader : pathOf(nodes, leader)[0];
    }
    return nodes[node.at][node.index + {ArrowUp: -1, ArrowDown: 1}[pressed]];
  };
  const nodeAt = event => {
    const box = event.target.closest('.node');
    return box && byKey.get(box.dataset.key);
  };
  canvas.addEventListener('keydown', event => {
    const node = nodeAt(event);
    if (!node || !/^(Arrow|Home|End)/.test(event.key)) {
      return;
    }
    event.preventDefault();
    const next = neighbour(node, event.key);
    if (!next || next.at > now) {
      return;
    }
    all.forEach(each => {
      each.box.tabIndex = each === next ? 0 : -1;
    });
    next.box.focus({preventScroll: true});
    reveal(next);
  });
  for (const reached of ['mouseover', 'focusin']) {
    canvas.addEventListener(reached, event => {
      const node = nodeAt(event);
      if (node) {
        trace(node);
      }
    });
  }
  canvas.addEventListener('mouseleave', () => trace(byKey.get(document.activeElement.dataset.key)));
  canvas.addEventListener('click', event => {
    const node = nodeAt(event);
    if (node) {
      trigger('click', {ids: pathOf(nodes, node).map(each => each.id)});
    }
  });
  scroll.append(canvas);
  line.setAttribute('aria-live', 'polite');
  made.append(head, scroll, line, ...table(side, tree, finished, trace));
  return {made, nodes, show, join, reveal: () => reveal(nodes[now][0])};
};
const COLUMNS = ['Rank', 'Answer', 'Tokens', 'Sum', 'Sum \u00f7 tokens', 'Rank by sum'];
const table = (side, tree, finished, trace) => {
  const box = make('div', 'table'),
    made = make('table', ''),
    head = make('tr', ''),
    body = make('tbody', '');
  made.setAttribute('aria-label', `${SIDES[side]}'s best answers`);
  // It scrolls on a phone, by the keyboard too.
  box.tabIndex = 0;
  COLUMNS.forEach(name => {
    const cell = make('th', '', name);
    cell.scope = 'col';
    head.append(cell);
  });
  tree.answers.forEach((answer, at) => {
    const row = make('tr', at ? '' : 'best');
    row.dataset.key = finished[at].key;
    const moved = answer.by_sum === at + 1 ? '' : 'moved';
    row.append(
      make('td', '', nth(at + 1)),
      make('td', 'answer', (answer.text.replaceAll('\n', '\u21b5') || '\u2205') + (finished[at].ends ? '' : '\u2026')),
      make('td', '', answer.tokens),
      make('td', '', number(answer.sum)),
      make('td', '', number(answer.mean)),
      make('td', moved, nth(answer.by_sum)),
    );
    row.addEventListener('mouseenter', () => trace(finished[at]));
    row.addEventListener('mouseleave', () => trace());
    body.append(row);
  });
  const top = make('thead', '');
  top.append(head);
  made.append(top, body);
  box.append(made);
  const title = 'The best answers, by the sum of their log-probabilities over their length; \u2026: cut at the limit';
  return [make('div', 'facts', title), box];
};
const last = () => Math.max(...views.map(view => view.nodes.length));
const go = at => {
  slider.value = at;
  step.textContent = `Step ${at} of ${last()}`;
  slider.setAttribute('aria-valuetext', step.textContent);
  views.forEach(view => view.show(at - 1));
};
const stop = () => {
  clearInterval(playing);
  playing = undefined;
  play.textContent = 'Play';
};
const tick = () => {
  const next = +slider.value + 1;
  if (next > last() || !element.isConnected) {
    stop();
    return;
  }
  go(next);
  views.forEach(view => view.reveal());
};
play.addEventListener('click', () => {
  if (playing) {
    stop();
    return;
  }
  if (+slider.value >= last()) {
    go(1);
    views.forEach(view => view.reveal());
  }
  play.textContent = 'Pause';
  playing = setInterval(tick, 400);
});
slider.addEventListener('input', () => {
  stop();
  go(+slider.value);
  views.forEach(view => view.reveal());
});
const draw = () => {
  const value = unpacked();
  if (!value) {
    return;
  }
  stop();
  measure.font = `13px ${getComputedStyle(element).getPropertyValue('--font-mono') || 'monospace'}`;
  views = Object.keys(SIDES).map(side => View(side, value[side]));
  trees.replaceChildren(...views.map(view => view.made));
  slider.max = last();
  go(last());
  requestAnimationFrame(() => views.forEach(view => view.join()));
};
watch('value', draw);
draw();
