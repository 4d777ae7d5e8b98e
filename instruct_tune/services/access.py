"""Who is asking, and what they may see and change."""

from __future__ import annotations

import dataclasses
import hmac
import threading
from collections import OrderedDict

from ..config.viewer import ANONYMOUS, Viewer, known_by
from ..runs.examples import recorded_on
from ..store.run import Run

MAX_SESSIONS = 10_000


class Access:
    """Owns the sessions: which viewer is behind which open page.

    A page has a new session at every load. It sends its visitor's secret at load and with every poll, so the
    session is known again a second after a restart.

    Args:
        admin_token: The host's token, if there is one.
        multi_user: Whether others than the host always use the lab.
    """

    def __init__(self, admin_token: str | None = None, multi_user: bool = False):
        self.admin_token, self._multi_user = admin_token, multi_user
        self.room_hosts: frozenset[str] = frozenset()
        """Who hosts an open room: the lab's hosts meanwhile."""
        self._sessions: OrderedDict[str, Viewer] = OrderedDict()
        self._hosts: set[str] = set()
        self._lock = threading.Lock()

    @property
    def multi_user(self) -> bool:
        """Whether others than the host use the lab now. Permissions apply only there."""
        return self._multi_user or bool(self.room_hosts)

    # Sessions

    def arrive(self, session: str | None, secret: str) -> Viewer:
        """Remember whose page ``session`` is. Raises DataError for a secret that could be guessed."""
        viewer = known_by(secret)
        if session:
            with self._lock:
                self._sessions[session] = viewer
                self._sessions.move_to_end(session)
                while len(self._sessions) > MAX_SESSIONS:
                    self._hosts.discard(self._sessions.popitem(last=False)[0])
        return self.of(session)

    def of(self, session: str | None) -> Viewer:
        """The viewer behind a page; ANONYMOUS where it sent no secret."""
        with self._lock:
            viewer = self._sessions.get(session or "", ANONYMOUS)
            return Viewer(viewer.id, host=True) if session in self._hosts else self.known(viewer)

    def known(self, viewer: Viewer) -> Viewer:
        """``viewer`` as the host where they host a room."""
        return dataclasses.replace(viewer, host=True) if not self.room_hosts.isdisjoint(viewer.ids) else viewer

    def admit(self, session: str | None, token: str) -> bool:
        """Make the page the host's if ``token`` is the host's token; returns whether it is."""
        if not session or not self.is_host_token(token):
            return False
        with self._lock:
            self._sessions.setdefault(session, ANONYMOUS)
            self._hosts.add(session)
        return True

    def is_host_token(self, token: object) -> bool:
        """Whether ``token`` is the host's."""
        if not self.admin_token or not isinstance(token, str):
            return False
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.admin_token.encode())

    # Permissions

    def may_change(self, viewer: Viewer, run: Run) -> bool:
        """Whether ``viewer`` may stop, rename or delete the run.

        On a lab of one user everybody may; else the host and who started it. A run that a script started without a
        secret is anybody's, a recorded run is the host's.
        """
        if self.owns_machine(viewer):
            return True
        return run.started_by in (None, *viewer.ids) and recorded_on(run.provenance) is None

    def owns_machine(self, viewer: Viewer) -> bool:
        """Whether the machine's files are the viewer's to name: everybody's on a lab of one user, else the host's."""
        return viewer.host or not self.multi_user

    def may_read_traceback(self, viewer: Viewer, run: Run) -> bool:
        """Whether ``viewer`` may read where in the code the run failed."""
        return self.owns_machine(viewer) or run.started_by in viewer.ids

    def may_read_own_prompts(self, viewer: Viewer, run: Run) -> bool:
        """Whether ``viewer`` may read the prompts that a person typed for the run, and the answers to them.

        Those of a recorded run come with the project. On a lab of one user, a run that a script started without a
        secret is that user's.
        """
        if viewer.host or recorded_on(run.provenance) is not None:
            return True
        return not self.multi_user if run.started_by is None else run.started_by in viewer.ids

    def has_quota(self, viewer: Viewer) -> bool:
        """Whether what ``viewer`` keeps is limited, and removed after a time."""
        return self.multi_user and not viewer.host


def submitter(viewer: Viewer) -> str | None:
    """Under which name the queue counts the viewer's jobs: scripts without a secret share one, the host has none."""
    return None if viewer.host else viewer.id or "anonymous"
