// The room, as a student sees it; its host has a console beside it (room_host.js).
import {activityView, canReveal, KINDS, runState, runTitle} from './room_views.js';
import {
  actions,
  announcement,
  cleanCode,
  count,
  field,
  fill,
  follow,
  get,
  h,
  NO_ANSWER,
  spaced,
  submitted,
  timeLeft,
} from './room_common.js';
import {door, forgets, nameBox} from './room_door.js';
import {hostConsole, steering} from './room_host.js';

const root = document.querySelector('#room'),
  announcer = document.querySelector('#announcer');
const ui = {isRenaming: false, options: null, pending: null};
let room = null,
  before = null;

const draw = () => {
  fill(root, page());
  document.title = room?.state ? `${room.state.room.title} · Room` : 'Room · Instruction-Tuning Lab';
};
const changed = () => {
  const now = room.state?.you && room.state.room;
  const news = room.over || announcement(before, now);
  if (news) announcer.textContent = news;
  before = now ?? before;
  draw();
};
const desk = actions(draw, () => room?.refresh());
const {act, note} = desk;

const enter = code => {
  history.replaceState(null, '', `?code=${encodeURIComponent(code)}`);
  room = follow(code, changed);
  draw();
};
const loadOptions = async () => {
  ui.options = await (await get('options')).json();
  draw();
};

const page = () => {
  if (!room) return door({ui, desk, enter});
  if (room.over) return gone();
  if (!room.state)
    return [
      h(
        'main',
        {key: 'loading', class: 'narrow'},
        h('p', {role: 'status'}, room.isAway ? `${NO_ANSWER} …` : 'Looking for the room …'),
      ),
    ];
  return room.state.you ? inside() : [h('main', {key: 'join', class: 'narrow'}, joinNamed())];
};

// Outside

const joinNamed = () => {
  const {title, code} = room.state.room;
  return [
    h('p', {key: 'where', class: 'quiet'}, `Room ${spaced(code)} of the Instruction-Tuning Lab`),
    h('h1', {key: 'title'}, title),
    h(
      'form',
      {key: 'join-named', onsubmit: submitted(({name}) => act('join', 'join', {code, name}))},
      field('Your name', nameBox(), 'The others in the room see it. You can change it.'),
      h('button', {type: 'submit', class: 'primary'}, 'Join'),
      note('join'),
    ),
    forgets(),
  ];
};

const gone = () => [
  h(
    'main',
    {key: 'gone', class: 'narrow'},
    h('h1', {tabindex: '-1', focus: true}, room.over),
    room.state?.you?.runs?.length > 0 && h('p', null, 'Your runs stay yours, in the lab.'),
    h('p', null, h('a', {href: 'room'}, 'Join another room'), ' · ', h('a', {href: './'}, 'Open the lab')),
  ),
];

// Inside

const inside = () => {
  const {you} = room.state;
  const context = {room, ui, desk, draw, loadOptions};
  return [
    header(),
    h(
      'div',
      {key: 'inside', class: you.host ? 'inside hosted' : 'inside'},
      h('main', {key: 'main'}, you.host && steering(context), now(), forgets(), mine()),
      you.host && h('aside', {key: 'console', 'aria-label': 'Host’s console'}, hostConsole(context)),
    ),
  ];
};

const header = () => {
  const {room: shown, you} = room.state;
  return h(
    'header',
    {key: 'header'},
    h(
      'div',
      {class: 'title'},
      h('h1', null, shown.title),
      h(
        'p',
        {class: 'quiet'},
        `Room ${spaced(shown.code)} · ${count(shown.people.length, 'person', 'people')} · ${timeLeft(room)}`,
      ),
    ),
    h('div', {class: 'self'}, you.id ? (ui.isRenaming ? renameForm() : named()) : hostJoins()),
    room.isAway && h('p', {key: 'away', class: 'away', role: 'status'}, NO_ANSWER),
  );
};

