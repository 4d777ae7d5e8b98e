// What a room does now, as both pages show it: a guess, a blind comparison, a sweep, a board.
import {count, duration, h, ordinal} from './room_common.js';
import {swatch, sweepPicture} from './room_chart.js';

export const KINDS = {guess: 'Guess', blind: 'Blind A/B', sweep: 'Sweep', board: 'Board'};
const ARROWS = {higher: '↗', none: '→', lower: '↘'};

export const canReveal = activity => Boolean(activity?.choices) && !activity.revealed;

const percent = (part, whole) => (whole ? Math.round((100 * part) / whole) : 0);

// How many chose what; `right` and `own` are marked with words, not with a colour alone.
export const histogram = (choices, counts, {right, own, truth = 'measured'} = {}) => {
  const all = Object.values(counts).reduce((sum, each) => sum + each, 0);
  const row = choice => {
    const number = counts[choice.value] ?? 0;
    const marks = [choice.value === right && `✓ ${truth}`, choice.value === own && 'your choice'].filter(Boolean);
    return h(
      'li',
      {key: choice.value, class: choice.value === right ? 'right' : ''},
      h(
        'span',
        {class: 'bar-label'},
        choice.label,
        marks.map(mark => [' ', h('span', {class: 'mark', key: mark}, mark)]),
      ),
      h(
        'span',
        {class: 'track', 'aria-hidden': 'true'},
        h('span', {class: 'part', css: {width: `${percent(number, all)}%`}}),
      ),
      h('span', {class: 'bar-count'}, h('b', null, number), ` ${percent(number, all)}%`),
    );
  };
  return h('ul', {class: 'bars', key: 'bars'}, choices.map(row));
};

// Buttons of the choices; without `press` they are words, for a page that does not choose.
const choiceButtons = (activity, own, press) => {
  if (!press) {
    const words = activity.choices.map(each => h('li', {key: each.value}, arrow(each.value), each.label));
    return h('ul', {class: 'choices words', key: 'choices'}, words);
  }
  const button = each =>
    h(
      'button',
      {
        key: each.value,
        type: 'button',
        class: 'choice',
        'aria-pressed': String(own === each.value),
        onclick: () => press(each.value),
      },
      arrow(each.value),
      h('span', null, each.label),
      h('span', {class: 'own', 'aria-hidden': 'true'}, own === each.value && '✓ your choice'),
    );
  return h(
    'div',
    {class: 'choices', key: 'choices', role: 'group', 'aria-label': activity.ask ?? 'Who is tuned?'},
    activity.choices.map(button),
  );
};
const arrow = value => ARROWS[value] && h('span', {class: 'arrow', 'aria-hidden': 'true'}, ARROWS[value]);

// `who`: {own: the choice of who looks, press: what a click does (none: nobody chooses here)}.
export const guess = (activity, {own, press}) => [
  // 2e-2 is one word.
  h('h2', {key: 'question', class: 'question'}, activity.question.replace(/(\de)-(\d)/g, '$1\u2011$2')),
  h('p', {key: 'changed', class: 'quiet'}, activity.changed),
  !activity.revealed && [h('p', {key: 'ask', class: 'ask'}, activity.ask), choiceButtons(activity, own, press)],
  activity.revealed && [
    histogram(activity.choices, activity.counts, {right: activity.right, own}),
    h(
      'div',
      {key: 'truth', class: 'truth'},
      h('p', {class: 'effect'}, activity.effect),
      h('p', {key: 'because'}, activity.because),
      h('p', {key: 'try', class: 'quiet'}, 'To try: ', activity.try),
    ),
  ],
];

export const blind = (activity, {own, press}) => {
  const side = name => {
    const model = !activity.revealed ? '' : name === activity.right ? 'tuned' : 'base';
    return h(
      'section',
      {key: name, class: `side ${model}`, 'aria-label': `Answer ${name}`},
      h('h3', null, name, ' ', model && h('span', {class: 'mark'}, model === 'tuned' ? '✓ tuned' : model)),
      h(
        'pre',
        {tabindex: '0', 'aria-label': `Answer ${name}`, role: 'region'},
        activity.texts[name] || '(an empty answer)',
      ),
    );
  };
  return [
    !activity.revealed &&
      h('p', {key: 'asked', class: 'ask'}, 'One of two models answers this. Which answer is by the tuned one?'),
    h('h2', {key: 'question', class: 'question asked'}, activity.instruction),
    activity.input &&
      h('pre', {key: 'input', class: 'input', tabindex: '0', role: 'region', 'aria-label': 'Input'}, activity.input),
    h('div', {key: 'sides', class: 'sides'}, ['A', 'B'].map(side)),
    !activity.revealed && press && choiceButtons(activity, own, press),
    activity.revealed && [
      histogram(activity.choices, activity.counts, {right: activity.right, own, truth: 'true'}),
      h('div', {key: 'truth', class: 'truth'}, h('p', {class: 'effect'}, activity.effect)),
    ],
  ];
};

