// The host's console: what comes next, the invitation, the plan, the people, the rules, and the end.
import {count, field, get, h, link, qr, spaced, submitted} from './room_common.js';
import {canReveal, histogram, KINDS} from './room_views.js';
import {additions, rulesForm} from './room_plan.js';

const own = {renaming: '', isEnding: false, isCopied: false};

// What the host presses in class, above everything else.
export const steering = context => {
  const {room, desk} = context,
    {code} = room,
    {room: shown, you} = room.state,
    {activity} = shown;
  const next = you.prepared.find(each => !each.begun),
    revealable = canReveal(activity);
  const isRevealNext = revealable && activity.answered > 0;
  return h(
    'section',
    {key: 'steering', class: 'steering', 'aria-label': 'What comes next'},
    revealable && [
      h(
        'p',
        {key: 'counts', class: 'quiet'},
        `For you alone: ${activity.answered} of ${count(shown.people.length, 'person', 'people')} answered.`,
      ),
      histogram(activity.choices, you.counts, {}),
    ],
    h(
      'div',
      {key: 'buttons', class: 'buttons'},
      revealable &&
        h(
          'button',
          {
            key: 'reveal',
            type: 'button',
            class: isRevealNext ? 'primary' : '',
            onclick: () => desk.act('steer', 'reveal', {code, activity: activity.id}),
          },
          'Reveal',
        ),
      next &&
        h(
          'button',
          {
            key: 'next',
            type: 'button',
            class: isRevealNext ? 'next' : 'primary next',
            onclick: () => desk.act('steer', 'begin', {code, activity: next.id}),
          },
          `Next: ${KINDS[next.kind].toLowerCase()}, ${next.title}`,
        ),
      h('a', {key: 'present', class: 'button', href: link('present', code), target: '_blank'}, 'Present view'),
    ),
    !next && h('p', {key: 'none', class: 'quiet'}, 'Nothing more is prepared: add to the plan.'),
    desk.note('steer', ''),
  );
};

export const hostConsole = context => [
  invitation(context),
  plan(context),
  people(context),
  rules(context),
  ending(context),
];

const part = (key, title, ...children) =>
  h('section', {key, 'aria-labelledby': `${key}-title`}, h('h2', {id: `${key}-title`}, title), ...children);

const invitation = ({room, draw}) => {
  const {code} = room,
    target = link('room', code);
  const copy = async () => {
    await navigator.clipboard.writeText(target);
    own.isCopied = true;
    draw();
  };
  const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
  return part(
    'invitation',
    'Invite',
    h(
      'div',
      {class: 'invitation'},
      qr(code),
      h(
        'div',
        null,
        h('p', {class: 'big-code'}, spaced(code)),
        h('p', {class: 'address'}, h('a', {href: target}, target)),
        // Only pages with a secure address may write there.
        navigator.clipboard &&
          h('button', {type: 'button', class: 'small', onclick: copy}, own.isCopied ? 'Copied' : 'Copy the link'),
      ),
    ),
    isLocal &&
      h(
        'p',
        {class: 'quiet'},
        'This address works on this computer alone. Start the lab with --host 0.0.0.0, and open it by this computer’s name in your network.',
      ),
  );
};

const plan = context => {
  const {room, desk} = context,
    {code} = room,
    {room: shown, you} = room.state;
  const next = you.prepared.find(each => !each.begun);
  const item = each => {
    const isNow = shown.activity?.id === each.id;
    const state = isNow ? 'now' : each.begun ? 'done' : each === next ? 'next' : '';
    const key = `plan-${each.id}`;
    const title = `${KINDS[each.kind]}: ${each.title}`;
    return h(
      'li',
      {key: each.id, class: `activity ${state}`},
      h(
        'span',
        {class: 'activity-title'},
        h('b', null, KINDS[each.kind]),
        ` ${each.title}`,
        state && ' ',
        state && h('span', {class: 'mark'}, state),
      ),
      h(
        'span',
        {class: 'buttons'},
        !isNow &&
          h(
            'button',
            {
              key: 'begin',
              type: 'button',
              class: 'small',
              'aria-label': `Begin ${title}`,
              onclick: () => desk.act(key, 'begin', {code, activity: each.id}),
            },
            each.begun ? 'Show again' : 'Begin',
          ),
        !each.begun &&
          each !== you.prepared[0] &&
          h(
            'button',
            {
              key: 'up',
              type: 'button',
              class: 'small',
              'aria-label': `Move up ${title}`,
              onclick: () => desk.act(key, 'move_up', {code, activity: each.id}),
            },
            'Move up',
          ),
        !each.begun &&
          h(
            'button',
            {
              key: 'drop',
              type: 'button',
              class: 'small',
              'aria-label': `Drop ${title}`,
              onclick: () => desk.act(key, 'drop', {code, activity: each.id}),
            },
            'Drop',
          ),
      ),
      desk.note(key, ''),
    );
  };
  return part('plan', 'Plan', h('ol', {class: 'plan'}, you.prepared.map(item)), additions(context));
};