const named = () => [
  h('span', {key: 'name'}, 'You are ', h('b', null, room.state.you.name)),
  h('button', {key: 'rename', type: 'button', class: 'small', onclick: () => rename(true)}, 'Change name'),
];
const rename = isRenaming => {
  ui.isRenaming = isRenaming;
  draw();
};
const renameForm = () =>
  h(
    'form',
    {
      key: 'rename-form',
      class: 'line',
      onsubmit: submitted(({name}) => act('rename', 'rename', {code: room.code, name}, () => (ui.isRenaming = false))),
    },
    h('input', {
      name: 'name',
      required: true,
      maxlength: '60',
      'aria-label': 'Your name',
      $value: room.state.you.name,
      focus: true,
    }),
    h('button', {type: 'submit', class: 'small'}, 'Save'),
    h('button', {key: 'cancel', type: 'button', class: 'small', onclick: () => rename(false)}, 'Cancel'),
    note('rename'),
  );
const hostJoins = () =>
  h(
    'form',
    {key: 'host-joins', class: 'line', onsubmit: submitted(({name}) => act('join', 'join', {code: room.code, name}))},
    h('span', null, 'You host this room.'),
    h('input', {
      name: 'name',
      required: true,
      maxlength: '60',
      'aria-label': 'Your name',
      placeholder: 'A name, to take part too',
    }),
    h('button', {type: 'submit', class: 'small'}, 'Take part'),
    note('join'),
  );

const names = () => new Map(room.state.room.people.map(each => [each.id, each.name]));
const chosen = activity => (ui.pending?.activity === activity.id ? ui.pending.choice : room.state.you.choice);
const choose = async (activity, choice) => {
  // Marked at once; what the lab counted replaces it. One that is pressed meanwhile is sent after the first.
  const isUnderWay = ui.pending;
  ui.pending = {activity, choice};
  if (isUnderWay) return;
  for (let sent; sent !== ui.pending;) {
    sent = ui.pending;
    await act('choose', 'choose', {code: room.code, ...sent});
  }
  ui.pending = null;
  draw();
};

const now = () => {
  const {room: shown, you} = room.state,
    {activity} = shown;
  if (!activity) return h('section', {key: 'now', class: 'now'}, waiting());
  const takesPart = Boolean(you.id);
  const look = {
    names: names(),
    me: you.id,
    own: chosen(activity),
    card: you.card ?? null,
    press: takesPart ? choice => choose(activity.id, choice) : null,
    width: innerWidth < 720 ? 360 : 720,
  };
  return h(
    'section',
    {key: `now-${activity.id}`, class: `now ${activity.kind}`, 'aria-label': KINDS[activity.kind]},
    h('p', {key: 'kind', class: 'kind'}, KINDS[activity.kind]),
    activity.kind === 'sweep' && takesPart && myCard(activity),
    activityView(shown, look),
    note('choose', ''),
    canReveal(activity) && h('p', {key: 'answered', class: 'quiet'}, answered(activity)),
  );
};
const answered = activity => {
  const {room: shown, you} = room.state;
  const many = `${activity.answered} of ${count(shown.people.length, 'person', 'people')} answered.`;
  return you.id ? `${many} You can choose again until the host reveals it.` : many;
};
const waiting = () => {
  const {room: shown, you} = room.state;
  return [
    h(
      'h2',
      {key: 'question', class: 'question'},
      you.host ? 'People can join now.' : 'You are in. Your host begins in a moment.',
    ),
    h(
      'p',
      {key: 'people', class: 'people-here'},
      shown.people.length
        ? shown.people.map(each =>
            h('span', {key: each.id, class: each.id === you.id ? 'person me' : 'person'}, each.name),
          )
        : 'Nobody is here yet.',
    ),
  ];
};

// The card of a sweep that is one's own, and how far its run is.
const myCard = activity => {
  const {room: shown, you} = room.state;
  const card = activity.cards[you.card];
  const run =
    card && shown.board.runs.findLast(each => you.runs.includes(each.run_id) && card.runs.includes(each.run_id));
  const start = () => act('card', 'start', {code: room.code, activity: activity.id});
  const another = () => act('card', 'start', {code: room.code, activity: activity.id, another: true});
  return h(
    'div',
    {key: 'my-card', class: 'my-card'},
    h(
      'div',
      null,
      h('p', {class: 'quiet'}, card ? 'Your card' : 'Take a card: each person trains one setting.'),
      card && h('p', {class: 'card-label'}, card.label),
    ),
    run
      ? h(
          'div',
          {class: 'card-state'},
          runParts(run, 'card'),
          run.status === 'finished' && startButton('Take another card', 'small', another, 'card'),
        )
      : startButton('Start', 'primary', start, 'card'),
  );
};
const startButton = (label, kind, start, key) =>
  room.state.you.can_start
    ? h(
        'div',
        {key: `start-${key}`},
        h('button', {type: 'button', class: kind, onclick: start}, label),
        note(key, 'Asking for a place …'),
      )
    : h('p', {key: `start-${key}`, class: 'quiet'}, 'On this Space a run uses your own GPU time: start it in the lab.');

