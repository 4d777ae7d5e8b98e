// What the room's pages share: drawing, the visitor's secret, requests, polling, and words for times and counts.

// Drawing. A page describes what it wants to show, and `fill` changes only what differs, so that focus and typed text
// stay. Texts become text nodes, never markup.

const SVG = 'http://www.w3.org/2000/svg';

// A wanted element. Props: `key` tells it from others of its tag; `on…` are listeners; `css` are style properties; names
// with `$` are properties that only a new element gets; `focus` lets a new one take the focus; the rest are attributes.
export const h = (tag, props, ...children) => ({
  tag,
  props: props ?? {},
  children: children
    .flat(Infinity)
    .filter(each => each !== null && each !== undefined && each !== false && each !== '')
    .map(each => (typeof each === 'number' ? String(each) : each)),
});

const fits = (node, wanted) =>
  typeof wanted === 'string'
    ? node.nodeType === Node.TEXT_NODE
    : node.wanted?.tag === wanted.tag && node.wanted.props.key === wanted.props.key;

const created = (wanted, parent) => {
  if (typeof wanted === 'string') return document.createTextNode(wanted);
  const isDrawing = wanted.tag === 'svg' || parent.namespaceURI === SVG;
  return isDrawing ? document.createElementNS(SVG, wanted.tag) : document.createElement(wanted.tag);
};

const setProp = (node, name, value, isNew) => {
  if (name === 'key' || name === 'focus') return;
  if (name.startsWith('$')) {
    if (isNew) node[name.slice(1)] = value;
  } else if (name.startsWith('on')) node[name] = value ?? null;
  else if (name === 'css') Object.entries(value).forEach(([each, text]) => node.style.setProperty(each, text));
  else if (typeof value === 'boolean') node.toggleAttribute(name, value);
  else if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
};

const update = (node, wanted) => {
  if (typeof wanted === 'string') {
    if (node.data !== wanted) node.data = wanted;
    return;
  }
  const before = node.wanted?.props ?? {};
  Object.keys(before).forEach(name => {
    if (!(name in wanted.props)) setProp(node, name, null, false);
  });
  const isNew = !node.wanted;
  node.wanted = wanted;
  fill(node, wanted.children);
  // After the children: a choice's value needs its options.
  Object.entries(wanted.props).forEach(([name, value]) => setProp(node, name, value, isNew));
  if (isNew && wanted.props.focus) queueMicrotask(() => node.focus());
};

export const fill = (parent, wanted) => {
  const old = [...parent.childNodes];
  const nodes = wanted.map(each => {
    const at = old.findIndex(node => fits(node, each));
    return at < 0 ? created(each, parent) : old.splice(at, 1)[0];
  });
  old.forEach(node => node.remove());
  nodes.forEach((node, at) => {
    if (parent.childNodes[at] !== node) parent.insertBefore(node, parent.childNodes[at] ?? null);
    update(node, wanted[at]);
  });
};

// Who one is: a secret that this browser keeps, here and on the lab's own page.

const KEPT_AS = 'lab-visitor';
const newSecret = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(24)), byte => (byte + 256).toString(16).slice(1)).join('');
const keptSecret = () => {
  try {
    const known = localStorage.getItem(KEPT_AS);
    if (known && known.length >= 16 && known.length <= 200) return {secret: known, isKept: true};
    const made = newSecret();
    localStorage.setItem(KEPT_AS, made);
    return {secret: made, isKept: true};
  } catch {
    // Storage is refused: the secret lives as long as the page.
    return {secret: newSecret(), isKept: false};
  }
};
export const {secret, isKept} = keptSecret();

// Requests. All addresses are relative: the lab may be served below a path.

export const NO_ANSWER = 'The lab does not answer; trying again';
const HEADERS = {'x-lab-visitor': secret};
const PATIENCE = 15_000,
  // A typed question of a blind comparison is answered by a model first.
  LONG_PATIENCE = 300_000;

const errorOf = async answer => {
  try {
    return (await answer.json()).error;
  } catch {
    // It comes from something before the lab, such as a proxy.
    return undefined;
  }
};

const request = async (path, options) => {
  let answer;
  try {
    answer = await fetch(`room/api/${path}`, options);
  } catch {
    throw new Error('The lab does not answer: try it again in a moment.');
  }
  if (!answer.ok) throw new Error((await errorOf(answer)) ?? `The lab answers ${answer.status}: try it again.`);
  return answer;
};

export const post = async (action, values) => {
  const headers = {...HEADERS, 'content-type': 'application/json'},
    signal = AbortSignal.timeout(LONG_PATIENCE);
  return (await request(action, {method: 'POST', headers, body: JSON.stringify(values), signal})).json();
};

export const get = path => request(path, {headers: HEADERS, signal: AbortSignal.timeout(PATIENCE)});