const people = context => {
  const {room, desk, draw} = context,
    {code} = room,
    {room: shown, you} = room.state;
  const hidden = shown.rules.names_hidden;
  const rename = id => {
    own.renaming = id;
    draw();
  };
  const person = each => {
    const name = you.names[each.id] ?? each.name;
    const key = `person-${each.id}`;
    const send = values =>
      desk.act(key, 'rename', {code, person: each.id, name: values.name}, () => (own.renaming = ''));
    const form = () =>
      h(
        'form',
        {key: 'form', class: 'line', onsubmit: submitted(send)},
        h('input', {
          name: 'name',
          required: true,
          maxlength: '60',
          'aria-label': `New name of ${name}`,
          $value: name,
          focus: true,
        }),
        h('button', {type: 'submit', class: 'small'}, 'Save'),
        h('button', {key: 'cancel', type: 'button', class: 'small', onclick: () => rename('')}, 'Cancel'),
      );
    const line = () => [
      h(
        'span',
        {key: 'name', class: 'person-name'},
        name,
        hidden && h('span', {class: 'quiet'}, ` shown as ${each.name}`),
      ),
      h(
        'span',
        {key: 'buttons', class: 'buttons'},
        h(
          'button',
          {
            key: 'rename',
            type: 'button',
            class: 'small',
            'aria-label': `Rename ${name}`,
            onclick: () => rename(each.id),
          },
          'Rename',
        ),
        h(
          'button',
          {
            key: 'remove',
            type: 'button',
            class: 'small',
            'aria-label': `Remove ${name}`,
            onclick: () => desk.act(key, 'remove', {code, person: each.id}),
          },
          'Remove',
        ),
      ),
    ];
    return h('li', {key: each.id}, own.renaming === each.id ? form() : line(), desk.note(key, ''));
  };
  const toggle = () => desk.act('hide', 'rule', {code, changes: {names_hidden: !hidden}});
  return part(
    'people',
    `People (${shown.people.length})`,
    shown.people.length > 0
      ? h('ul', {class: 'people'}, shown.people.map(person))
      : h('p', {class: 'quiet'}, 'Nobody has joined yet.'),
    h(
      'button',
      {key: 'hide', type: 'button', class: 'small', 'aria-pressed': String(hidden), onclick: toggle},
      'Show numbers instead of names',
    ),
    desk.note('hide', ''),
  );
};

const rules = context =>
  part('rules', 'Rules', h('p', {class: 'quiet'}, rulesSentence(context.room.state.room.rules)), rulesForm(context));

const rulesSentence = ({preset, settings, locks, max_rows: rows, max_steps: steps, short_share: share}) => {
  const limits = [rows && `at most ${count(rows, 'row')}`, steps && `at most ${count(steps, 'step')}`].filter(Boolean);
  const changes = [
    Object.keys(settings).length && count(Object.keys(settings).length, 'setting'),
    Object.keys(locks).length && count(Object.keys(locks).length, 'lock'),
  ].filter(Boolean);
  return `Runs begin with ${preset}${changes.length ? `, ${changes.join(' and ')}` : ''}${limits.length ? `; ${limits.join(' and ')}` : ''}. Short work has ${Math.round(100 * share)}% of a training’s time.`;
};

const ending = context => {
  const {room, desk, draw} = context,
    {code} = room;
  const ask = isEnding => {
    own.isEnding = isEnding;
    draw();
  };
  const download = () =>
    desk.attempt('csv', async () => {
      const address = URL.createObjectURL(await (await get(`handed_in?code=${encodeURIComponent(code)}`)).blob());
      const anchor = Object.assign(document.createElement('a'), {href: address, download: `room-${code}.csv`});
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    });
  const extend = ({minutes}) => desk.act('extend', 'extend', {code, minutes: Number(minutes)});
  return part(
    'ending',
    'Hand-in and end',
    h(
      'div',
      {class: 'buttons'},
      h('button', {key: 'csv', type: 'button', onclick: download}, 'Download the hand-in (CSV)'),
    ),
    desk.note('csv', ''),
    h(
      'form',
      {key: 'extend', class: 'line', onsubmit: submitted(extend)},
      field(
        'Minutes from now',
        h('input', {name: 'minutes', type: 'number', min: '1', max: '1440', required: true, $value: '45'}),
      ),
      h('button', {type: 'submit', class: 'small'}, 'Let it end then'),
    ),
    desk.note('extend', ''),
    !own.isEnding &&
      h('button', {key: 'end', type: 'button', class: 'danger', onclick: () => ask(true)}, 'End the room'),
    own.isEnding &&
      h(
        'div',
        {key: 'sure', class: 'sure', role: 'group', 'aria-label': 'End the room?'},
        h(
          'p',
          null,
          'End it for everybody? Names, choices and this plan are removed; runs stay. Download the hand-in first.',
        ),
        h(
          'div',
          {class: 'buttons'},
          h(
            'button',
            {key: 'yes', type: 'button', class: 'danger', onclick: () => desk.act('end', 'end', {code})},
            'End it for everybody',
          ),
          h('button', {key: 'no', type: 'button', focus: true, onclick: () => ask(false)}, 'Keep it open'),
        ),
      ),
    desk.note('end', ''),
  );
};
