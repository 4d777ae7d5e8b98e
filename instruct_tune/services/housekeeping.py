"""Housekeeping that goes on: each piece of work fails alone, is logged, and is tried again in the next round."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


def attempt(work: Callable[[], object], what: str) -> None:
    """Do one piece of work; where it fails, log ``what`` could not be done and why."""
    try:
        work()
    except Exception:
        # The boundary of the threads that tidy: one file or run that resists must not end them until a restart.
        log.exception("Housekeeping could not %s; it tries again in the next round.", what)
