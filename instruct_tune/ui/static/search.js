/* global element, trigger, watch, make, unpacked, visible, tokenParts, option, follow, ARROWS, ENDS */
const SIDES = {base: 'Base', tuned: 'Tuned'},
  UP_AND_DOWN = {ArrowDown: 1, ArrowUp: -1, Home: -9, End: 9};
const heading = element.querySelector('.heading'),
  rows = element.querySelector('.rows');
const chosenAt = place => place.candidates[0];
// The place where the model hesitated most is the first to be looked at.
const hesitant = places =>
  places.reduce((best, place, at) => (chosenAt(place).p < chosenAt(places[best]).p ? at : best), 0);
const spoken = token => (token.ends ? 'the end' : token.text ? JSON.stringify(token.text) : `the bytes ${token.bytes}`);
// A token's new lines end its box: blanks after the last one indent the next line.
const indent = token => (token.ends ? '' : /\n([ \t]*)$/.exec(token.text)?.[1] || '');
const flowing = token => {
  const text = token.text.slice(0, token.text.length - indent(token).length).replaceAll('\n', '\u21b5');
  const box = make('span', token.ends ? 'text ends' : 'text', token.ends ? 'end' : text);
  return token.bytes ? [box, make('span', 'bytes', token.bytes)] : [box];
};
const after = token => {
  const lines = token.ends ? 0 : token.text.split('\n').length - 1;
  const breaks = Array.from({length: lines}, () => make('span', 'break'));
  return indent(token) ? [...breaks, make('span', 'indent', indent(token))] : breaks;
};
const candidate = (answer, at, each, rank) => {
  const bar = make('button', rank ? 'candidate' : 'candidate chosen'),
    fill = make('span', 'fill');
  fill.style.width = `${100 * each.p}%`;
  const track = make('span', 'track'),
    name = make('span', 'name');
  track.append(fill);
  name.append(...tokenParts(each));
  bar.append(name, track, make('span', 'percent', each.percent));
  bar.type = 'button';
  bar.dataset.at = rank;
  bar.tabIndex = rank ? -1 : 0;
  const chosen = rank ? '' : ', chosen';
  bar.setAttribute('aria-label', `${spoken(each)}, ${each.percent}${chosen}: continue from here in both`);
  bar.addEventListener('click', () => {
    element.querySelectorAll('.pressed').forEach(old => old.classList.remove('pressed'));
    bar.classList.add('pressed');
    const before = answer.places.slice(0, at).map(place => chosenAt(place).id);
    trigger('click', {ids: [...answer.prefix.map(token => token.id), ...before, each.id]});
  });
  return bar;
};
const details = answer => {
  const count = answer.places.filter(place => !chosenAt(place).ends).length;
  const last = answer.places.length ? chosenAt(answer.places[answer.places.length - 1]) : answer.prefix.slice(-1)[0];
  return (
    `${count} token${count === 1 ? '' : 's'}${answer.prefix.length ? ' more' : ''}, ` +
    (last.ends ? 'ended by itself' : 'cut at the limit')
  );
};
const section = (side, answer) => {
  const made = make('section', `side ${side}`),
    head = make('div', 'head');
  head.append(make('span', 'who', SIDES[side]), make('span', 'facts', details(answer)));
  const line = make('div', 'line'),
    tokens = make('div', 'tokens'),
    panel = make('div', 'candidates');
  tokens.setAttribute('role', 'listbox');
  tokens.setAttribute('aria-label', `${SIDES[side]}'s answer, token by token`);
  panel.setAttribute('role', 'group');
  panel.setAttribute('aria-label', `${SIDES[side]}'s five likeliest tokens at that place`);
  answer.prefix.forEach((token, at) => {
    const forced = at === answer.prefix.length - 1;
    const box = make('span', forced ? 'given forced' : 'given');
    box.append(...flowing(token));
    tokens.append(box, ...after(token));
  });
  answer.places.forEach((place, at) => {
    const token = chosenAt(place),
      box = option(at, 'token', ...flowing(token));
    box.style.setProperty('--sure', token.p);
    box.setAttribute('aria-label', `Token ${at + 1} of ${answer.places.length}: ${spoken(token)}, ${token.percent}`);
    tokens.append(box, ...after(token));
  });
  const show = at => {
    const before = tokens.querySelector('[aria-selected=true]');
    if (before && +before.dataset.at === at) {
      return;
    }
    tokens.querySelectorAll('.token').forEach(box => box.setAttribute('aria-selected', +box.dataset.at === at));
    const title = make('div', 'place', `Place ${at + 1} of ${answer.places.length}`);
    const bars = answer.places[at].candidates.map((each, rank) => candidate(answer, at, each, rank));
    panel.replaceChildren(title, ...bars);
  };
  line.append(tokens, panel);
  made.append(head, line);
  follow(tokens, '.token', {...ARROWS, ...ENDS}, show);
  follow(panel, '.candidate', UP_AND_DOWN, () => {});
  if (answer.places.length) {
    const first = hesitant(answer.places);
    show(first);
    tokens.querySelectorAll('.token').forEach(box => {
      box.tabIndex = +box.dataset.at === first ? 0 : -1;
    });
  } else {
    panel.append(make('div', 'place', 'The answer ends there: nothing follows.'));
  }
  return made;
};
const draw = () => {
  const value = unpacked();
  if (!value) {
    return;
  }
  const forced = value.base.prefix.slice(-1)[0];
  if (forced) {
    heading.replaceChildren('What if it had said ', make('q', 'quoted'), ' here?');
    heading.querySelector('.quoted').append(...tokenParts(forced));
  }
  rows.replaceChildren(...Object.keys(SIDES).map(side => section(side, value[side])));
  if (forced) {
    element.scrollIntoView({block: 'nearest'});
  }
};
watch('value', draw);
draw();
