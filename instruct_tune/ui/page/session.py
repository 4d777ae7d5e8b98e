"""Somebody opens the page: who they are, what their browser remembers, which run they follow."""

from __future__ import annotations

import secrets
from typing import Any

import gradio as gr

from ...lab import Lab
from ...store.run_store import LIVE
from ..browser_state import RESTORED, Memory, restored
from ..context import recognise, session, viewer
from ..form import Form


def welcome(lab: Lab, page: gr.Blocks, form: Form, memory: Memory, shown_run: gr.State) -> Any:
    """Have the page begin where its visitor left it, so that a refresh loses nothing.

    Returns the event after which the form shows what was remembered.
    """

    def arrive(token: Any, kept: Any) -> dict[Any, Any]:
        """Their secret (made at their first visit), their form, the run to follow."""
        known = token if recognise(lab, token) else secrets.token_urlsafe(24)
        lab.visitors.arrive(session(), known)
        # With no run to follow nothing is set: they may have asked for a recorded one by now.
        return {memory.token: known, shown_run: newest(lab) or gr.skip(), **restored(form, kept)}

    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    arrival = page.load(arrive, [memory.token, memory.form], [memory.token, shown_run, *form.controls], **quiet)
    arrival.then(None, None, None, js=RESTORED, api_visibility="private")
    return arrival


def newest(lab: Lab) -> str | None:
    """The run that is at work, else the newest of this lab's own: what a fresh or second window follows."""
    known = [run for run in lab.list_runs(viewer(lab)) if not run["recorded"]]
    # What waits in the line is newer than what is at work.
    known.sort(key=lambda run: (run["status"] not in LIVE, run["status"] == "queued"))
    return next((run["id"] for run in known), None)
