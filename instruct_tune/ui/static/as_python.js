// The lines of a tab as Python: a control lights its lines, and a click on a line goes to its control.
/* global element, props, watch, make, unpacked */
const list = element.querySelector('.python-lines'),
  fault = element.querySelector('.python-fault'),
  copy = element.querySelector('.python-copy');
let content = {};
// A string or a comment; all else has the text's own colour.
const WORDS = /("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(#.*$)/g;
const painted = text => {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(WORDS)) {
    parts.push(text.slice(from, found.index), make('span', found[1] ? 'python-text' : 'python-note', found[0]));
    from = found.index + found[0].length;
  }
  return [...parts, text.slice(from)];
};
const line = ([text, settings]) => {
  const row = make('div', 'python-line');
  row.append(...painted(text));
  const known = settings.filter(name => content.places[name]);
  if (known.length) {
    row.dataset.settings = known.join(' ');
    row.classList.add('carries');
    row.tabIndex = 0;
    row.setAttribute('role', 'button');
    row.title = 'Go to its control';
  }
  return row;
};
const draw = () => {
  const value = unpacked();
  if (!value) {
    return;
  }
  fault.textContent = value.fault || '';
  // The lines before the fault stay, and lead to their controls.
  if (value.fault) {
    return;
  }
  content = value;
  const top = list.scrollTop;
  const sections = value.sections.map(section => {
    const block = make('section', '');
    block.append(make('h4', '', section.title), ...section.lines.map(line));
    return block;
  });
  list.replaceChildren(...sections);
  list.scrollTop = top;
  light(document.activeElement);
};
// Lights the lines of the control that holds `reached`.
const light = reached => {
  const names = Object.entries(content.places || {})
    .filter(([, place]) => reached && document.getElementById(place.id)?.contains(reached))
    .map(([name]) => name);
  const rows = [...list.querySelectorAll('.carries')];
  rows.forEach(row =>
    row.classList.toggle(
      'lit',
      row.dataset.settings.split(' ').some(name => names.includes(name)),
    ),
  );
  const first = rows.find(row => row.classList.contains('lit'));
  if (first) {
    // Only the list scrolls: the page stays where the person works.
    list.scrollTop += first.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3;
  }
};
const touched = event => {
  if (!element.isConnected) {
    document.removeEventListener('focusin', touched);
    document.removeEventListener('pointerdown', touched);
  } else if (!element.contains(event.target)) {
    light(event.target);
  }
};
document.addEventListener('focusin', touched);
document.addEventListener('pointerdown', touched);
const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
const frame = () => new Promise(done => requestAnimationFrame(done));
// The element, once it is drawn: a tab that was just opened is drawn a moment later.
const arrived = async id => {
  const until = performance.now() + 5000;
  while (performance.now() < until) {
    const found = document.getElementById(id);
    if (found?.offsetParent) {
      return found;
    }
    await frame();
  }
  return null;
};
const reach = async place => {
  for (const name of place.tabs) {
    const tab = [...document.querySelectorAll('[role=tab]')].find(each => each.innerText.trim() === name);
    if (tab?.ariaSelected === 'false') {
      tab.click();
    }
  }
  for (const id of place.folds) {
    const button = (await arrived(id))?.querySelector('.label-wrap');
    // A fold that is drawn at this moment does not hear a click yet.
    for (let tries = 0; button && !button.classList.contains('open') && tries < 20; tries++) {
      button.click();
      await pause(100);
    }
  }
  const control = await arrived(place.id);
  if (!control) {
    return;
  }
  control.scrollIntoView({block: 'center'});
  control.querySelector('input, textarea, select, button')?.focus();
  control.classList.add('reached');
  setTimeout(() => control.classList.remove('reached'), 2500);
};
const go = event => {
  const row = event.target.closest('.carries');
  // A selection is a copy in the making.
  if (row && !String(getSelection())) {
    reach(content.places[row.dataset.settings.split(' ')[0]]);
  }
};
list.addEventListener('click', go);
list.addEventListener('keydown', event => {
  if (event.target !== list && (event.key === 'Enter' || event.key === ' ')) {
    event.preventDefault();
    go(event);
  }
});
// Without https the browser has no clipboard for pages, but copies what is selected.
const copied = async text => {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const box = element.appendChild(make('textarea', ''));
  box.value = text;
  box.select();
  document.execCommand('copy');
  box.remove();
};
copy.addEventListener('click', async () => {
  const text = (content.sections || [])
    .map(section => [`# ${section.title}`, ...section.lines.map(each => each[0])].join('\n'))
    .join('\n\n');
  await copied(text);
  copy.textContent = 'Copied';
  setTimeout(() => {
    copy.textContent = 'Copy';
  }, 2000);
});
// While the fold is open, ask for the lines a moment after a change, and once more when a preset has filled the form.
let soon, later;
const refresh = () => {
  if (element.offsetParent) {
    element.closest('.as-python').querySelector('[id$=-python-refresh]').click();
  }
};
const changed = event => {
  // The script's own click is none of a person.
  if (!element.isConnected) {
    ['input', 'click'].forEach(name => document.removeEventListener(name, changed));
  } else if (event.isTrusted && element.offsetParent && !element.contains(event.target)) {
    clearTimeout(soon);
    clearTimeout(later);
    soon = setTimeout(refresh, 400);
    later = setTimeout(refresh, 2500);
  }
};
['input', 'click'].forEach(name => document.addEventListener(name, changed));
watch('value', draw);
draw();
