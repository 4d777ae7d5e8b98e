/* global PIECES */
// Draws the pieces of a run's page, each with the script that draws it in the lab, and works its few buttons.
const values = JSON.parse(document.getElementById('values').textContent);
const part = id => document.getElementById(id);
const root = document.documentElement;
const redrawn = [];
const draw = element => {
  if (element.dataset.drawn) {
    return;
  }
  element.dataset.drawn = 'yes';
  const watch = (names, callback) => element.dataset.piece === 'loss_chart' && redrawn.push(callback);
  PIECES[element.dataset.piece](element, {value: values.pieces[element.id]}, watch, () => {});
};
// A piece in a closed fold is drawn once the fold is opened.
const pieces = [...document.querySelectorAll('[data-piece]')];
pieces.filter(element => !element.closest('details:not([open])')).forEach(draw);
document
  .querySelectorAll('details')
  .forEach(fold =>
    fold.addEventListener('toggle', () => fold.open && fold.querySelectorAll('[data-piece]').forEach(draw)),
  );

// Plotly is packed, which makes the page a third of its size. The policy knows its hash.
const unpack = async () => {
  const bytes = Uint8Array.from(atob(part('plotly').textContent), character => character.charCodeAt(0));
  const script = document.createElement('script');
  script.textContent = await new Response(
    new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip')),
  ).text();
  document.head.append(script);
};
if (part('plotly') && window.DecompressionStream) {
  part('train-chart').querySelector('.loss-empty').textContent = 'Drawing…';
  unpack();
}

// The system's choice of light or dark holds until the button is pressed.
const theme = part('theme'),
  system = matchMedia('(prefers-color-scheme: dark)');
let chosen = null;
const show = dark => {
  root.classList.toggle('dark', dark);
  theme.textContent = dark ? 'Light' : 'Dark';
  redrawn.forEach(callback => callback());
};
const follow = () => show(chosen ?? system.matches);
theme.hidden = false;
theme.addEventListener('click', () => {
  chosen = !root.classList.contains('dark');
  follow();
});
system.addEventListener('change', follow);
addEventListener('beforeprint', () => show(false));
addEventListener('afterprint', follow);
follow();

const differences = part('differences');
differences?.addEventListener('change', () => root.classList.toggle('as-answered', !differences.checked));

const source = part('script-text').textContent;
part('save-script').addEventListener('click', () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([source], {type: 'text/x-python'}));
  link.download = 'run.py';
  link.click();
  URL.revokeObjectURL(link.href);
});
// A file has no clipboard in some browsers, but copies what is selected.
const copy = async () => {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(source);
    return;
  }
  const box = document.body.appendChild(document.createElement('textarea'));
  box.value = source;
  box.select();
  document.execCommand('copy');
  box.remove();
};
part('copy-script').addEventListener('click', async () => {
  await copy();
  part('copied').textContent = 'Copied.';
});
