"""Opening the page: the visitor's secret, the stored form, and the run to show."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

import gradio as gr

from ...errors import LabError
from ...services.access import Access
from ...services.runs import Runs
from ..browser_state import (
    ARRIVED,
    ARRIVING,
    RESTORED,
    Memory,
    first_values,
    is_resumed,
    own_or_linked,
    restored,
    restored_parent,
)
from ..context import HEADER, PRIVATE, QUIET, identify_viewer, session
from ..form import Form
from ..run_picker import newest
from .exhibit_link import ExhibitLink


class LinkedPage(Protocol):
    """What an address with a link or a room sets as the page opens."""

    @property
    def arrival_outputs(self) -> list[Any]: ...
    def arrive(self, params: Mapping[str, str], resumed: bool) -> dict[Any, Any]: ...


class Continued(Protocol):
    """The run to continue. ``remembered``: its id as the browser stores it."""

    remembered: gr.Textbox

    def restored(self, run_id: str | None) -> str: ...
    def restore_after(self, event: Any) -> None: ...


def welcome(
    page: gr.Blocks,
    form: Form,
    memory: Memory,
    shown_run: gr.State,
    exhibit: ExhibitLink,
    strip: LinkedPage,
    continued: Continued,
    *,
    runs: Runs,
    access: Access,
) -> Any:
    """Restore the page as its visitor left it, so that a refresh loses nothing, or as a link or an ``exhibit`` has it.

    Returns the event after which the form shows the stored values.
    """

    def arrive(token: Any, kept: Any, request: gr.Request) -> dict[Any, Any]:
        """The visitor's secret (made at their first visit), their form, and the run to show."""
        secret = token if identify_viewer(access, token) else secrets.token_urlsafe(24)
        access.arrive(session(), secret)
        # With no run nothing is set: the visitor may have chosen a recorded one by now.
        stored = own_or_linked(kept)
        shown = {shown_run: newest(runs=runs, access=access) or gr.skip(), **restored(form, stored)}
        shown[continued.remembered] = continued.restored(restored_parent(stored))
        linked = strip.arrive(dict(request.query_params), is_resumed(kept))
        return {memory.token: secret, **shown, **linked, **exhibit.values(request)}

    arrival = page.load(
        arrive,
        [memory.token, memory.form],
        [memory.token, shown_run, *form.controls, continued.remembered, *strip.arrival_outputs, *exhibit.outputs],
        queue=False,
        js=ARRIVING,
        **QUIET,
    )
    continued.restore_after(arrival)
    arrival.then(None, memory.token, None, js=ARRIVED, **PRIVATE)
    arrival.then(None, None, None, js=RESTORED, **PRIVATE)
    return arrival


def build(access: Access, form: Form, memory: Memory) -> Any:
    """Add the folds under the tabs; returns the event that resets the form."""
    with gr.Accordion("This browser", open=False, elem_id="browser"):
        gr.Markdown("What you fill in is kept in this browser for your next visit, and nowhere else.")
        reset = gr.Button("Reset the form", elem_id="form-reset", size="sm", elem_classes="next")
        key = gr.Textbox(
            label="Your secret for scripts",
            info=f"Sent as the header {HEADER}, it gives a script what is yours. Keep it to yourself.",
            type="password",
            interactive=False,
            buttons=["copy"],
            elem_id="browser-key",
        )
    memory.token.change(lambda token: token, memory.token, key, **QUIET)
    if access.admin_token:
        _host(access)

    first = first_values(form)
    # In the browser: a response from the lab would undo what is filled in meanwhile.
    script = f"() => {json.dumps(list(first.values()))}"
    return reset.click(None, None, list(first), js=script, **QUIET)


def _host(access: Access) -> None:
    """The fold where the host enters the token of ``LAB_ADMIN_TOKEN``."""
    with gr.Accordion("Host", open=False, elem_id="host"), gr.Row(equal_height=True):
        token = gr.Textbox(
            label="The host's token",
            info="With it this page sees every run and may stop any, until it is closed",
            type="password",
            elem_id="host-token",
            scale=3,
        )
        enter = gr.Button("Enter", elem_id="host-enter", scale=1, min_width=120)

    def admit(text: str) -> str:
        if not access.admit(session(), text):
            raise LabError("That is not the host's token.")
        gr.Info("This page now acts for the host.")
        return ""

    gr.on([enter.click, token.submit], admit, token, token, **PRIVATE)