// The legend of the picture, and its numbers as text.
const sweepTable = (cards, runs, names, own) => {
  const last = id => runs.find(run => run.run_id === id)?.curve.at(-1);
  const row = (card, at) => {
    const ends = card.runs.map(last).filter(Boolean);
    const who = card.people.map(id => names.get(id)).filter(Boolean);
    return h(
      'tr',
      {key: at, class: own === at ? 'own-row' : ''},
      h(
        'th',
        {scope: 'row'},
        h(
          'span',
          {class: 'setting'},
          swatch(at + 1),
          h('span', null, card.label, own === at && ' ', own === at && h('span', {class: 'mark'}, 'yours')),
        ),
      ),
      h('td', null, who.join(', ') || '–'),
      h('td', {class: 'number-cell'}, ends.map(end => end[1].toFixed(3)).join(' · ') || '–'),
    );
  };
  return h(
    'table',
    {key: 'table', class: 'cards'},
    h(
      'thead',
      null,
      h(
        'tr',
        null,
        ['Setting', 'Who', 'Held-out loss'].map(name => h('th', {scope: 'col'}, name)),
      ),
    ),
    h('tbody', null, cards.map(row)),
  );
};

export const sweep = (activity, board, {names, own, width}) => [
  h('h2', {key: 'question', class: 'question'}, activity.title),
  h('div', {key: 'chart', class: 'chart'}, sweepPicture(activity.cards, board.runs, width)),
  sweepTable(activity.cards, board.runs, names, own),
];

// Boards

const settingsText = run =>
  Object.entries(run.settings)
    .map(([label, value]) => `${label} ${value}`)
    .join(', ') || 'the room’s settings';

export const runTitle = run => (run.name === run.run_id ? settingsText(run) : `${run.name} (${settingsText(run)})`);

const whose = (run, {names, me}) => {
  const own = run.people.includes(me);
  const others = run.people.map(id => names.get(id)).filter(Boolean);
  return [
    h('b', null, others.join(', ') || 'Somebody who left'),
    own && ' ',
    own && h('span', {class: 'mark'}, 'yours'),
  ];
};

const who = (run, people) => h('span', {class: 'who'}, whose(run, people), h('span', {class: 'quiet'}, runTitle(run)));

const boardRow = (run, people, bar, number, detail) =>
  h(
    'li',
    {key: run.run_id, class: `run ${run.people.includes(people.me) ? 'own-row' : ''}`},
    who(run, people),
    bar,
    h('span', {class: 'score'}, h('b', null, number), detail && h('span', {class: 'quiet'}, detail)),
  );

const scoreBar = (run, most, base) => {
  const at = value => `${(100 * value) / most}%`;
  return h(
    'span',
    {class: 'track score-track', 'aria-hidden': 'true'},
    h('span', {class: 'part', css: {width: at(run.bleu)}}),
    base !== null && h('span', {class: 'base-line', css: {left: at(base)}}),
    run.ci && h('span', {class: 'interval', css: {left: at(run.ci[0]), width: at(run.ci[1] - run.ci[0])}}),
  );
};

// Runs, best first: those of one group under the places that they share.
const ranked = (runs, groupOf, row) => {
  const group = number => {
    const members = runs.filter(run => groupOf(run) === number),
      first = runs.indexOf(members[0]) + 1,
      last = first + members.length - 1;
    const rank = first === last ? String(first) : `${first}–${last}`;
    return h(
      'li',
      {key: number, class: 'group'},
      h('p', {class: 'rank'}, h('b', null, rank), first !== last && ', cannot be told apart'),
      h('ul', null, members.map(row)),
    );
  };
  return h('ol', {key: 'groups', class: 'board'}, [...new Set(runs.map(groupOf))].map(group));
};

