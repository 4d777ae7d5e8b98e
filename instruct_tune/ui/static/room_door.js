// Before one is in a room: join one, or open one.
import {cleanCode, field, h, isKept, post, submitted} from './room_common.js';

export const nameBox = (value = '') =>
  h('input', {name: 'name', required: true, maxlength: '60', autocomplete: 'nickname', $value: value});
export const forgets = () =>
  !isKept &&
  h('p', {key: 'forgets', class: 'error'}, 'This browser keeps nothing for this page: a reload forgets who you are.');

export const door = context => [
  h(
    'main',
    {key: 'door', class: 'narrow door'},
    h('h1', null, 'A room of the Instruction-Tuning Lab'),
    h(
      'section',
      {key: 'join', 'aria-labelledby': 'join-title'},
      h('h2', {id: 'join-title'}, 'Join a room'),
      joinForm(context),
      forgets(),
    ),
    h(
      'section',
      {key: 'open', 'aria-labelledby': 'open-title'},
      h('h2', {id: 'open-title'}, 'Open a room'),
      openForm(context),
    ),
    h('p', {key: 'lab'}, h('a', {href: './'}, 'To the lab itself')),
  ),
];

const joinForm = ({desk, enter}) =>
  h(
    'form',
    {
      key: 'join-form',
      onsubmit: submitted(({code, name}) => {
        const clean = cleanCode(code);
        desk.act('join', 'join', {code: clean, name}, () => enter(clean));
      }),
    },
    h(
      'div',
      {class: 'boxes'},
      field(
        'Code',
        h('input', {
          name: 'code',
          class: 'code-box',
          required: true,
          maxlength: '20',
          autocomplete: 'off',
          autocapitalize: 'characters',
          spellcheck: 'false',
        }),
      ),
      field('Your name', nameBox(), 'The others in the room see it.'),
    ),
    h('button', {type: 'submit', class: 'primary'}, 'Join'),
    desk.note('join'),
  );

const openForm = context => {
  const {desk, ui} = context,
    {options} = ui;
  if (!options) return [desk.note('options', 'Asking the lab …')];
  if (!options.may_open && !options.by_token)
    return [h('p', {key: 'no'}, 'Somebody hosts a room here already: join it with its code.')];
  const token = options.by_token && !options.may_open;
  return h(
    'form',
    {key: 'open-form', onsubmit: submitted(values => open(context, values))},
    h(
      'div',
      {class: 'boxes'},
      field(
        'Title',
        h('input', {
          name: 'title',
          required: true,
          maxlength: '80',
          autocomplete: 'off',
          placeholder: 'Monday, 10 o’clock',
        }),
      ),
      field(
        'Minutes',
        h('input', {name: 'minutes', type: 'number', required: true, min: '1', max: '1440', $value: '90'}),
        'Then it ends, and all that people typed is removed.',
      ),
      token &&
        field(
          'The host’s token',
          h('input', {name: 'token', type: 'password', required: true, autocomplete: 'off'}),
          'What the lab was started with as LAB_ADMIN_TOKEN.',
        ),
    ),
    h('button', {type: 'submit', class: 'primary'}, 'Open a room'),
    desk.note('open'),
  );
};

// A new room begins with a small plan, in this order.
const plan = async (code, experiments) => {
  const measured = new Set(experiments.map(each => each.key));
  for (const experiment of FIRST_GUESSES.filter(key => measured.has(key))) {
    // oxlint-disable-next-line no-await-in-loop
    await post('guess', {code, experiment});
  }
  await post('board', {code, by: 'score'});
};
const FIRST_GUESSES = ['rate-high', 'rank'];
const open = ({ui, desk, enter}, {title, minutes, token}) =>
  desk.attempt('open', async () => {
    const {code} = await post('open', {title, minutes: Number(minutes), ...(token && {token})});
    try {
      await plan(code, ui.options.experiments);
    } finally {
      // The room is open, whatever its plan lacks.
      enter(code);
    }
  });
