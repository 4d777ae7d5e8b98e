"""A prompt template of one's own: edited with its faults told at once, kept by name in this browser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ..errors import DataError, SettingsError
from ..prompt import LESSON, template_from
from ..words.markdown import plain
from .edge import said
from .form import CUSTOM_TEMPLATE, Form
from .memory import Memory

PARTS = ("without_input", "with_input")
MOST_KEPT = 20
LONGEST = 4000
"""Characters of a template's text."""


def build(form: Form, memory: Memory) -> gr.Accordion:
    """The fold with the editor; returns it, so that it can open by itself where "custom" is chosen."""
    with gr.Accordion("Custom template", open=False, elem_id="template-editor") as fold:
        with gr.Row():
            for name, text in zip(PARTS, (LESSON.without_input, LESSON.with_input), strict=True):
                form.add(
                    f"template.{name}",
                    gr.Textbox(
                        text,
                        label=f"Prompt {name.replace('_', ' ')}",
                        info="{instruction} and {input} stand for the row's texts; the answer follows at the very end",
                        lines=5,
                        min_width=320,
                        max_length=LONGEST,
                        elem_classes="mono",
                        elem_id=f"template-{name.replace('_', '-')}",
                    ),
                )
        state = gr.Markdown(judge(LESSON.without_input, LESSON.with_input), elem_id="template-state")
        with gr.Row():
            kept = gr.Dropdown(
                [], label="Kept in this browser", info="Choosing one fills in both texts", elem_id="template-kept"
            )
            name = form.add(
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
            keep = gr.Button("Keep under this name", elem_id="template-keep", size="sm")
            forget = gr.Button("Forget the chosen one", elem_id="template-forget", size="sm")

    texts = [form[f"template.{part}"] for part in PARTS]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

    @said
    def add(name: str, without_input: str, with_input: str, known: Any) -> list[Any]:
        if not name.strip():
            raise DataError("Give the template a name first.")
        template_from({"without_input": without_input, "with_input": with_input})
        now = {**_known(known), name.strip(): {"without_input": without_input, "with_input": with_input}}
        now = dict(list(now.items())[-MOST_KEPT:])
        return [now, gr.Dropdown(choices=list(now), value=name.strip())]

    def remove(name: str | None, known: Any) -> list[Any]:
        now = {each: parts for each, parts in _known(known).items() if each != name}
        return [now, gr.Dropdown(choices=list(now), value=None)]

    def choose(name: str | None, known: Any) -> list[Any]:
        parts = _known(known).get(name or "")
        if parts is None:
            return [gr.skip()] * 4
        return [name, parts["without_input"], parts["with_input"], CUSTOM_TEMPLATE]

    def open_for_custom(chosen: str, known: Any) -> list[Any]:
        # It never closes by itself: somebody may just be reading in it.
        if chosen != CUSTOM_TEMPLATE:
            return [gr.skip(), gr.skip()]
        return [gr.Accordion(open=True), offered(known)]

    def offered(known: Any) -> gr.Dropdown:
        return gr.Dropdown(choices=list(_known(known)))

    for text in texts:
        text.change(judge, texts, state, trigger_mode="always_last", **quiet)
    form["template"].change(open_for_custom, [form["template"], memory.templates], [fold, kept], **quiet)
    keep.click(add, [name, *texts, memory.templates], [memory.templates, kept], **quiet)
    forget.click(remove, [kept, memory.templates], [memory.templates, kept], **quiet)
    kept.input(choose, [kept, memory.templates], [name, *texts, form["template"]], **quiet)
    fold.expand(offered, memory.templates, kept, **quiet)
    return fold


def faults(without_input: str | None, with_input: str | None) -> list[str]:
    """What is wrong with the two texts; empty where they are a template."""
    try:
        template_from({"without_input": without_input or "", "with_input": with_input or ""})
    except SettingsError as error:
        return error.problems
    return []


def judge(without_input: str | None, with_input: str | None) -> str:
    """What is wrong with the two texts, a line each; or that nothing is."""
    found = faults(without_input, with_input)
    if found:
        return "\n".join(f"- {plain(problem, 200)}" for problem in found)
    return "Both texts are complete: rows without an input use the first, all others the second."


def _known(kept: Any) -> dict[str, dict[str, str]]:
    """The browser's templates, without whatever does not look like one."""
    if not isinstance(kept, Mapping):
        return {}
    return {
        name: {part: parts[part] for part in PARTS}
        for name, parts in kept.items()
        if isinstance(name, str)
        and isinstance(parts, Mapping)
        and all(isinstance(parts.get(part), str) and len(parts[part]) <= LONGEST for part in PARTS)
    }