const byScore = (board, people) => {
  const scored = board.runs
    .filter(run => run.bleu !== null)
    .sort((one, other) => one.group - other.group || other.bleu - one.bleu);
  const most = 1.04 * Math.max(1, board.base ?? 0, ...scored.map(run => run.ci?.[1] ?? run.bleu));
  const row = run =>
    boardRow(
      run,
      people,
      scoreBar(run, most, board.base),
      run.bleu.toFixed(1),
      run.ci && `${run.ci[0].toFixed(1)} to ${run.ci[1].toFixed(1)}`,
    );
  return [
    h('h2', {key: 'question', class: 'question'}, 'BLEU of the room’s runs'),
    scored.length > 0 &&
      h(
        'p',
        {key: 'how', class: 'quiet'},
        `On ${count(board.rows, 'held-out row')}, with the 95% interval.`,
        board.base !== null && ` The dashed line is base, ${board.base.toFixed(1)}.`,
      ),
    scored.length
      ? ranked(scored, run => run.group, row)
      : h(
          'p',
          {key: 'none', class: 'quiet empty'},
          'No run is evaluated yet. A finished run is evaluated from “Your runs”.',
        ),
    unranked(
      board.runs.filter(run => run.bleu === null),
      people,
      'Without a score',
    ),
    board.others > 0 &&
      h(
        'p',
        {key: 'others', class: 'quiet'},
        `${count(board.others, 'run was', 'runs were')} evaluated on other rows or with other decoding, so the scores are not compared.`,
      ),
  ];
};

const byTime = (board, people) => {
  const timed = board.runs
    .filter(run => run.reached)
    .sort((one, other) => one.time_group - other.time_group || one.reached.by - other.reached.by);
  const most = 1.04 * Math.max(1e-9, ...timed.map(run => run.reached.by));
  const row = run => boardRow(run, people, timeBar(run.reached, most), ...timeSpan(run.reached));
  return [
    h('h2', {key: 'question', class: 'question'}, 'Seconds of training to the target'),
    board.target !== null &&
      h(
        'p',
        {key: 'how', class: 'quiet'},
        `Until the held-out loss is at most ${board.target.toFixed(3)}. It is measured at a few steps, so a time lies between two of them. What else the machine did meanwhile counts, too.`,
      ),
    timed.length
      ? ranked(timed, run => run.time_group, row)
      : h('p', {key: 'none', class: 'quiet empty'}, 'No run has reached it yet.'),
    unranked(
      board.runs.filter(run => !run.reached),
      people,
      'Not there yet',
    ),
  ];
};
const timeBar = ({over, by}, most) => {
  const at = value => `${(100 * value) / most}%`;
  return h(
    'span',
    {class: 'track score-track', 'aria-hidden': 'true'},
    h('span', {class: 'part', css: {width: at(by)}}),
    h('span', {class: 'interval', css: {left: at(over), width: at(by - over)}}),
  );
};
const timeSpan = ({over, by}) => [shortSeconds(by), over > 0 && `over ${shortSeconds(over)}`];
const shortSeconds = seconds => (seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds));

const unranked = (runs, people, title) =>
  runs.length > 0 && [
    h('h3', {key: `${title}-title`}, title),
    h(
      'ul',
      {key: title, class: 'board unranked'},
      runs.map(run =>
        h(
          'li',
          {key: run.run_id, class: `run ${run.people.includes(people.me) ? 'own-row' : ''}`},
          who(run, people),
          h('span', {class: 'quiet'}, runState(run)),
        ),
      ),
    ),
  ];

// Where a run is, in words.
export const runState = run => {
  if (run.evaluation?.place) return `evaluation: ${place(run.evaluation.place, run.evaluation.starts_in_seconds)}`;
  if (run.evaluation?.total) return `evaluating, ${run.evaluation.done} of ${run.evaluation.total} answers`;
  if (run.evaluation?.message) return 'evaluating';
  if (run.status === 'queued') return run.place ? place(run.place, run.starts_in_seconds) : 'starts now';
  if (run.status === 'running' || run.status === 'stopping') {
    const steps = run.total_steps ? `step ${run.step} of ${run.total_steps}` : 'getting ready';
    return run.seconds_left === null ? steps : `${steps}, ${duration(run.seconds_left)} left`;
  }
  return run.total_steps ? `${run.status}, step ${run.step} of ${run.total_steps}` : run.status;
};
const place = (number, seconds) =>
  `${ordinal(number)} in the queue${seconds === null ? '' : `, starts in about ${duration(seconds)}`}`;

export const board = (activity, shown, people) => (activity.by === 'time' ? byTime : byScore)(shown, people);

// What the room does now. `look`: {names, me, own, card, press, width}.
export const activityView = (room, look) => {
  const {activity} = room;
  const views = {
    guess: () => guess(activity, look),
    blind: () => blind(activity, look),
    sweep: () => sweep(activity, room.board, {...look, own: look.card}),
    board: () => board(activity, room.board, look),
  };
  return views[activity.kind]();
};
