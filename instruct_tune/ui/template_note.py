"""A line beside a chosen run: which template it is asked with, where the one on Format is another."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..errors import LabError
from ..lab import Lab
from ..text.markdown import plain
from ..tokenization.prompt_template import PromptTemplate, template_from
from .context import viewer
from .form import Form

ASKED = "It is asked with its own, here and in every evaluation: a run on the other template would be another run."
GOES_ON = (
    "What the adapter learned belongs to the parent's prompts: choose the parent's template on Format, unless a "
    "change of template is what you want to try."
)


def note(own: PromptTemplate, here: PromptTemplate, consequence: str) -> str:
    """What to say of a run with its ``own`` template while Format shows the one from ``here``; nothing if it is one."""
    if own.asks_like(here):
        return ""
    return f"⚠ This run was trained with the template **{_name(own)}**, Format has **{_name(here)}**. {consequence}"


def _name(template: PromptTemplate) -> str:
    return plain(template.name, 60)


def note_on(lab: Lab, form: Form, values: dict[Any, Any], run_id: str | None, consequence: str) -> str:
    """The note on a run for the form's ``values``; nothing where there is nothing to compare."""
    if not run_id:
        return ""
    try:
        own = template_from(lab.run_config(run_id, viewer(lab)).template)
        return note(own, template_from(form.read(values, "template")["template"]), consequence)
    except LabError:
        # A template that is still being written, or a run that is gone.
        return ""


def build(lab: Lab, form: Form, run: Any, elem_id: str, consequence: str = ASKED) -> None:
    """The line for the run whose id ``run`` (a dropdown or a state) holds; it follows Format's template."""
    line = gr.Markdown("", elem_id=elem_id, elem_classes="note")

    def tell(values: dict[Any, Any]) -> str:
        return note_on(lab, form, values, values[run], consequence)

    @form.when_complete
    def wire() -> None:
        parts = [form[name] for name in ("template", *(f"template.{part}" for part in ("without_input", "with_input")))]
        changes = [run.change, *(part.change for part in parts)]
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "trigger_mode": "always_last"}
        gr.on(changes, tell, form.controls | {run}, line, **quiet)
