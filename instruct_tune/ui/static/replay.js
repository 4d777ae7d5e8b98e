// `window.labReplay` outlives this node, which is recreated whenever its tab is opened again.
const words = element.querySelector('.replay-words'),
  bar = element.querySelector('progress');
const frame = (node, play, step) => {
  const known = trace => trace.x.filter(x => x <= step).length;
  play.cut = play.full.map(trace => {
    const cut = {...trace},
      most = known(trace);
    for (const [name, value] of Object.entries(trace)) {
      if (Array.isArray(value) && value.length === trace.x.length) {
        cut[name] = value.slice(0, most);
      }
    }
    return cut;
  });
  const mark = {
    text: 'REPLAY',
    showarrow: false,
    xref: 'paper',
    yref: 'paper',
    x: 1,
    y: 1,
    xanchor: 'right',
    yanchor: 'top',
    font: {size: 16, color: '#b45309'},
  };
  Plotly.react(node, play.cut, {...node.layout, annotations: [mark], shapes: []}, node._context);
  answer(step);
  play.drawn = step;
};
// Moves the slider under the chart, which shows the answers as of that step.
const answer = step => {
  document
    .querySelector('#train-scrubber .scrubber')
    ?.dispatchEvent(new CustomEvent('seek', {bubbles: true, detail: step}));
};
// Stores the chart's full curves, and fixes its axes at the ranges of the whole run.
const take = (node, play) => {
  play.full = node.data;
  // Findings are known only at the end of a run.
  play.marks = {annotations: node.layout.annotations ?? [], shapes: node.layout.shapes ?? []};
  const free = {...node.layout};
  for (const name of ['xaxis', 'yaxis']) {
    free[name] = {...free[name], autorange: true};
  }
  Plotly.react(node, play.full, free, node._context);
  for (const name of ['xaxis', 'yaxis']) {
    node.layout[name].range = [...node._fullLayout[name].range];
    node.layout[name].autorange = false;
  }
  play.drawn = null;
};
const finish = (node, play, text) => {
  if (window.labReplay === play) {
    window.labReplay = null;
  }
  words.textContent = text;
  bar.hidden = true;
  setTimeout(() => {
    if (words.textContent === text) {
      words.textContent = '';
    }
  }, 10000);
  if (!node?.layout || node.layout.uirevision !== play.run || !play.full) {
    return;
  }
  answer(Infinity);
  const free = {...node.layout, ...(node.data === play.cut ? play.marks : {})};
  for (const name of ['xaxis', 'yaxis']) {
    free[name] = {...free[name], autorange: true};
  }
  Plotly.react(node, node.data === play.cut ? play.full : node.data, free, node._context);
};
const span = seconds =>
  seconds < 60 ? `${Math.floor(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
const go = play => {
  if (window.labReplay !== play || !element.isConnected) {
    return;
  }
  const now = performance.now(),
    node = document.querySelector('#train-chart .loss-plot');
  const here = node?.data && node.layout?.uirevision === play.run;
  if (!here && (play.began || now - play.requested > 15000)) {
    // Another run is shown now.
    if (node) {
      finish(node, play, '');
      return;
    }
  }
  if (here) {
    if (!play.began) {
      play.began = true;
      play.at = now;
    }
    play.position = Math.min(play.position + (play.speed * (now - play.at)) / 1000, play.total);
    play.at = now;
    if (node.data !== play.cut) {
      take(node, play);
    }
    const step = play.moments.filter(moment => moment[1] <= play.position).at(-1)?.[0] ?? -1;
    if (step !== play.drawn) {
      frame(node, play, step);
    }
    const most = play.moments.at(-1)[0];
    words.textContent =
      `Replay at ${play.speed}×: ${span(play.position)} of ${span(play.total)}, ` +
      `step ${Math.max(step, 0)} of ${most}${play.note}`;
    bar.hidden = false;
    bar.value = play.position / play.total;
    if (play.position >= play.total) {
      finish(node, play, `Replayed: it took ${span(play.total)}${play.note}`);
      return;
    }
  }
  setTimeout(() => go(play), 80);
};
const begin = () => {
  const request = props.value;
  if (!request || request.turn === window.labReplayTurn) {
    return;
  }
  window.labReplayTurn = request.turn;
  if (window.labReplay) {
    finish(document.querySelector('#train-chart .loss-plot'), window.labReplay, '');
  }
  const speed = window.labReplaySpeed ?? request.speed;
  window.labReplay = {...request, speed, position: 0, requested: performance.now(), drawn: null};
  go(window.labReplay);
};
window.labReplayStop = () => {
  const play = window.labReplay;
  if (play) {
    finish(document.querySelector('#train-chart .loss-plot'), play, 'Replay stopped.');
  }
};
watch('value', begin);
// The node was created while a replay plays, or by the click that starts one.
if (window.labReplay) {
  go(window.labReplay);
}
begin();
