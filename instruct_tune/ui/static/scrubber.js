/* global element, watch, make, unpacked */
// Everything is drawn from the value alone: a drag sends nothing to the lab.
const part = name => element.querySelector('.scrub-' + name);
const slider = element.querySelector('input'),
  now = part('now');
const KINDS = {'held-out': 'Held-out', training: 'Training row', own: 'Own prompt'};
let value,
  at = 0,
  prompt = 0,
  following = true;

const number = (amount, digits) => (amount === null || amount === undefined ? '–' : amount.toFixed(digits));
const shown = text => text || '(no text)';
const answer = (step, which) => step?.answers.find(each => each.prompt === which);
// The newest of the steps up to the current one that `has` something.
const upTo = has => value.steps.slice(0, at + 1).findLast(has);
// The words of a text, each with the white space before it.
const words = text => text.match(/\s*\S+|\s+$/g) ?? [];

// The new text, with the words that are not in the longest common subsequence of both marked.
const changed = (before, after) => {
  const a = words(before).slice(0, 400),
    b = words(after).slice(0, 400);
  const same = Array.from({length: a.length + 1}, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      same[i][j] = a[i].trim() === b[j].trim() ? same[i + 1][j + 1] + 1 : Math.max(same[i + 1][j], same[i][j + 1]);
    }
  }
  const parts = document.createDocumentFragment();
  let i = 0;
  b.forEach((word, j) => {
    while (i < a.length && a[i].trim() !== word.trim() && same[i + 1][j] >= same[i][j + 1]) {
      i++;
    }
    const kept = i < a.length && a[i].trim() === word.trim();
    if (kept) {
      i++;
    }
    parts.append(kept ? word : make('ins', '', word));
  });
  return parts;
};

const mark = () => {
  const chart = document.querySelector('#train-chart .loss-plot'),
    step = value.steps[at]?.step;
  if (!window.Plotly || !chart?.layout || chart.layout.uirevision !== value.run) {
    return;
  }
  const line = {
    type: 'line',
    name: 'scrub',
    x0: step,
    x1: step,
    y0: 0,
    y1: 1,
    yref: 'paper',
    line: {color: '#2563eb', width: 1.5, dash: 'dot'},
  };
  const others = (chart.layout.shapes ?? []).filter(shape => shape.name !== 'scrub');
  Plotly.relayout(chart, {shapes: step === undefined ? others : [...others, line]});
};

const drawNumbers = step => {
  // Of all steps that are planned: the newest one that was measured is not the end.
  const total = Math.max(value.total, value.steps.at(-1).step);
  part('step').textContent = `Step ${step.step} of ${total}`;
  slider.setAttribute(
    'aria-valuetext',
    `step ${step.step} of ${total}, held-out loss ${number(step.held_out_loss, 3)}`,
  );
  const numbers = [['held-out loss', number(step.held_out_loss, 3)]];
  if (value.steps.some(each => each.general_loss !== null)) {
    // It is measured at some of the steps.
    const measured = upTo(each => each.general_loss !== null);
    numbers.push([
      'general loss',
      number(measured?.general_loss, 3) + (measured && measured !== step ? ` (step ${measured.step})` : ''),
    ]);
  }
  if (value.steps.some(each => each.bleu !== null)) {
    numbers.push([
      value.bleu_rows ? `BLEU on ${value.bleu_rows} rows` : 'BLEU',
      number(step.bleu, 1) + (value.base_bleu === null ? '' : ` (base ${number(value.base_bleu, 1)})`),
    ]);
  }
  numbers.push(['learning rate', step.learning_rate === null ? '–' : step.learning_rate.toExponential(1)]);
  numbers.push(['tokens seen', step.tokens.toLocaleString('en')]);
  part('numbers').replaceChildren(
    ...numbers.map(([name, text]) => {
      const box = make('span', '', name + ' ');
      box.append(make('b', '', text));
      return box;
    }),
  );
};