// One's own runs

const mine = () => {
  const {room: shown, you} = room.state;
  const runs = (you.runs ?? []).map(id => shown.board.runs.find(run => run.run_id === id) ?? {run_id: id}).reverse();
  const start = () => act('own', 'start', {code: room.code});
  return h(
    'section',
    {key: 'mine', class: 'mine', 'aria-labelledby': 'mine-title'},
    h('h2', {id: 'mine-title'}, you.id ? 'Your runs' : 'The lab'),
    runs.length > 0 && h('ul', {key: 'runs', class: 'own-runs'}, runs.map(runItem)),
    h(
      'div',
      {key: 'lab', class: 'buttons'},
      h('a', {class: 'button', href: `./?${shown.lab}`}, 'Open the lab with this room’s settings'),
      you.id &&
        you.can_start &&
        shown.activity?.kind !== 'sweep' &&
        startButton('Start a run with the room’s settings', '', start, 'own'),
    ),
  );
};

const runItem = run => {
  const {you} = room.state;
  const isIn = you.handed_in === run.run_id;
  const query = encodeURIComponent(run.run_id);
  const key = `hand-${run.run_id}`;
  return h(
    'li',
    {key: run.run_id, class: 'own-run'},
    h(
      'p',
      {class: 'run-title'},
      h('b', null, run.status ? runTitle(run) : 'A run'),
      isIn && ' ',
      isIn && h('span', {class: 'mark'}, '✓ handed in'),
    ),
    run.status
      ? runParts(run, 'mine')
      : h('p', {class: 'quiet'}, 'Its state comes in a moment. A run on your own file is not shown here.'),
    h(
      'div',
      {class: 'buttons'},
      h('a', {href: `./?tab=compare&run=${query}`}, 'Open in the lab'),
      h('a', {href: `room/page?run=${query}`, download: 'run.html'}, 'Its page as a file'),
      !isIn &&
        h(
          'button',
          {
            key: 'hand',
            type: 'button',
            class: 'small',
            onclick: () => act(key, 'hand_in', {code: room.code, run: run.run_id}),
          },
          'Hand in',
        ),
    ),
    note(key, ''),
  );
};

// State, progress, score, and Evaluate once it has finished. `where`: the same run may be shown twice.
const runParts = (run, where) => {
  const key = `evaluate-${where}-${run.run_id}`;
  const {evaluation} = run;
  const isWaiting = evaluation && !evaluation.error;
  const [done, total] = evaluation?.total ? [evaluation.done, evaluation.total] : [run.step, run.total_steps];
  const isLive = isWaiting || ['queued', 'running', 'stopping'].includes(run.status);
  const score =
    run.bleu !== null &&
    `BLEU ${run.bleu.toFixed(1)}${run.ci ? ` (95% interval ${run.ci[0].toFixed(1)} to ${run.ci[1].toFixed(1)})` : ''}`;
  const mayEvaluate = run.status === 'finished' && run.bleu === null && !isWaiting;
  return [
    h('p', {key: 'state', class: 'run-state'}, (!isWaiting && score) || runState(run)),
    isLive && h('progress', {key: 'progress', max: total || 1, value: done || 0, 'aria-label': 'Progress'}),
    evaluation?.error && run.bleu === null && h('p', {key: 'fault', class: 'error'}, evaluation.error),
    mayEvaluate &&
      h(
        'button',
        {
          key: 'evaluate',
          type: 'button',
          class: where === 'card' ? 'primary' : 'small',
          onclick: () => act(key, 'evaluate', {code: room.code, run: run.run_id}),
        },
        'Evaluate',
      ),
    note(key, 'Asking for a place …'),
  ];
};

// The time that is left goes on without news of the room; a picture fits the width.
setInterval(() => room?.state && !document.hidden && draw(), 10_000);
addEventListener('resize', draw);

const code = cleanCode(new URLSearchParams(location.search).get('code'));
if (code) enter(code);
else {
  draw();
  desk.attempt('options', loadOptions);
}
