"""Editor for a custom prompt template: faults are shown while typing, and templates are kept in this browser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...errors import DataError, SettingsError
from ...text.markdown import plain
from ...tokenization.prompt_template import LESSON, template_from
from ..browser_state import Memory
from ..context import QUIET
from ..form import CUSTOM_TEMPLATE, Form

PARTS = ("without_input", "with_input")
MAX_KEPT = 20
LONGEST = 4000
"""Most characters of a template's text."""


class TemplateEditor:
    """A fold with both texts; it opens by itself when "custom" is chosen."""

    def __init__(self, form: Form, memory: Memory):
        with gr.Accordion("Custom template", open=False, elem_id="template-editor") as self._fold:
            with gr.Row():
                self._texts = [
                    form.add(f"template.{part}", _text(part, text))
                    for part, text in zip(PARTS, (LESSON.without_input, LESSON.with_input), strict=True)
                ]
            self._state = gr.Markdown(judge(LESSON.without_input, LESSON.with_input), elem_id="template-state")
            with gr.Row():
                self._stored = gr.Dropdown(
                    [], label="Kept in this browser", info="Choosing one fills in both texts", elem_id="template-kept"
                )
                self._name = form.add(
                    "template.name",
                    gr.Textbox(
                        label="Name",
                        info="Stored with the run; the texts are kept under it",
                        max_length=60,
                        elem_id="template-name",
                        scale=1,
                    ),
                )
            with gr.Row():
                self._keep = gr.Button("Keep under this name", elem_id="template-keep", size="sm")
                self._forget = gr.Button("Forget the chosen one", elem_id="template-forget", size="sm")
        self._wire(form["template"], memory.templates)

    def _wire(self, template: Any, templates: Any) -> None:
        # gradio's dropdown sends "input" whenever it loses focus, chosen or not: that must not undo edits, so ``last``
        # is compared. "select" is sent only for the mouse, so both events are needed.
        last = gr.State(None)
        for text in self._texts:
            text.change(judge, self._texts, self._state, trigger_mode="always_last", **QUIET)
        template.change(_open_for_custom, [template, templates], [self._fold, self._stored], **QUIET)
        self._keep.click(
            _keep_template, [self._name, *self._texts, templates], [templates, self._stored, last], **QUIET
        )
        self._forget.click(_remove_template, [self._stored, templates], [templates, self._stored], **QUIET)
        outputs = [self._name, *self._texts, template, last]
        self._stored.select(_load_template, [self._stored, templates], outputs, trigger_mode="always_last", **QUIET)
        self._stored.input(
            _load_template, [self._stored, templates, last], outputs, trigger_mode="always_last", **QUIET
        )
        self._fold.expand(_template_dropdown, templates, self._stored, **QUIET)


def _text(part: str, text: str) -> gr.Textbox:
    return gr.Textbox(
        text,
        label=f"Prompt {part.replace('_', ' ')}",
        info="{instruction} and {input} stand for the row's texts; the answer follows at the very end",
        lines=5,
        min_width=320,
        max_length=LONGEST,
        elem_classes="mono",
        elem_id=f"template-{part.replace('_', '-')}",
    )


def _keep_template(name: str, without_input: str, with_input: str, stored: Any) -> list[Any]:
    if not name.strip():
        raise DataError("Give the template a name first.")
    template_from({"without_input": without_input, "with_input": with_input})
    templates = {**_valid_templates(stored), name.strip(): {"without_input": without_input, "with_input": with_input}}
    templates = dict(list(templates.items())[-MAX_KEPT:])
    return [templates, gr.Dropdown(choices=list(templates), value=name.strip()), name.strip()]


def _remove_template(name: str | None, stored: Any) -> list[Any]:
    templates = {other: parts for other, parts in _valid_templates(stored).items() if other != name}
    return [templates, gr.Dropdown(choices=list(templates), value=None)]


def _load_template(name: str | None, stored: Any, last: str | None = None) -> list[Any]:
    parts = _valid_templates(stored).get(name or "")
    if parts is None or name == last:
        return [gr.skip()] * 5
    return [name, parts["without_input"], parts["with_input"], CUSTOM_TEMPLATE, name]


def _open_for_custom(chosen: str, stored: Any) -> list[Any]:
    # The fold never closes by itself: somebody may be reading it.
    if chosen != CUSTOM_TEMPLATE:
        return [gr.skip(), gr.skip()]
    return [gr.Accordion(open=True), _template_dropdown(stored)]


def _template_dropdown(stored: Any) -> gr.Dropdown:
    return gr.Dropdown(choices=list(_valid_templates(stored)))


def faults(without_input: str | None, with_input: str | None) -> list[str]:
    """The faults of the two texts; empty where they form a template."""
    try:
        template_from({"without_input": without_input or "", "with_input": with_input or ""})
    except SettingsError as error:
        return error.problems
    return []


def judge(without_input: str | None, with_input: str | None) -> str:
    """The faults of the two texts as a markdown list, or a sentence that both are complete."""
    problems = faults(without_input, with_input)
    if problems:
        return "\n".join(f"- {plain(problem, 200)}" for problem in problems)
    return "Both texts are complete: rows without an input use the first, all others the second."


def _valid_templates(stored: Any) -> dict[str, dict[str, str]]:
    """The templates stored in the browser; entries of another shape are dropped."""
    if not isinstance(stored, Mapping):
        return {}
    return {
        name: {part: parts[part] for part in PARTS}
        for name, parts in stored.items()
        if isinstance(name, str)
        and isinstance(parts, Mapping)
        and all(isinstance(parts.get(part), str) and len(parts[part]) <= LONGEST for part in PARTS)
    }
