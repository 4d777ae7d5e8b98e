"""The datasets a visitor can pick without typing: the catalog's, then the ones they loaded lately."""

from __future__ import annotations

import os
from typing import Any

from ...config.catalog import DATASETS
from ...config.viewer import Viewer
from ...lab import Lab
from ..browser_state import recent_sources


def source_choices(lab: Lab, recent: Any, viewer: Viewer) -> list[tuple[str, str]]:
    """(label, source), whatever a browser says it remembers: what is gone, or not ``viewer``'s, is left out."""
    offered = [(f"{card.source}: {card.note}", card.source) for card in DATASETS]
    known = {source for _, source in offered}
    lately = [source for source in recent_sources(recent) if source not in known and _is_there(source)]
    lately = [source for source in lately if lab.may_use(source, viewer)]
    return offered + [(f"{lab.source_name(source)}: loaded lately", source) for source in lately]


def _is_there(source: str) -> bool:
    return source.startswith("hub:") or os.path.isfile(os.path.expanduser(source))
