"""The run choices of Compare and Evaluate: what they list, and what is chosen by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ..errors import LabError
from ..runs.examples import BEST
from ..services.access import Access
from ..services.answerers import Answerers
from ..services.runs import Runs
from ..services.types import RunSummary
from ..store.run import LIVE
from ..text.markdown import plain
from ..tokenization.prompt_template import PromptTemplate, template_from
from .context import QUIET, viewer
from .events import open_tab_on_click
from .form import Form


def run_choice(elem_id: str, first: Sequence[RunSummary] = ()) -> gr.Dropdown:
    """The run dropdown of one tab. ``first``: the runs that it lists from the start, the one to choose first."""
    return gr.Dropdown(
        labelled(first),
        value=first[0]["id"] if first else None,
        label="Run",
        info="The trained adapter that answers beside base",
        elem_id=elem_id,
    )


class RunPicker:
    """The run dropdowns of both tabs, updated by the page's timer. ``seen``: the runs that the page lists."""

    def __init__(
        self,
        shown_run: gr.State,
        first: gr.Dropdown,
        second: gr.Dropdown,
        *,
        runs: Runs,
        answerers: Answerers,
        access: Access,
    ):
        self.runs, self.answerers, self.access = runs, answerers, access
        self.seen = gr.State(None)
        self.inputs = [shown_run, first, second, self.seen]
        self.outputs = [self.seen, first, second]

    def show(self, shown: str | None, first: str | None, second: str | None, seen: Any) -> list[Any]:
        """The runs that can answer. The run shown on Train is chosen as soon as it can."""
        ready = answering(runs=self.runs, answerers=self.answerers, access=self.access)
        now = [labelled(ready), shown]
        if now == seen:
            return [gr.skip()] * 3
        ids = [run["id"] for run in ready]
        listed = [run_id for _, run_id in seen[0]] if seen else []
        arrived = shown in ids and (shown not in listed or shown != seen[1])
        default = next((run["id"] for run in by_preference(ready)), None)
        gone = not set(listed) <= set(ids)

        def listing(chosen: str | None) -> gr.Dropdown:
            value = shown if arrived else chosen if chosen in ids else default
            if value == chosen and not gone:
                # An unchanged value is not sent: the visitor may be choosing another run just now.
                return gr.Dropdown(choices=now[0])
            # If a run is gone the value is sent too: gradio rejects the next poll if a value is not among the choices.
            return gr.Dropdown(choices=now[0], value=value)

        return [now, listing(first), listing(second)]


def newest(runs: Runs, access: Access) -> str | None:
    """The id of the run that a new window shows: the live one, else the newest of this lab, else a recorded one."""
    summaries = runs.summaries(viewer(access))
    # A queued run is newer than the one at work, so it is sorted behind.
    own = [run for run in summaries if not run["recorded"]]
    own.sort(key=lambda run: (run["status"] not in LIVE, run["status"] == "queued"))
    recorded = sorted((run for run in summaries if run["recorded"]), key=lambda run: run["id"] != BEST)
    return next((run["id"] for run in (*own, *recorded)), None)


def answering(*, runs: Runs, answerers: Answerers, access: Access) -> list[RunSummary]:
    """The runs that can answer and that the viewer sees, newest first."""
    user = viewer(access)
    return [run for run in runs.summaries(user) if answerers.has_adapter(user, run["id"])]


def by_preference(ready: Sequence[RunSummary]) -> list[RunSummary]:
    """Those runs with the default choice first: the newest that was not recorded elsewhere, else ``BEST``."""
    return sorted(ready, key=lambda run: (run["recorded"] is not None, run["id"] != BEST))


def labelled(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, id) for a dropdown, newest first."""
    return [
        (f"{run['name']} · {run['recorded'] or run['status']} · {run['model'].split('/')[-1]}", run["id"])
        for run in runs
    ]


class EmptyState:
    """A text and two buttons while there is no run to choose; hidden once ``run`` has a value."""

    def __init__(self, run: gr.Dropdown, tabs: gr.Tabs, words: str, name: str, *, runs: Runs, access: Access):
        self.runs, self.access = runs, access
        with gr.Column(elem_id=f"{name}-empty", visible=run.value is None) as all_of_it:
            gr.Markdown(words)
            with gr.Row():
                train = gr.Button("Go to Train", elem_id=f"{name}-to-train", size="md", min_width=160)
                recorded = gr.Button(
                    "Bring back the recorded runs", elem_id=f"{name}-recorded", size="md", min_width=260
                )
        open_tab_on_click(train, tabs, "Train")
        # The page's timer then lists them and chooses one.
        run.change(lambda run_id: gr.Column(visible=not run_id), run, all_of_it, **QUIET)
        recorded.click(self._restore_examples, None, None, **QUIET)

    def _restore_examples(self) -> None:
        self.runs.restore_examples(viewer(self.access))


WHEN_ANSWERING = (
    "It is asked with its own, here and in every evaluation: a run on the other template would be another run."
)
GOES_ON = (
    "What the adapter learned belongs to the parent's prompts: choose the parent's template on Format, unless a "
    "change of template is what you want to try."
)


def note(own: PromptTemplate, here: PromptTemplate, consequence: str) -> str:
    """Warn that a run was trained with another template (``own``) than Format's (``here``); else an empty string."""
    if own.renders_like(here):
        return ""
    return f"⚠ This run was trained with the template **{_name(own)}**, Format has **{_name(here)}**. {consequence}"


def _name(template: PromptTemplate) -> str:
    return plain(template.name, 60)


def note_on(
    form: Form, values: dict[Any, Any], run_id: str | None, consequence: str, *, runs: Runs, access: Access
) -> str:
    """``note`` for a run and the form's ``values``; empty where there is nothing to compare."""
    if not run_id:
        return ""
    try:
        own = template_from(runs.config(viewer(access), run_id).template)
        return note(own, template_from(form.read(values, "template")["template"]), consequence)
    except LabError:
        # The template is still being edited, or the run is gone.
        return ""


def build(form: Form, run: Any, elem_id: str, consequence: str = WHEN_ANSWERING, *, runs: Runs, access: Access) -> None:
    """Add the line with ``note`` for the run id in ``run`` (a dropdown or a state), updated with Format's template."""
    line = gr.Markdown("", elem_id=elem_id, elem_classes="note")

    def update(values: dict[Any, Any]) -> str:
        return note_on(form, values, values[run], consequence, runs=runs, access=access)

    @form.when_complete
    def wire() -> None:
        parts = [form[name] for name in ("template", *(f"template.{part}" for part in ("without_input", "with_input")))]
        # A run that is chosen from the start fires no change.
        line.value = update({**{control: control.value for control in form.controls}, run: run.value})
        changes = [run.change, *(part.change for part in parts)]
        gr.on(changes, update, form.controls | {run}, line, trigger_mode="always_last", **QUIET)
