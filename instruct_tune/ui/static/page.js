() => {
  // The code boxes' colours on white, and darker ones with a contrast of 4.5 to 1 (WCAG 2 AA).
  const DARKER = {
    'rgb(94, 129, 172)': '#46658f',
    'rgb(208, 135, 112)': '#a0492c',
    'rgb(163, 190, 140)': '#4c6e31',
    'rgb(136, 192, 208)': '#256b80',
    'rgb(143, 188, 187)': '#2f6d6c',
    'rgb(180, 142, 173)': '#87497c',
    'rgb(191, 97, 106)': '#a33a45',
    'rgb(235, 203, 139)': '#7d5c12',
  };
  const legible = document.head.appendChild(document.createElement('style'));
  let editors = 0;
  // The editor makes up the names of its classes.
  const darken = () => {
    const now = document.querySelectorAll('.cm-editor').length;
    if (now === editors) return;
    editors = now;
    const sheets = [...document.styleSheets].filter(sheet => sheet.ownerNode?.textContent.includes('.\u037c'));
    const rules = sheets.flatMap(sheet => [...sheet.cssRules]).filter(rule => DARKER[rule.style?.color]);
    legible.textContent = rules
      .filter(rule => /^\.\u037c\w+$/.test(rule.selectorText))
      .map(rule => `body:not(.dark) .cm-editor ${rule.selectorText} { color: ${DARKER[rule.style.color]}; }`)
      .join('\n');
  };
  // For gradio's code boxes: keyboard scrolling, and a role that tells screen readers what an empty one is.
  const mend = () => {
    const boxes = '.cm-scroller, #compare-base, #compare-tuned, #compare-third, #compare-answers .textfield';
    document.querySelectorAll(boxes).forEach(box => {
      box.tabIndex = 0;
    });
    document.querySelectorAll('.empty[aria-label]:not([role])').forEach(box => box.setAttribute('role', 'img'));
    darken();
  };
  new MutationObserver(mend).observe(document.body, {childList: true, subtree: true});
  mend();
  // Plotly takes most of a second to read: once a chart is to be drawn, or somebody is about to open another tab.
  const plotly = document.createElement('script');
  plotly.src = 'PLOTLY';
  window.labLoadPlotly = () => plotly.isConnected || document.head.append(plotly);
  for (const event of ['pointerover', 'focusin']) {
    document.addEventListener(event, ({target}) => target.closest('[role=tab]') && window.labLoadPlotly());
  }
  // gradio's text boxes report key presses but no other change: deleting, pasting, a phone's keyboard.
  let keyed = null;
  document.addEventListener(
    'keypress',
    event => {
      // Not the event dispatched below: the next change, if before the timer, would count as this key's own.
      if (!event.isTrusted) return;
      keyed = event.target;
      setTimeout(() => {
        keyed = null;
      });
    },
    true,
  );
  document.addEventListener('input', event => {
    const itself = event.target === keyed;
    keyed = null;
    if (!itself && event.target.dataset?.testid === 'textbox')
      event.target.dispatchEvent(new KeyboardEvent('keypress', {key: 'Unidentified'}));
  });
};
