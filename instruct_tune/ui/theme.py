"""The page's look: one theme for light and dark, CSS for what a theme cannot express, and fixes in JavaScript."""

from __future__ import annotations

import gradio as gr

# The system's own fonts: nothing is fetched from a font service.
_FONTS = ("system-ui", "sans-serif")

THEME = gr.themes.Default(
    primary_hue="blue", neutral_hue="slate", font=_FONTS, font_mono=("ui-monospace", "Consolas", "monospace")
).set(
    # Help texts, placeholders and white on blue keep a contrast of 4.5 to 1 (WCAG 2 AA).
    body_text_color_subdued="*neutral_500",
    body_text_color_subdued_dark="*neutral_400",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_700",
)

CSS = """
.mono textarea, .mono .textspan { font-family: var(--font-mono); font-size: 13px; }
.tuned-answer { border-top: 3px solid #2563eb; }
.third-answer { border-top: 3px dashed #2563eb; }
.base-answer { border-top: 3px solid #6b7280; }
#strip { border-bottom: 1px solid var(--border-color-primary); padding-bottom: 4px; }
.callout {
  align-items: center; padding: 8px 12px; border-left: 3px solid #2563eb; background: var(--background-fill-secondary);
}
.callout > .prose, .callout > :has(.prose) { flex: 1 1 280px; }
#announcer { position: absolute; pointer-events: none; }
#train-progress progress.part { height: 3px; opacity: 0.5; margin-top: 3px; }
#train-progress progress.part[value="0"] { visibility: hidden; }
:is(#train-progress, .arrival, #evaluate-progress) progress {
  appearance: none; display: block; width: 100%; height: 8px; border: none;
}
:is(#train-progress, .arrival, #evaluate-progress) progress::-webkit-progress-bar {
  background: var(--border-color-primary); border-radius: 4px;
}
:is(#train-progress, .arrival, #evaluate-progress) progress::-webkit-progress-value {
  background: #2563eb; border-radius: 4px;
}
:is(#train-progress, .arrival, #evaluate-progress) progress::-moz-progress-bar {
  background: #2563eb; border-radius: 4px;
}
.note, .note * { font-size: var(--text-sm) !important; color: var(--body-text-color-subdued) !important; }
.arrival { min-width: 120px; flex: 1; }
.pager { align-items: center; }
/* Elements beside a labelled control are aligned with the control. */
.foot { align-items: flex-end !important; }
/* Buttons beside boxes are as high as the boxes. */
.beside { align-self: flex-end; padding-bottom: 12px; }
.beside button { min-height: 40px; }
footer > .divider { display: none !important; }
@media (max-width: 500px) { .pager > :has(.prose), .pager > .prose { order: -1; flex: 1 1 100%; } }
/* Presets are cards: the name, what it is for, how long it takes here. */
#train-preset .wrap { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 8px; }
#train-preset label { align-items: flex-start; }
#train-preset label span { display: block; white-space: pre-line; font-weight: 400; }
#train-preset label span::first-line { font-weight: 600; }
/* Boxes side by side are aligned, however long the help above each is. */
#few-controls .form > .block > :is(label, .container) { display: flex; flex-direction: column; height: 100%; }
#few-controls .form > .block > * > :is(input, .wrap), #few-controls .slider_input_container { margin-top: auto; }
#few-controls .form > .block > .wrap:has(> .head) { display: flex; flex-direction: column; height: 100%; }
#few-controls .slider_input_container, #few-controls .wrap-inner { min-height: 40px; }
/* One filter a line, so that their order is visible. */
#filters-list .wrap { flex-direction: column; align-items: stretch; gap: 4px; }
#filters-list label { overflow-wrap: anywhere; white-space: normal; }
/* A dropdown's text ends before its arrow, with an ellipsis. */
.secondary-wrap > input[role=combobox] { text-overflow: ellipsis; margin-right: 26px; }
.label-wrap > span:first-child { text-align: left; }
.label-wrap > .icon { align-self: center; }
#train-preset label { position: relative; }
.tabitem:has(#preset-changed p) #train-preset label.selected::after {
  content: "changed"; position: absolute; top: 8px; right: 10px;
  font-size: var(--text-sm); color: var(--body-text-color-subdued);
}
/* Empty elements take no space. */
#preset-changes:not(:has(p)), #train-cost-warnings:not(:has(p)), #train-verdict:not(:has(p)),
#train-findings:not(:has(p)), #train-checkpoints:not(:has(p)), #evaluate-state:not(:has(p)),
#evaluate-verdict:not(:has(p)),
:is(#compare-template, #evaluate-template, #train-template):not(:has(p)),
#evaluate-progress:has(progress[style*="hidden"]),
#replay-stage:has(.replay-words:empty) { display: none; }
#train-log { border-width: 0 !important; background: none; }
#replay { align-items: center; }
/* Show one of the two: the bar is hidden unless a replay plays. */
#replay:has(+ * progress[hidden]) #replay-stop, #replay:has(+ * progress:not([hidden])) #replay-start { display: none; }
/* The cost line keeps its height while its text grows. */
#train-cost { min-height: 1.6em; }
.unseen { display: none !important; }
/* Answer boxes keep their height while the text grows. */
.answer .cm-editor { font-size: 13px; }
#compare-expected .cm-scroller { max-height: 150px; }
#compare-base, #compare-tuned, #compare-third { height: 330px !important; }
:is(#compare-base, #compare-tuned, #compare-third) .cm-scroller { height: 290px; }
:is(#compare-base-diff, #compare-tuned-diff, #compare-third-diff) .text {
  font-family: var(--font-mono); font-size: 13px;
}
.dark :is(#compare-base-diff, #compare-tuned-diff, #compare-third-diff) .text { color: var(--body-text-color); }
/* A word breaks only where it is wider than its box. */
:is(#compare-base-diff, #compare-tuned-diff, #compare-third-diff) .textfield,
:is(#evaluate-base-diff, #evaluate-tuned-diff) .textfield {
  word-break: normal; overflow-wrap: anywhere;
}
.dark #compare-why-map .heat-token.more { border-bottom-color: #60a5fa; }
.dark #compare-why-map .heat-token.less { border-bottom-color: #f59e0b; }
.answer-facts { min-height: 24px; }
#compare-state { min-height: 26px; }
#evaluate-sentence p { font-size: 1.2em; }
.next { max-width: 220px; align-self: flex-end; }
.aside { max-width: 260px; }
/* Code in a table keeps its lines, and breaks inside a word only where the word is wider than its cell. */
[role=gridcell] span.text { white-space: pre-wrap !important; min-width: 0; }
/* The light code theme's blue for keywords is a shade too light on white (4.0 to 1); the class is the editor's own. */
body:not(.dark) .cm-editor .ͼ1q { color: #46658f; }
#tabs > .tab-wrapper button.selected { color: var(--primary-600); }
.dark #tabs > .tab-wrapper button.selected { color: var(--primary-400); }
/* All six tabs stay visible on a phone: gradio measures a hidden copy, and moves those that do not fit into a menu. */
@media (max-width: 480px) {
  #tabs > .tab-wrapper .tab-container button { padding: 0 5px; font-size: 13px; }
  h1 { font-size: 1.5rem !important; }
  .beside { padding-bottom: 0; }
  .actions button { font-size: 15px; padding-inline: 6px; }
  /* Rows that hold code scroll sideways inside their table, rather than break at every letter. */
  :is(#evaluate-table, #data-rows, .pairs) .table-wrap { overflow-x: auto; }
  :is(#evaluate-table, .pairs) .table-wrap > * { min-width: 860px; }
  #data-rows .table-wrap > * { min-width: 720px; }
  /* A third column that is partly visible shows that there are more. */
  #runs-table :is([role=gridcell], [role=columnheader]):first-child {
    width: 160px !important; min-width: 160px !important; max-width: 160px !important; flex-basis: 160px !important;
  }
  #data-ledger [role=row] > * { font-size: 13px; }
}
"""

MEND = """() => {
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
}"""
"""JavaScript to run once the page has loaded."""
