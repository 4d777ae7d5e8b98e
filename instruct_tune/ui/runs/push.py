"""The fold "Push to the Hub": the chosen run goes to a repository of the visitor's own account."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import LabError
from ...pretrained.hub_token import for_writing
from ...services.access import Access
from ...services.push import Push, PushJob
from ...services.runs import Runs
from ...text.markdown import plain
from ..context import QUIET, error_sentence, viewer
from ..fetch_progress import loading_sentence
from .details import required

NOTHING_CHOSEN = "Choose a run first."


class PushPanel:
    """The fold; the page's timer updates its line, so that a push is found again after a refresh."""

    def __init__(self, chosen: gr.State, *, push: Push, runs: Runs, access: Access):
        self.push, self.runs, self.access, self.chosen = push, runs, access, chosen
        self.seen = gr.State(None)
        with gr.Accordion("Push to the Hub", open=False, elem_id="runs-push"):
            self.name = gr.Textbox(
                label="Repository", placeholder="OWNER/NAME", max_length=96, elem_id="runs-push-name"
            )
            self.private = gr.Checkbox(label="Private", elem_id="runs-push-private")
            self.rows = gr.Checkbox(
                True, label="Evaluated rows, too, where their licence allows", elem_id="runs-push-rows"
            )
            self.replace = gr.Checkbox(label="Replace other content of the repository", elem_id="runs-push-replace")
            self.token = gr.Textbox(
                type="password",
                label="Token with write access",
                info=self._token_help(),
                elem_id="runs-push-token",
                html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
            )
            with gr.Row(elem_classes="buttons"):
                self.go = gr.Button("Push", size="sm", min_width=0, elem_id="runs-push-go")
                self.end = gr.Button("Stop", size="sm", min_width=0, interactive=False, elem_id="runs-push-stop")
            self.line = gr.Markdown(NOTHING_CHOSEN, elem_id="runs-push-line")

    @property
    def inputs(self) -> list[Any]:
        return [self.chosen, self.seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.line, self.end]

    def wire(self) -> None:
        """Connect the buttons."""
        request = [self.chosen, self.name, self.private, self.rows, self.replace, self.token]
        gr.on([self.go.click, self.name.submit], self._push, request, [self.token, *self.outputs], **QUIET)
        self.end.click(self._stop, self.chosen, None, **QUIET)
        self.chosen.change(self.show, self.inputs, self.outputs, **QUIET)

    def show(self, run_id: str | None, seen: Any) -> list[Any]:
        """Where the visitor's push of the chosen run stands, if that has changed."""
        line, is_under_way = self._state(run_id)
        if seen == [line, is_under_way]:
            return [gr.skip()] * 3
        return [[line, is_under_way], line, gr.Button(interactive=is_under_way)]

    def _state(self, run_id: str | None) -> tuple[str, bool]:
        """The line below the buttons, and whether there is something to stop."""
        user = viewer(self.access)
        if not run_id or not self.runs.is_visible(user, run_id):
            return NOTHING_CHOSEN, False
        job = self.push.of(user, run_id)
        if job is None:
            return " ".join(plain(each, 600) for each in self.push.notices(user, run_id)), False
        if not job.done.done():
            return ("Stopping …" if job.loading.stopped else loading_sentence(job.loading)), not job.loading.stopped
        return self._outcome(job), False

    def _outcome(self, job: PushJob) -> str:
        try:
            result = self.push.result(job)
        except LabError as error:
            return error_sentence(error)
        # The address is the Hub's own, with a name that was checked.
        return f"{plain(result['message'], 600)} [Open it on the Hub]({result['url']})"

    def _push(self, run_id: str | None, name: str, private: bool, rows: bool, replace: bool, token: str) -> list[Any]:
        user = viewer(self.access)
        chosen = required(run_id)
        own, licensed = for_writing(token), None if rows else False
        self.push.start(user, chosen, name, own, private=private, rows=licensed, replace=replace)
        return ["", *self.show(chosen, None)]

    def _stop(self, run_id: str | None) -> None:
        self.push.stop(viewer(self.access), run_id)

    def _token_help(self) -> str:
        if self.access.multi_user:
            return "Your own, where your sign-in does not do. Used for this push, never stored"
        return "Empty: the login of this machine. Used for this push, never stored"
