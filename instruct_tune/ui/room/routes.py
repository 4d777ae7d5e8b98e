"""The room over HTTP: two pages, their files, and a JSON endpoint an action.

A request says whose it is by the header of ``context.HEADER``; a page of another site cannot send that.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ...config.presets import PRESET_NOTES, PRESETS
from ...config.viewer import ANONYMOUS, Viewer, known_by
from ...errors import BusyError, LabError, NotFoundError, NotYoursError
from ...lab import Lab
from ..context import HEADER, error_text
from ..scripted_html import static_text
from .state import RoomState, experiments

log = logging.getLogger(__name__)
PAGES = ("room", "present")
FILES = (
    *("room_common.js", "room_views.js", "room_chart.js", "room_common.css", "room_views.css"),
    *("room.js", "room_door.js", "room_host.js", "room_plan.js", "room.css"),
    *("present.js", "present.css"),
)
MAX_BODY = 100_000
MAX_LINK = 300
_TYPES = {"js": "text/javascript", "css": "text/css"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}
_STATUS: dict[type[LabError], int] = {NotFoundError: 404, NotYoursError: 403, BusyError: 409}


class RoomRoutes:
    """The routes for the page's server. ``run_page``: (viewer, run) → the run as one HTML file."""

    def __init__(self, lab: Lab, run_page: Callable[[Viewer, str], str]):
        self._run_as_page, self._one_page = run_page, threading.Lock()
        self._lab, self._rooms, self._access = lab, lab.rooms, lab.access
        self._state = RoomState(lab.rooms, lab.room_activities, lab.room_boards, not lab.devices.lends_gpus)

    @property
    def routes(self) -> list[Route]:
        """For the server, before gradio's own."""
        pages = [Route(f"/{name}", _page(name)) for name in PAGES]
        files = [Route(f"/room/{name}", _file(name)) for name in FILES]
        return [
            *pages,
            *files,
            Route("/room/qr.svg", self._qr),
            Route("/room/page", self._run_page),
            Route("/room/api/state", self._get_state),
            Route("/room/api/options", self._options),
            Route("/room/api/handed_in", self._handed_in),
            Route("/room/api/{action}", self._act, methods=["POST"]),
        ]

    # Reading

    def _get_state(self, request: Request) -> Response:
        return self._answered(lambda: self._fresh_state(request))

    def _fresh_state(self, request: Request) -> Response:
        """The state, or 204 where the page has it already (``seen``: the tag of its last answer)."""
        body = self._state.of(self._viewer(request), request.query_params.get("code"))
        tag = hashlib.sha256(body).hexdigest()[:16]
        if request.query_params.get("seen") == tag:
            return Response(status_code=204, headers=_SAFE)
        return Response(body, media_type="application/json", headers={**_SAFE, "x-room-state": tag})

    def _options(self, request: Request) -> Response:
        """What a host chooses from: may they open a room, measured experiments, evaluated runs, presets."""

        def read() -> Response:
            viewer = self._viewer(request)
            evaluated = self._lab.runs.last_evaluations(viewer)
            runs = [each for each in self._lab.runs.summaries(viewer) if each["id"] in evaluated]
            return _json(
                {
                    "may_open": self._rooms.may_open(viewer),
                    "by_token": bool(self._access.admin_token),
                    "experiments": experiments(),
                    "runs": [{"id": run["id"], "name": run["name"]} for run in runs],
                    "presets": [{"key": key, "note": PRESET_NOTES[key]} for key in PRESETS],
                }
            )

        return self._answered(read)

    def _handed_in(self, request: Request) -> Response:
        def read() -> Response:
            rows = self._state.handed_in(self._viewer(request), request.query_params.get("code"))
            out = io.StringIO()
            csv.writer(out).writerows([_cell(value) for value in row] for row in rows)
            # The mark tells spreadsheets that the text is UTF-8.
            return Response(f"\ufeff{out.getvalue()}", media_type="text/csv", headers=_SAFE)

        return self._answered(read)

    def _run_page(self, request: Request) -> Response:
        """A run as one page, for who has the link; private runs have none."""

        def read() -> Response:
            # Each takes a processor for a second: a class that opens them all waits in line.
            with self._one_page:
                html = self._run_as_page(ANONYMOUS, request.query_params.get("run", ""))
            headers = {**_SAFE, "content-disposition": 'attachment; filename="run.html"'}
            return Response(html, media_type="application/octet-stream", headers=headers)

        return self._answered(read)

    def _qr(self, request: Request) -> Response:
        """The QR code of a link."""
        import segno

        link = request.query_params.get("link", "")
        if not link.startswith(("http://", "https://")) or len(link) > MAX_LINK:
            return _json({"error": "A QR code is made of a link."}, 400)
        out = io.BytesIO()
        segno.make(link, error="m").save(out, kind="svg", scale=8, border=2, xmldecl=False)
        return Response(out.getvalue(), media_type="image/svg+xml", headers=_SAFE)

    # Acting

    async def _act(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        action = _ACTIONS.get(request.path_params["action"])
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return _json({"error": "That is too long."}, 413)
        try:
            values = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            values = None
        if action is None or not isinstance(values, dict):
            return _json({"error": "The room does not understand that: reload the page."}, 400)

        def act() -> Response:
            return _json(action(self._lab, self._viewer(request), values) or {})

        return await run_in_threadpool(self._answered, act)

    def _viewer(self, request: Request) -> Viewer:
        secret = request.headers.get(HEADER)
        return self._access.known(known_by(secret)) if secret else ANONYMOUS

    def _answered(self, work: Callable[[], Response]) -> Response:
        try:
            return work()
        except LabError as error:
            return _json({"error": error_text(error)}, _STATUS.get(type(error), 400))
        except Exception:
            # The request's boundary: the page gets a sentence, the log the rest.
            log.exception("a request of a room failed")
            return _json({"error": "The lab has a fault here; its log says which."}, 500)


Values = Mapping[str, Any]
Action = Callable[[Lab, Viewer, Values], Any]


def _call(find: Callable[[Lab], Callable[..., Any]], *names: str, returns: str = "") -> Action:
    """An action that calls a service's method with the viewer and the values of these names.

    ``returns``: the name of the method's result in the answer; an action without one answers nothing.
    """

    def act(lab: Lab, viewer: Viewer, values: Values) -> Any:
        result = find(lab)(viewer, *(values.get(name) for name in names))
        return {returns: result} if returns else None

    return act


def _rule(lab: Lab, viewer: Viewer, values: Values) -> Any:
    changes = values.get("changes")
    lab.rooms.rule(viewer, values.get("code"), changes if isinstance(changes, dict) else {})


def _add_blind(lab: Lab, viewer: Viewer, values: Values) -> Any:
    question = values.get("instruction", "")
    return {"activity": lab.room_activities.blind(viewer, values.get("code"), values.get("run"), question)}


def _add_sweep(lab: Lab, viewer: Viewer, values: Values) -> Any:
    title, cards = values.get("title"), values.get("cards")
    seeds = values.get("seeds", 2)
    return {"activity": lab.room_activities.sweep(viewer, values.get("code"), title, cards, seeds)}


def _start(lab: Lab, viewer: Viewer, values: Values) -> Any:
    another = values.get("another") is True
    return {"run": lab.room_activities.start(viewer, values.get("code"), values.get("activity"), another)}


_ACTIONS: dict[str, Action] = {
    "open": _call(lambda lab: lab.rooms.open, "title", "minutes", "token", returns="code"),
    "join": _call(lambda lab: lab.rooms.join, "code", "name"),
    "rename": _call(lambda lab: lab.rooms.rename, "code", "name", "person"),
    "remove": _call(lambda lab: lab.rooms.remove, "code", "person"),
    "rule": _rule,
    "extend": _call(lambda lab: lab.rooms.extend, "code", "minutes"),
    "end": _call(lambda lab: lab.rooms.end, "code"),
    "guess": _call(lambda lab: lab.room_activities.guess, "code", "experiment", returns="activity"),
    "blind": _add_blind,
    "sweep": _add_sweep,
    "board": _call(lambda lab: lab.room_activities.board, "code", "by", returns="activity"),
    "drop": _call(lambda lab: lab.rooms.drop, "code", "activity"),
    "move_up": _call(lambda lab: lab.rooms.move_up, "code", "activity"),
    "begin": _call(lambda lab: lab.rooms.begin, "code", "activity"),
    "reveal": _call(lambda lab: lab.rooms.reveal, "code", "activity"),
    "choose": _call(lambda lab: lab.rooms.choose, "code", "activity", "choice"),
    "start": _start,
    "evaluate": _call(lambda lab: lab.room_activities.evaluate, "code", "run"),
    "hand_in": _call(lambda lab: lab.rooms.hand_in, "code", "run"),
}


def _page(name: str) -> Callable[[Request], Response]:
    def page(request: Request) -> Response:
        return HTMLResponse(static_text(f"{name}.html"), headers={**_SAFE, "content-security-policy": _POLICY})

    return page


def _file(name: str) -> Callable[[Request], Response]:
    def file(request: Request) -> Response:
        return Response(static_text(name), media_type=_TYPES[name.rpartition(".")[2]], headers=_SAFE)

    return file


def _json(value: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(value, status, headers=_SAFE)


def _cell(value: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
