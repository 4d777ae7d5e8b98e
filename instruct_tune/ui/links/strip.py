"""The strip under the head: the room or the link that the page is in, and its locks on the form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import gradio as gr

from ...config.viewer import Viewer
from ...errors import LabError, SettingsError
from ...lesson.links import read_link
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.rooms import Rooms
from ...text.plain_text import shown
from ..context import QUIET, error_text, page_query, viewer
from ..form import Form
from ..scripted_html import Piece, packed
from .controls import controls_of, limited, link_values, lockable
from .limits import Limits, LimitsInForce, Opened, Place, counted, limits_of_link

TABS = ("Data", "Format", "Train", "Compare", "Evaluate", "Runs", "Experiments")
COMPARES = "compare"
"""In lower case it opens Compare's own link."""
MOST_NAMED = 4
"""Locked settings that the strip names."""
_APPLY = "(...values) => window.labLimits.apply(values)"
FILLED = "() => { window.labLimits?.refresh(); }"
"""JavaScript to run after the form was filled: what it broke of the locks is mended."""


class LessonStrip:
    """The strip, its locks, and what an address fills in. Updated by the page's timer."""

    def __init__(self, *, rooms: Rooms, configs: Configurations, access: Access):
        self.limits, self._configs, self._access = LimitsInForce(rooms), configs, access
        self.opened, self.seen = gr.State(Opened()), gr.State(None)
        """What the page was opened with; what the strip was made of."""
        self.strip = Piece("limits", '<p class="strip" role="status" hidden></p>').component("lesson-strip")
        self._apply = gr.Button("Apply", elem_id="limits-apply", elem_classes="unseen")

    def connect(self, form: Form, tabs: gr.Tabs) -> None:
        """Connect the form, once it is complete, and the page's tabs."""
        self._form, self._tabs = form, tabs
        controls = list(form.named.values())
        # In the browser: a response from the lab would undo what is changed meanwhile.
        self._apply.click(None, controls, controls, js=_APPLY, **QUIET)

    def hold_after(self, *events: Any) -> None:
        """Mend the locks after each event, which fills the form."""
        for event in events:
            event(None, None, None, js=FILLED, **QUIET)

    def hold(self, viewer: Viewer, opened: Opened, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """A form's configuration as the locks have it. Raises SettingsError where they forbid it."""
        return self.limits.hold(viewer, _remembered(opened), config)

    # Opening

    @property
    def arrival_outputs(self) -> list[Any]:
        """What ``arrive`` sets, beside the form's controls."""
        return [self.opened, self.seen, self.strip, self._tabs]

    def arrive(self, params: Mapping[str, str], resumed: bool) -> dict[Any, Any]:
        """The updates that the address asks for. ``resumed``: this browser tab has filled in this link before."""
        if "exhibit" in params:
            return {}
        user, opened, values = viewer(self._access), Opened(), {}
        try:
            link = read_link(params)
            opened = Opened(link)
            if link.tab not in (*TABS, COMPARES, ""):
                raise SettingsError([f"there is no tab {shown(link.tab)}: choose one of {', '.join(TABS)}"])
            if link.fills:
                values = self._filled(limits_of_link(link), opened, resumed)
            if link.tab in TABS:
                values[self._tabs] = gr.Tabs(selected=link.tab)
        except LabError as error:
            opened = Opened(fault=f"This link has a fault, so the page is as usual: {error_text(error)}")
        place = self.limits.place(user, opened)
        return {**values, self.opened: opened, self.seen: place, self.strip: packed(self._drawn(place))}

    def _filled(self, limits: Limits, opened: Opened, resumed: bool) -> dict[Any, Any]:
        self._configs.read(viewer(self._access), limits.teachers)
        link = opened.link
        return {} if resumed else link_values(self._form, limits, {**link.settings, **link.locks})

    # Polling

    @property
    def inputs(self) -> list[Any]:
        return [self.opened, self.seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.strip]

    def show(self, opened: Opened, seen: Place | None) -> list[Any]:
        """The strip and its locks, if they have changed."""
        place = self.limits.place(viewer(self._access), _remembered(opened))
        # After a restart of the lab it does not know what the page shows; most are on no link.
        if place == (seen or Place()):
            return [gr.skip(), gr.skip()]
        return [place, packed(self._drawn(place))]

    def _drawn(self, place: Place) -> dict[str, Any]:
        """The strip as ``static/limits.js`` takes it: its parts, and the locks by control."""
        limits = self.limits.of(place)
        ids = {name: control.elem_id for name, control in self._form.named.items()}
        return {"parts": self._parts(place, limits), "ids": ids, "limits": limited(self._form, limits)}

    def _parts(self, place: Place, limits: Limits | None) -> list[dict[str, str]]:
        parts = [{"text": place.opened.fault}] if place.opened.fault else []
        if place.rules:
            who = "you host it" if place.hosts else f"you are {place.name}"
            parts.append({"text": f"Room {place.title}, {who}."})
            parts.append({"text": "Back to the room", "href": room_address(place.code)})
            parts += [{"text": text} for text in self._rules(place, limits)]
        elif place.offered:
            code, title = place.offered
            parts.append({"text": f"This link is for the room {title}."})
            parts.append({"text": "Join the room", "href": room_address(code)})
        elif limits:
            parts.append({"text": f"A teacher's link: {self._locked(limits)}."})
            parts += [{"text": text} for text in self._without_control(place, limits)]
        if parts and not place.rules and not place.offered:
            parts.append({"text": "Leave the link", "href": "leave"})
        return parts

    def _rules(self, place: Place, limits: Limits | None) -> list[str]:
        assert place.rules is not None
        most = [
            f"{count:,} {unit}"
            for count, unit in ((place.rules.max_rows, "rows"), (place.rules.max_steps, "steps"))
            if count is not None
        ]
        whose = "Other people's runs have" if place.hosts else "A run has"
        sentences = [f"{whose} at most {' and '.join(most)}."] if most else []
        return [*sentences, f"{self._locked(limits)}."] if limits else sentences

    def _locked(self, limits: Limits) -> str:
        """How many settings are locked, how, and which: the labels of the first few."""
        labels = lockable(self._form)
        names = [labels.get(name, name) for name in limits.locks]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return f"{counted(limits.locks)} ({', '.join(names[:MOST_NAMED])}{more})"

    def _without_control(self, place: Place, limits: Limits) -> list[str]:
        """Settings of a link that no control holds, so that only a lock carries them."""
        fixed = {name for name, lock in limits.locks.items() if lock.fixes}
        lost = [name for name in place.opened.link.settings if name not in fixed and not _has_control(self._form, name)]
        return [f"This page has no control for {', '.join(lost)}: fix what is to hold."] if lost else []


def room_address(code: str) -> str:
    """Where the room's page is, beside the lab's."""
    return f"room?code={quote(code, safe='')}"


def _remembered(opened: Opened) -> Opened:
    """``opened``, or what the page's address says, where the lab was started again since and has forgotten it."""
    if opened != Opened():
        return opened
    params = page_query()
    if not params or "exhibit" in params:
        return opened
    try:
        link = read_link(params)
        limits_of_link(link)
    except LabError:
        # A link with a fault locks nothing.
        return opened
    return Opened(link)


def _has_control(form: Form, name: str) -> bool:
    return bool(controls_of(form, name))


def with_tab_and_step() -> str:
    """JavaScript: a query → the page's address with it, and the tab that is open."""
    return """query => {
  if (!query) return '';
  const open = document.querySelector('#tabs [role=tab][aria-selected=true]')?.textContent.trim();
  const tab = TABS.includes(open) ? `&tab=${open}` : '';
  return `${location.origin}${location.pathname}?${query}${tab}`;
}""".replace("TABS", json.dumps(TABS))
