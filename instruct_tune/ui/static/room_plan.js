// What a host adds to the plan, and the room's rules: forms, and the reading of what is typed into them.
import {field, h, post, submitted} from './room_common.js';

// Reading

const valueOf = text => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};
const lines = text =>
  text
    .split('\n')
    .map(each => each.trim())
    .filter(Boolean);
const pair = (text, sign, what) => {
  const at = text.indexOf(sign);
  const [name, value] = [text.slice(0, at).trim(), text.slice(at + 1).trim()];
  if (at < 1 || !name || !value) throw new Error(`“${text.slice(0, 60)}” is no ${what}.`);
  return [name, value];
};
// Commas inside a list's brackets are part of the value.
const OUTSIDE_BRACKETS = /,(?![^[{]*[\]}])/;

export const readCards = text =>
  lines(text).map(line => {
    // A label may be left out: then it is the settings.
    const [label, settings] = /^[^:]*=/.test(line)
      ? [line, line]
      : pair(line, ':', 'line “setting = value” or “label: setting = value, setting = value”');
    const pairs = settings.split(OUTSIDE_BRACKETS).filter(each => each.trim());
    return {label, settings: Object.fromEntries(pairs.map(each => readSetting(each.trim())))};
  });
const readSetting = text => {
  const [name, value] = pair(text, '=', 'setting “name = value”');
  return [name, valueOf(value)];
};
export const readSettings = text => Object.fromEntries(lines(text).map(readSetting));
export const readLocks = text => Object.fromEntries(lines(text).map(line => pair(line, ':', 'lock “name: lock”')));

// The preset, settings and locks in the address of a lab.
export const readLink = text => {
  const query = new URLSearchParams(text.includes('?') ? text.slice(text.indexOf('?') + 1).split('#')[0] : '');
  const under = prefix =>
    [...query].filter(([name]) => name.startsWith(prefix)).map(([name, value]) => [name.slice(prefix.length), value]);
  const found = {preset: query.get('preset'), settings: under('set.'), locks: under('lock.')};
  if (!found.preset && !found.settings.length && !found.locks.length) {
    throw new Error('This link has no preset=, set.NAME= or lock.NAME= in it: copy it from the lab.');
  }
  return found;
};

const shownValue = value => (typeof value === 'string' ? value : JSON.stringify(value));
const settingLines = settings =>
  Object.entries(settings)
    .map(([name, value]) => `${name} = ${shownValue(value)}`)
    .join('\n');
const lockLines = locks =>
  Object.entries(locks)
    .map(([name, lock]) => `${name}: ${lock}`)
    .join('\n');

// The plan

const EXAMPLE = ['1e-4', '5e-4', '2e-3', '5e-3', '1e-2', '2e-2']
  .map(rate => `${rate}: train.learning_rate = ${rate}`)
  .join('\n');

export const additions = context => {
  const {room, ui, desk, loadOptions} = context,
    {code} = room;
  const add = (key, action, values, form) => desk.act(key, action, {code, ...values}, () => form?.reset());
  // Runs that were evaluated meanwhile are offered, too.
  const opened = event => event.target.open && desk.attempt('options', loadOptions);
  const fold = (key, title, content) =>
    h('details', {key, name: 'add', ontoggle: opened}, h('summary', null, title), content);
  return h(
    'div',
    {key: 'additions', class: 'additions'},
    fold(
      'add-guess',
      'Add a guess',
      ui.options && guessForm(ui.options, desk, (values, form) => add('guess', 'guess', values, form)),
    ),
    fold(
      'add-blind',
      'Add a blind A/B',
      ui.options && blindForm(ui.options, desk, (values, form) => add('blind', 'blind', values, form)),
    ),
    fold('add-sweep', 'Add a sweep', sweepForm(code, desk)),
    fold('add-board', 'Add a board', boardButtons(code, desk)),
    desk.note('options', ''),
  );
};

const choice = (name, options) =>
  h(
    'select',
    {name, required: true},
    options.map(([value, text]) => h('option', {key: value, value}, text)),
  );

const guessForm = (options, desk, add) =>
  h(
    'form',
    {onsubmit: submitted(add)},
    field(
      'Experiment',
      choice(
        'experiment',
        options.experiments.map(each => [each.key, each.title]),
      ),
      'Measured with five seeds each.',
    ),
    h('button', {type: 'submit'}, 'Add the guess'),
    desk.note('guess'),
  );

const blindForm = (options, desk, add) =>
  options.runs.length
    ? h(
        'form',
        {onsubmit: submitted(add)},
        field(
          'Run',
          choice(
            'run',
            options.runs.map(each => [each.id, each.name]),
          ),
          'Runs that were evaluated.',
        ),
        field(
          'Question',
          h('textarea', {name: 'instruction', rows: '2', maxlength: '4000'}),
          'Empty: the next held-out row of its evaluation. A typed one is answered now, which takes a moment.',
        ),
        h('button', {type: 'submit'}, 'Add the blind A/B'),
        desk.note('blind', 'The two models answer …'),
      )
    : h('p', {class: 'quiet'}, 'No run is evaluated yet: evaluate one first.');

