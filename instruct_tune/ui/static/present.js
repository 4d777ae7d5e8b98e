// The room on a projector: no form, keys only, and the same as clicks for a remote.
import {activityView, canReveal, KINDS} from './room_views.js';
import {
  actions,
  announcement,
  cleanCode,
  count,
  fill,
  flipTheme,
  follow,
  h,
  link,
  NO_ANSWER,
  qr,
  spaced,
} from './room_common.js';

const root = document.querySelector('#present'),
  announcer = document.querySelector('#announcer');
const STEERED = 'Only the browser of the room’s host steers.';
const ui = {notice: '', isHelpOpen: false};
const code = cleanCode(new URLSearchParams(location.search).get('code'));
let room = null,
  before = null,
  noticed;

const draw = () => {
  fill(root, page());
  document.title = room?.state ? `${room.state.room.title} · Present` : 'Present · Instruction-Tuning Lab';
};
const changed = () => {
  const now = room.state?.you && room.state.room;
  const news = room.over || announcement(before, now);
  if (news) announcer.textContent = news;
  before = now ?? before;
  draw();
};
const desk = actions(draw, () => room.refresh());

const say = text => {
  clearTimeout(noticed);
  ui.notice = text;
  noticed = setTimeout(() => say(''), 6000);
  draw();
};

// Steering

const steer = (action, values) => desk.act('steer', action, {code, ...values});
const reveal = () => {
  const {activity} = room.state.room;
  if (canReveal(activity)) steer('reveal', {activity: activity.id});
  else say('Nothing is there to reveal.');
};
const next = () => {
  const {activity, more} = room.state.room;
  if (canReveal(activity) && activity.answered > 0) steer('reveal', {activity: activity.id});
  else if (more) steer('begin', {});
  else say('Nothing more is prepared: add it in the host’s console.');
};
const hide = () => steer('rule', {changes: {names_hidden: !room.state.room.rules.names_hidden}});
const help = () => {
  ui.isHelpOpen = !ui.isHelpOpen;
  draw();
};

const KEYS = [
  {keys: ['ArrowRight', ' ', 'n'], shown: '→ Space n', text: 'Reveal, or next', work: next, steers: true},
  {keys: ['r'], shown: 'r', text: 'Reveal', work: reveal, steers: true},
  {keys: ['h'], shown: 'h', text: 'Hide names', work: hide, steers: true},
  {keys: ['d'], shown: 'd', text: 'Dark or light', work: flipTheme},
  {keys: ['?'], shown: '?', text: 'Keys', work: help},
];
const press = each => {
  if (!each.steers) return each.work();
  if (room?.over || !room?.state) return undefined;
  return room.state.you?.host ? each.work() : say(STEERED);
};
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  // Space on a button that has the focus presses that button.
  if (event.key === ' ' && event.target.closest('button')) return;
  const known = KEYS.find(each => each.keys.includes(event.key.length === 1 ? event.key.toLowerCase() : event.key));
  if (!known) return;
  event.preventDefault();
  press(known);
});

// Drawing

const page = () => {
  if (!code)
    return [
      message('No room is named', 'Open the present view from the host’s console, or add ?code= to the address.'),
    ];
  if (room.over) return [message(room.over, '')];
  if (!room.state) return [message('Looking for the room …', room.isAway ? NO_ANSWER : '')];
  const {activity} = room.state.room;
  return [header(), h('main', {key: 'main'}, activity ? current(activity) : invitation()), footer()];
};
const message = (title, text) =>
  h('main', {key: 'message', class: 'message'}, h('h1', null, title), text && h('p', null, text));

const header = () => {
  const {title, activity, people} = room.state.room;
  return h(
    'header',
    {key: 'header'},
    h('h1', null, title),
    activity &&
      h(
        'p',
        {key: 'room', class: 'corner'},
        people && h('span', null, count(people.length, 'person', 'people')),
        h('span', {class: 'address'}, shortAddress()),
        h('b', {class: 'corner-code'}, spaced(code)),
        qr(code),
      ),
  );
};

// What somebody who comes late types.
const shortAddress = () =>
  link('room', code)
    .replace(/^https?:\/\//, '')
    .replace(/\?.*/, '');

const invitation = () => {
  const {people} = room.state.room;
  return h(
    'section',
    {key: 'invitation', class: 'invitation'},
    qr(code),
    h(
      'div',
      null,
      h('p', {class: 'address'}, shortAddress()),
      h('p', {class: 'big-code', 'aria-label': `Code ${code.split('').join(' ')}`}, spaced(code)),
      people
        ? h(
            'p',
            {class: 'people'},
            people.length ? `${count(people.length, 'person is', 'people are')} here` : 'Nobody is here yet',
          )
        : h('p', {class: 'quiet'}, 'Join the room in this browser to see what it does.'),
    ),
  );
};

const current = activity => {
  const {room: shown} = room.state;
  const look = {
    names: new Map(shown.people.map(each => [each.id, each.name])),
    me: null,
    own: null,
    card: null,
    press: null,
    width: 600,
  };
  return h(
    'section',
    {
      key: activity.id,
      class: `now ${activity.kind}${activity.revealed ? ' revealed' : ''}`,
      'aria-label': KINDS[activity.kind],
    },
    h(
      'div',
      {key: 'line', class: 'kind-line'},
      h('p', {class: 'kind'}, KINDS[activity.kind]),
      canReveal(activity) &&
        h(
          'p',
          {key: 'answers', class: 'answers'},
          h('b', null, activity.answered),
          ` of ${count(shown.people.length, 'answer', 'answers')}`,
        ),
    ),
    activityView(shown, look),
  );
};

const footer = () => {
  const isHost = room.state.you?.host;
  const shown = KEYS.filter(each => isHost || !each.steers);
  const button = each =>
    h('button', {key: each.text, type: 'button', onclick: () => press(each)}, each.text, h('kbd', null, each.shown));
  return h(
    'footer',
    {key: 'footer'},
    h('p', {class: 'notice', role: 'status'}, room.isAway ? NO_ANSWER : ui.notice, desk.note('steer', '')),
    ui.isHelpOpen && !isHost && h('p', {key: 'steered'}, STEERED),
    h('div', {key: 'keys', class: ui.isHelpOpen ? 'keys open' : 'keys'}, shown.map(button)),
  );
};

if (code) room = follow(code, changed);
draw();
