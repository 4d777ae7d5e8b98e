// What the components of scripted_html.py share: this file stands before the script of each.
/* global element, props */
/* eslint no-unused-vars: "off" */
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  made.className = name;
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
};
// The component's value; undefined before there is one. A page of one run has it as it is.
const unpacked = () => {
  const {value} = props,
    packed = value?.packed;
  return packed
    ? JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(packed), c => c.charCodeAt(0))))
    : (value ?? undefined);
};
const visible = text =>
  text.replaceAll(' ', '\u00b7').replaceAll('\t', '\u2192').replaceAll('\n', '\u21b5') || '\u2205';
// A token's box in a listbox; Tab reaches the first one.
const option = (at, name, ...parts) => {
  const box = make('span', name);
  box.dataset.at = at;
  box.tabIndex = at ? -1 : 0;
  box.setAttribute('role', 'option');
  box.append(...parts);
  return box;
};
const ARROWS = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10},
  ENDS = {Home: -Infinity, End: Infinity};
// Calls describe(at) for the box that the mouse or the focus reaches; the keys of `steps` move the focus so many boxes.
const follow = (place, selector, steps, describe) => {
  for (const reached of ['mouseover', 'focusin', 'click']) {
    place.addEventListener(reached, event => {
      const box = event.target.closest(selector);
      if (box) {
        describe(+box.dataset.at);
      }
    });
  }
  place.addEventListener('keydown', event => {
    const box = event.target.closest(selector),
      boxes = place.querySelectorAll(selector);
    const step = steps[event.key];
    if (!step || !box) {
      return;
    }
    event.preventDefault();
    boxes.forEach(each => {
      each.tabIndex = -1;
    });
    const next = boxes[Math.min(boxes.length - 1, Math.max(0, +box.dataset.at + step))];
    next.tabIndex = 0;
    next.focus();
  });
};
// A token that stands alone: blanks are visible, and the bytes of half a character are shown as such.
const tokenParts = token => {
  if (token.ends) {
    return [make('span', 'ends', 'end')];
  }
  const text = token.text || !token.bytes ? [make('span', 'text', visible(token.text))] : [];
  return token.bytes ? [...text, make('span', 'bytes', token.bytes)] : text;
};