// A room as it is now: `state` of the last answer, `isAway` while the lab does not answer, `over` once it is no more.
// `changed` is called after each change; `refresh` asks at once.
export const follow = (code, changed) => {
  const room = {code, state: null, isAway: false, over: '', skew: 0};
  let timer,
    tag = '',
    failures = 0,
    last = Promise.resolve();
  const read = async answer => {
    const date = Date.parse(answer.headers.get('date'));
    if (date && Math.abs(date - Date.now() - room.skew) > 1500) room.skew = date - Date.now();
    if (answer.status === 204) return;
    if (answer.ok) {
      tag = answer.headers.get('x-room-state');
      room.state = await answer.json();
      return;
    }
    const error = answer.status < 500 && (await errorOf(answer));
    if (!error) throw new Error(NO_ANSWER);
    room.over = error;
  };
  const ask = async () => {
    clearTimeout(timer);
    if (room.over) return;
    const before = room.state;
    const wasAway = room.isAway;
    try {
      const query = new URLSearchParams({code, seen: tag});
      await read(await fetch(`room/api/state?${query}`, {headers: HEADERS, signal: AbortSignal.timeout(PATIENCE)}));
      failures = 0;
      room.isAway = false;
    } catch {
      failures += 1;
      room.isAway = true;
    }
    if (!room.over && !document.hidden) timer = setTimeout(room.refresh, wait(failures));
    if (room.state !== before || room.isAway !== wasAway || room.over) changed();
  };
  // One after the other: an answer that was requested before an action does not show what the action did.
  room.refresh = () => (last = last.then(ask));
  document.addEventListener('visibilitychange', () => (document.hidden ? clearTimeout(timer) : room.refresh()));
  addEventListener('online', room.refresh);
  room.refresh();
  return room;
};

const wait = failures => (failures ? Math.min(10_000, 3000 * 2 ** (failures - 1)) : 3000);

// What was pressed: `act` sends it once, and `note` shows beside it what went wrong.
export const actions = (redraw, refresh) => {
  const errors = new Map(),
    busy = new Set();
  const attempt = async (key, work) => {
    if (busy.has(key)) return;
    busy.add(key);
    errors.delete(key);
    redraw();
    try {
      await work();
    } catch (error) {
      errors.set(key, error.message);
    }
    await refresh();
    busy.delete(key);
    redraw();
  };
  return {
    attempt,
    act: (key, action, values, then = () => {}) => attempt(key, async () => then(await post(action, values))),
    isBusy: key => busy.has(key),
    note: (key, waiting = 'One moment …') => [
      errors.has(key) && h('p', {key: `error-${key}`, class: 'error', role: 'alert'}, errors.get(key)),
      busy.has(key) && waiting && h('p', {key: `busy-${key}`, class: 'quiet', role: 'status'}, waiting),
    ],
  };
};

// Forms

export const field = (label, input, help) =>
  h(
    'div',
    {class: 'field'},
    h('label', null, h('span', null, label), input),
    help && h('span', {class: 'quiet'}, help),
  );
// A listener of a form: `work` gets its values by name, and the form.
export const submitted = work => event => {
  event.preventDefault();
  work(Object.fromEntries(new FormData(event.target)), event.target);
};

// Words

export const cleanCode = text =>
  String(text ?? '')
    .replace(/\s/g, '')
    .toUpperCase();
export const spaced = code => `${code.slice(0, 3)} ${code.slice(3)}`;
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

export const duration = seconds => {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ''}`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
};

export const timeLeft = room => {
  const seconds = room.state.room.ends - (Date.now() + room.skew) / 1000;
  if (seconds < 60) return 'less than a minute left';
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min left` : `${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
};

export const ordinal = number => {
  const last = number % 100 > 10 && number % 100 < 14 ? 0 : number % 10;
  return `${number}${['th', 'st', 'nd', 'rd'][last] ?? 'th'}`;
};

export const link = (page, code) => new URL(`${page}?code=${encodeURIComponent(code)}`, location.href).href;

export const qr = (code, props = {}) => {
  const target = link('room', code);
  const src = `room/qr.svg?link=${encodeURIComponent(target)}`;
  return h('img', {class: 'qr', src, alt: `QR code of ${target}`, ...props});
};

// What a screen reader hears of a change: another activity, a reveal.
export const announcement = (before, after) => {
  const now = after?.activity;
  if (!now || !before) return null;
  if (before.activity?.id !== now.id) return `Now: ${now.title ?? now.instruction ?? `the board by ${now.by}`}`;
  if (!before.activity.revealed && now.revealed) return `Revealed. ${now.effect}`;
  return null;
};

// Light or dark as the system has it; `flip` changes it for this page.
const dark = matchMedia('(prefers-color-scheme: dark)');
const setTheme = isDark => (document.documentElement.dataset.theme = isDark ? 'dark' : 'light');
setTheme(dark.matches);
dark.addEventListener('change', () => setTheme(dark.matches));
export const flipTheme = () => setTheme(document.documentElement.dataset.theme !== 'dark');
