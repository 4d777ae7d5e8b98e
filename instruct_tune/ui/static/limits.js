// The strip under the head, and the locks of a link or a room on the form's controls.
/* global element, props, watch, make, unpacked */
const MOST_TRIES = 5;
const SKIP = {__type__: 'update'};
const strip = element.querySelector('.strip');
const same = (one, other) => String(one ?? '') === String(other ?? '');
// The locks that hold, those that the controls show, and by control its id in the document.
let limits = {},
  shown = {},
  names = [],
  ids = {},
  tries = 0,
  triedAt = 0;

const allowed = (limit, value) => {
  if (!limit) return value;
  if ('fixed' in limit) return limit.fixed;
  if (limit.choices) return limit.choices.some(each => same(each, value)) ? value : limit.start;
  if (!('low' in limit)) return value;
  const isNumber = !same(value, '') && Number.isFinite(Number(value));
  return isNumber && value >= limit.low && value <= limit.high ? value : limit.start;
};
// What is being typed is left alone until the box is left: 0.002 begins with a 0.
const isTyped = name =>
  !('fixed' in limits[name]) && document.getElementById(ids[name])?.contains(document.activeElement);
const isBroken = (name, value) => limits[name] && !isTyped(name) && !same(value, allowed(limits[name], value));
const apply = () => document.querySelector('#limits-apply')?.click();

window.labLimits = {
  // The controls' updates, for their values: properties where locks have changed, values where one is broken.
  apply: values => {
    const updates = names.map((name, at) => {
      const update = {...SKIP};
      if (shown[name] !== limits[name]) Object.assign(update, shown[name]?.undo, limits[name]?.set);
      if (isBroken(name, values[at])) update.value = allowed(limits[name], values[at]);
      return update;
    });
    shown = limits;
    return updates;
  },
  // After a change of the form: values by the controls' names.
  check: (changed, values) => {
    if (!changed.some((name, at) => isBroken(name, values[at]))) return;
    tries = performance.now() - triedAt < 1000 ? tries + 1 : 0;
    triedAt = performance.now();
    // A control that shows another value than it is given is left alone; Start takes the lock's.
    if (tries < MOST_TRIES) setTimeout(apply);
  },
  refresh: () => {
    if (Object.keys(limits).length) apply();
  },
  allowed: (name, value) => allowed(limits[name], value),
};
const draw = () => {
  const now = unpacked();
  if (!now) return;
  const parts = now.parts.map(part => {
    const made = make(part.href ? 'a' : 'span', '', part.text);
    if (part.href) made.href = part.href === 'leave' ? location.pathname : part.href;
    return made;
  });
  strip.replaceChildren(...parts);
  strip.hidden = !parts.length;
  ({limits, ids} = now);
  names = Object.keys(ids);
  if (Object.keys(limits).length || Object.keys(shown).length) apply();
};
document.addEventListener('focusout', event => {
  const left = names.find(name => limits[name] && document.getElementById(ids[name])?.contains(event.target));
  if (left) setTimeout(apply);
});
watch('value', draw);
draw();
