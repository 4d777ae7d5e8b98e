// The panel Learn; the page imports it when the panel is opened first.
const decoded = packed => JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(packed), c => c.charCodeAt(0))));
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text ?? '';
  return made;
};
// What the visitor's link asks for: a name, or the content of an address.
let isStepTaken = false;
export const wanted = async (kept, mostBytes) => {
  const query = new URLSearchParams(location.search);
  const name = query.get('path') || '';
  // Who opens the panel again goes on where they were.
  const step = isStepTaken ? 0 : Number(query.get('step') || 0);
  isStepTaken = true;
  const request = found => [{...kept, wanted: {name, step, ...found}}];
  if (!name.includes(':')) return request({});
  if (!name.startsWith('https://')) return request({fault: 'only https addresses are opened'});
  // By the browser and without cookies: the lab's server opens no address that a visitor chose.
  const options = {credentials: 'omit', referrerPolicy: 'no-referrer', redirect: 'error'};
  try {
    const answer = await fetch(name, {...options, signal: AbortSignal.timeout(10000)});
    if (!answer.ok) return request({fault: `the address answers ${answer.status}`});
    const reader = answer.body.getReader();
    let content = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      content += Array.from(part.value, byte => String.fromCharCode(byte)).join('');
      if (content.length > mostBytes) {
        await reader.cancel();
        return request({fault: `it is larger than ${mostBytes} bytes`});
      }
    }
    return request({content: btoa(content), host: new URL(name).host});
  } catch {
    return request({fault: 'there was no answer within 10 s that this page may read'});
  }
};
export default (element, props, watch) => {
  const find = name => element.querySelector(name);
  const SKIP = {__type__: 'update'},
    MOST_WAITED = 8000;
  const same = (one, other) => String(one ?? '') === String(other ?? '');
  const panel = element.closest('#path');
  const heading = find('h2'),
    opener = document.querySelector('#path-open');
  let path,
    at = 0,
    // By the index of a control: its value before, and the one that Show me set.
    shown = new Map(),
    isShown = false,
    // Whether the last undoing left something as the visitor had changed it.
    isOwn = false,
    folds = [],
    waiting,
    // What the next click of #path-apply does.
    pending;

  // Text of others is text; **bold** and `code` are the only marks.
  const written = (tag, name, text) => {
    const made = make(tag, name);
    text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).forEach(part => {
      if (/^\*\*[^*]+\*\*$/.test(part)) made.append(make('strong', '', part.slice(2, -2)));
      else if (/^`[^`]+`$/.test(part)) made.append(make('code', '', part.slice(1, -1)));
      else made.append(part);
    });
    return made;
  };
  const step = () => path.steps[at];
  const announce = text => {
    find('.announced').textContent = text;
  };
  const draw = () => {
    if (!props.value?.packed) return;
    path = decoded(props.value.packed);
    at = path.at;
    const number = each => `Step ${each + 1} of ${path.steps.length}`;
    find('.of').replaceChildren(...path.steps.map((each, index) => new Option(`${number(index)}: ${each.title}`)));
    show();
  };
  const show = () => {
    const now = step();
    find('.of').selectedIndex = at;
    const origin = [path.title, path.origin].filter(Boolean).join(' · ');
    find('.origin').textContent = path.fault || origin;
    heading.textContent = now.title;
    find('.said').replaceChildren(...now.text.map(text => written('p', '', text)));
    find('.task').replaceWith(written('p', 'task', now.task));
    find('.backward').disabled = !at;
    find('.forward').disabled = at + 1 === path.steps.length;
    notice();
    describe();
  };
  // The button, and what it has set and marked in words.
  const describe = () => {
    const undo = step().sets.length ? 'Put it back' : 'Hide the marks';
    find('.demo').textContent = isShown ? undo : 'Show me';
    const place = find('.shown');
    place.replaceChildren();
    if (isOwn) place.append(make('p', '', 'What you changed yourself stays as it is.'));
    if (!isShown) return;
    const set = step().sets.map(([, , words]) => words);
    place.append(make('p', '', `Open: ${step().tab}.${set.length ? ` Set for you: ${set.join('; ')}.` : ''}`));
    const list = make('ul', '');
    step().places.forEach(each => {
      const go = make('button', 'go', each.words);
      go.type = 'button';
      const item = make('li', ''),
        missing = make('span', 'missing');
      go.addEventListener('click', async () => {
        missing.textContent = '';
        if (!(await reach(each, true))) missing.textContent = ' is not there yet';
      });
      item.append(go, missing);
      list.append(item);
    });
    if (step().places.length) place.append(make('p', '', 'Marked on the page; a click goes there:'), list);
  };
  // The last sentence that arrived, where it is about this step.
  const notice = () => {
    const last = window.labPathNotice;
    const text = last?.at === at ? last.text : '';
    const place = find('.noticed');
    if (place.textContent !== text) place.textContent = text;
  };

  // Folds and marks. A rule of a style sheet marks what is drawn later, too, and changes no element.
  const marks = document.querySelector('#path-marks') || document.head.appendChild(make('style', ''));
  marks.id = 'path-marks';
  const mark = places => {
    const ids = places.map(each => `#${CSS.escape(each.id)}`);
    const rule = 'outline: 3px solid var(--path-mark) !important; outline-offset: 2px;';
    // The panel covers the lower part of a narrow screen.
    const margin = matchMedia('(min-width: 1180px)').matches ? '16px' : '16px 0 48dvh';
    // In a row of boxes the next one would be drawn over it.
    const inside = ids.map(id => `.show .form > ${id} { outline-offset: -3px !important; }`).join('\n');
    marks.textContent = ids.length ? `${ids.join(', ')} { ${rule} scroll-margin: ${margin}; }\n${inside}` : '';
  };
  const isOpen = fold =>
    fold.querySelector(':scope > .label-wrap, :scope > * > .label-wrap')?.classList.contains('open');
  const toggle = fold => fold.querySelector('.label-wrap').click();
  const frames = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const arrived = async (id, until, token) => {
    for (;;) {
      const found = document.getElementById(id);
      if (found?.offsetParent) return found;
      if (performance.now() > until || token !== waiting) return null;
      await frames();
    }
  };
  const reach = async (place, focus) => {
    const until = performance.now() + MOST_WAITED,
      token = waiting;
    for (const id of place.folds) {
      const fold = await arrived(id, until, token);
      if (!fold) return false;
      if (isOpen(fold)) continue;
      folds.unshift(fold);
      // A fold that is drawn at this moment does not hear a click yet.
      for (let tries = 0; !isOpen(fold) && tries < 5; tries++) {
        toggle(fold);
        for (let waits = 0; !isOpen(fold) && waits < 10; waits++) await frames();
      }
    }
    const found = await arrived(place.id, until, token);
    if (!found) return false;
    found.scrollIntoView({block: focus ? 'center' : 'nearest'});
    if (!focus) return true;
    const control = found.matches('button, input')
      ? found
      : found.querySelector('input, textarea, select, button, [tabindex]');
    if (!control) found.tabIndex = -1;
    (control || found).focus();
    return true;
  };

  // The controls are set by gradio's own event of #path-apply, so the page and the lab agree.
  const act = action => {
    pending = action;
    waiting = {};
    at = action.go ?? at;
    isShown = Boolean(action.shows);
    isOwn = false;
    document.querySelector('#path-apply').click();
  };
  const apply = ([kept, ...values]) => {
    const now = [...values],
      tabs = Array(path.tabs).fill(SKIP);
    // What was changed by hand since stays.
    shown.forEach(({before, set}, index) => {
      if (same(values[index], set)) now[index] = before;
      else isOwn = true;
    });
    shown = new Map();
    if (pending.undoes) {
      announce(isOwn ? 'Put back, except what you changed yourself.' : 'Put back.');
      describe();
    }
    folds.filter(isOpen).forEach(toggle);
    folds = [];
    if (pending.shows) {
      step().tabs.forEach(([index, selected]) => {
        tabs[index] = {...SKIP, selected};
      });
      step().sets.forEach(([index, steps]) => {
        // A teacher's lock on the setting holds in the path, too.
        const set = window.labLimits?.allowed(path.names[index], steps) ?? steps;
        if (same(now[index], set)) return;
        shown.set(index, {before: now[index], set});
        now[index] = set;
      });
    }
    mark(isShown ? step().places : []);
    if (isShown) reveal();
    const {closes} = pending;
    return [
      {...kept, step: at, open: !closes},
      closes ? {...SKIP, visible: false} : SKIP,
      {...SKIP, value: at ? `Learn \u00b7 ${at + 1}` : 'Learn'},
      ...tabs,
      ...now.map((value, index) => (value === values[index] ? SKIP : value)),
    ];
  };
  const reveal = async () => {
    const {places, results, tab, sets} = step();
    announce(`Opened ${tab}${sets.length ? `, set ${sets.map(([, , words]) => words).join('; ')}` : ''}.`);
    // Where the panes stand below each other only one place is in sight: the result.
    const wide = matchMedia('(min-width: 900px)').matches;
    const results_ = places.slice(0, results),
      controls = places.slice(results);
    for (const each of wide || !results ? [...controls.reverse(), ...results_.reverse()] : results_.slice(0, 1)) {
      await reach(each);
    }
    // On a phone the panel shows a few lines: the next thing to read is what to do.
    if (!wide) panel.scrollTop = find('.task').offsetTop - panel.clientHeight / 4;
  };
  let looking;
  const look = () => {
    clearTimeout(looking);
    // Rows and tokens that a change needs may take a moment.
    looking = setTimeout(() => {
      document.querySelector('#path-look')?.click();
      looking = setTimeout(() => document.querySelector('#path-look')?.click(), 3000);
    }, 400);
  };
  const go = to => {
    act({go: to});
    show();
    heading.focus();
    announce(`Step ${at + 1} of ${path.steps.length}: ${step().title}`);
    look();
  };
  const close = () => {
    clearTimeout(looking);
    act({closes: true});
    opener.focus();
  };
  find('.of').addEventListener('change', event => go(event.target.selectedIndex));
  find('.backward').addEventListener('click', () => go(at - 1));
  find('.forward').addEventListener('click', () => go(at + 1));
  find('.close').addEventListener('click', close);
  find('.demo').addEventListener('click', () => {
    act({shows: !isShown, undoes: isShown});
    describe();
    look();
  });
  panel.addEventListener('keydown', event => {
    if (event.key === 'Escape') close();
  });
  panel.setAttribute('role', 'complementary');
  panel.setAttribute('aria-label', 'Learn');

  window.labPath = {
    apply,
    // The visitor's own value of a setting.
    own: (name, value) => {
      const index = path ? path.names.indexOf(name) : -1;
      const set = shown.get(index);
      return set && same(value, set.set) ? set.before : value;
    },
    forget: () => {
      shown = new Map();
    },
    formChanged: () => {
      if (element.isConnected) look();
    },
    notice: value => {
      window.labPathNotice = value?.packed ? decoded(value.packed) : null;
      if (path) notice();
    },
  };
  watch('value', draw);
  draw();
  if (path && !window.labPathOpensItself) heading.focus();
  window.labPathOpensItself = false;
};
