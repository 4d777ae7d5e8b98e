() => {
  // For gradio's code boxes: keyboard scrolling, and a role that tells screen readers what an empty one is.
  const mend = () => {
    const boxes = '.cm-scroller, #compare-base, #compare-tuned, #compare-third';
    document.querySelectorAll(boxes).forEach(box => { box.tabIndex = 0; });
    document.querySelectorAll('.empty[aria-label]:not([role])').forEach(box => box.setAttribute('role', 'img'));
  };
  new MutationObserver(mend).observe(document.body, {childList: true, subtree: true});
  mend();
  // gradio's text boxes report key presses but no other change: deleting, pasting, a phone's keyboard.
  let keyed = null;
  document.addEventListener('keypress', event => {
    // Not the event dispatched below: the next change, if before the timer, would count as this key's own.
    if (!event.isTrusted) return;
    keyed = event.target;
    setTimeout(() => { keyed = null; });
  }, true);
  document.addEventListener('input', event => {
    const itself = event.target === keyed;
    keyed = null;
    if (!itself && event.target.dataset?.testid === 'textbox')
      event.target.dispatchEvent(new KeyboardEvent('keypress', {key: 'Unidentified'}));
  });
}