const sweepForm = (code, desk) => {
  const add = ({title, cards}, form) =>
    desk.attempt('sweep', async () => {
      await post('sweep', {code, title, cards: readCards(cards)});
      form.reset();
    });
  return h(
    'form',
    {onsubmit: submitted(add)},
    field(
      'Title',
      h('input', {
        name: 'title',
        required: true,
        maxlength: '60',
        autocomplete: 'off',
        $defaultValue: 'Which learning rate?',
      }),
    ),
    field(
      'Two to six settings, one a line',
      h('textarea', {
        name: 'cards',
        rows: '6',
        required: true,
        class: 'mono',
        spellcheck: 'false',
        $defaultValue: EXAMPLE,
      }),
      'setting = value, or label: setting = value, setting = value. Each is trained with two seeds.',
    ),
    h('button', {type: 'submit'}, 'Add the sweep'),
    desk.note('sweep'),
  );
};

const boardButtons = (code, desk) => {
  const button = (by, text) =>
    h('button', {key: by, type: 'button', onclick: () => desk.act('board', 'board', {code, by})}, text);
  return [h('div', {class: 'buttons'}, button('score', 'By score'), button('time', 'By seconds')), desk.note('board')];
};

// The rules

const form = {number: 0, base: null};

const FIELDS = {
  max_rows: ['Most rows of a run', {min: '1', max: '1000000', step: '1'}, 'Empty: no limit.'],
  max_steps: ['Most steps of a run', {min: '1', max: '1000000', step: '1'}, 'Empty: no limit.'],
  short_share: [
    'Short work, % of a training’s time',
    {min: '0', max: '100', step: '1', required: true},
    'Comparisons and questions, while somebody trains.',
  ],
  target: [
    'Target of the board by seconds',
    {min: '0', max: '100', step: 'any'},
    'A held-out loss. Empty: what all runs reach.',
  ],
};
const shownRule = (rules, name) => (name === 'short_share' ? Math.round(100 * rules.short_share) : (rules[name] ?? ''));
const readNumber = (name, text) => (text === '' ? null : name === 'short_share' ? Number(text) / 100 : Number(text));

// Only what was changed is sent: a rule that was changed elsewhere meanwhile stays.
const changesOf = (values, base) => {
  const typed = {
    preset: values.preset,
    settings: readSettings(values.settings),
    locks: readLocks(values.locks),
    ...Object.fromEntries(Object.keys(FIELDS).map(name => [name, readNumber(name, values[name])])),
  };
  return Object.fromEntries(
    Object.entries(typed).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(base[name])),
  );
};

export const rulesForm = context => {
  const {room, ui, desk, draw, loadOptions} = context;
  const begin = () => {
    form.number += 1;
    form.base = room.state.room.rules;
  };
  const opened = event => {
    if (!event.target.open) return;
    begin();
    desk.attempt('options', loadOptions);
    draw();
  };
  return h(
    'details',
    {key: 'rules', ontoggle: opened},
    h('summary', null, 'Change the rules'),
    form.base && ui.options && openRules(context, begin),
  );
};

const openRules = ({room, ui, desk}, begin) => {
  const {base} = form;
  const save = values =>
    desk.attempt('rules', async () => {
      await post('rule', {code: room.code, changes: changesOf(values, base)});
      await room.refresh();
      begin();
    });
  const paste = event => {
    const {elements} = event.target.form;
    desk.attempt('paste', async () => {
      const found = readLink(elements.link.value);
      if (found.preset) elements.preset.value = found.preset;
      elements.settings.value = found.settings.map(each => each.join(' = ')).join('\n');
      elements.locks.value = found.locks.map(each => each.join(': ')).join('\n');
      elements.link.value = '';
    });
  };
  const number = ([name, [label, limits, help]]) =>
    h(
      'div',
      {key: name},
      field(label, h('input', {name, type: 'number', ...limits, $value: shownRule(base, name)}), help),
    );
  const presets = ui.options.presets.map(each => [each.key, `${each.key}: ${each.note}`]);
  return h(
    'form',
    {key: form.number, class: 'rules', onsubmit: submitted(save)},
    field(
      'A lab’s link',
      h('input', {name: 'link', type: 'text', autocomplete: 'off', spellcheck: 'false'}),
      'Its preset, settings and locks are put into the boxes below.',
    ),
    h(
      'div',
      {key: 'read'},
      h('button', {type: 'button', class: 'small', onclick: paste}, 'Read the link'),
      desk.note('paste', ''),
    ),
    field(
      'Preset that runs begin with',
      h(
        'select',
        {name: 'preset', $value: base.preset},
        presets.map(([value, text]) => h('option', {key: value, value}, text)),
      ),
    ),
    field(
      'Settings, one a line',
      h('textarea', {
        name: 'settings',
        rows: '3',
        class: 'mono',
        spellcheck: 'false',
        $value: settingLines(base.settings),
      }),
      'train.learning_rate = 0.002',
    ),
    field(
      'Locks, one a line',
      h('textarea', {name: 'locks', rows: '3', class: 'mono', spellcheck: 'false', $value: lockLines(base.locks)}),
      'lora.r: fixed, or hidden, or 4..32, or 4|8|16',
    ),
    h('div', {key: 'numbers', class: 'boxes'}, Object.entries(FIELDS).map(number)),
    h('button', {type: 'submit'}, 'Save the rules'),
    desk.note('rules'),
  );
};