const drawAnswer = step => {
  const question = value.prompts[prompt];
  part('body').hidden = !question;
  if (!question) {
    return;
  }
  part('question').textContent = question.instruction + (question.input ? '\n' + question.input : '');
  part('expected-side').hidden = question.expected === null;
  part('expected').textContent = shown(question.expected);
  const answered = upTo(each => answer(each, prompt)),
    text = answer(answered, prompt);
  const before = answer(
    value.steps.slice(0, value.steps.indexOf(answered)).findLast(each => answer(each, prompt)),
    prompt,
  );
  const box = part('answer');
  if (!text) {
    box.textContent = '(not asked by this step)';
  } else if (!before) {
    box.textContent = shown(text.text);
  } else {
    box.replaceChildren(changed(before.text, text.text));
  }
  part('title').textContent =
    `Answer at step ${(answered ?? step).step}` + (text && !text.ended ? ', cut at the limit' : '');
  part('note').textContent =
    before && text
      ? before.text === text.text
        ? 'The same as the answer before.'
        : 'Underlined: changed since the answer before.'
      : '';
};

const draw = () => {
  const step = value?.steps[at];
  element.querySelector('.scrubber').hidden = !step;
  part('nothing').hidden = !value || Boolean(step);
  if (!step) {
    part('nothing').textContent = value?.nothing ?? '';
    return;
  }
  slider.max = value.steps.length - 1;
  slider.value = at;
  now.hidden = !value.live || following;
  drawNumbers(step);
  drawAnswer(step);
  mark();
};

// The buttons are made anew: who was on one of them stays there.
const refill = (box, children) => {
  const place = [...box.children].indexOf(document.activeElement);
  box.replaceChildren(...children);
  box.children[place]?.focus();
};

const drawPrompts = () => {
  refill(
    part('prompts'),
    value.prompts.map((each, which) => {
      const words = each.instruction.replace(/\s+/g, ' ');
      const tab = make('button', '', `${KINDS[each.kind]}: ${words.length > 28 ? words.slice(0, 27) + '…' : words}`);
      tab.setAttribute('role', 'tab');
      tab.setAttribute('aria-selected', which === prompt);
      tab.addEventListener('click', () => {
        prompt = which;
        drawPrompts();
        draw();
      });
      return tab;
    }),
  );
  const names = {held_out_loss: 'held-out loss', general_loss: 'general loss', bleu: 'BLEU'};
  const best = Object.entries(value.best).filter(([, step]) => step !== null);
  refill(part('best'), [
    ...(best.length ? ['Best by'] : []),
    ...best.map(([name, step]) => {
      const button = make('button', '', `${names[name]}: step ${step}`);
      button.addEventListener('click', () => {
        go(value.steps.findIndex(each => each.step === step));
      });
      return button;
    }),
  ]);
};

const go = place => {
  at = Math.min(Math.max(place, 0), value.steps.length - 1);
  following = at === value.steps.length - 1;
  draw();
};
slider.addEventListener('input', () => go(+slider.value));
now.addEventListener('click', () => go(value.steps.length - 1));
// A replay moves the slider, to the last step that was measured by then.
const seek = step => go(value.steps.findLastIndex(each => each.step <= step));
element.addEventListener('seek', event => {
  if (value) {
    seek(event.detail);
  }
});

const update = () => {
  const next = unpacked();
  if (!next) {
    return;
  }
  const other = next.run !== value?.run;
  value = next;
  if (other) {
    prompt = 0;
    following = true;
  }
  if (prompt >= value.prompts.length) {
    prompt = 0;
  }
  if (following) {
    at = Math.max(value.steps.length - 1, 0);
  }
  drawPrompts();
  // A replay may have begun before the run's steps came.
  const replay = window.labReplay;
  if (replay?.run === value.run && Number.isInteger(replay.drawn)) {
    seek(replay.drawn);
  } else {
    draw();
  }
};
// The chart draws its figure anew at each poll, without the line.
document.querySelector('#train-chart')?.addEventListener('drawn', () => {
  if (value) {
    mark();
  }
});
watch('value', update);
update();
