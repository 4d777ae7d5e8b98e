"""Durations, shares and decoding settings in words, and the names of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..text.markdown import plain


def duration(seconds: float | None) -> str:
    """``75`` → ``1 min 15 s``."""
    if seconds is None:
        return "—"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def hours(number: int) -> str:
    """``168`` → ``7 days``; ``24`` → ``24 hours``."""
    if number >= 48 and number % 24 == 0:
        return f"{number // 24} days"
    return f"{number} hour" + ("s" if number != 1 else "")


def percent(share: float) -> str:
    """``71%``, ``2.4%``, ``99.7%``; never 0%, which a small probability would read as, and 100% for all alone."""
    value = 100 * share
    if value < 0.01:
        return "<0.01%"
    if 99.95 <= value < 100:
        return ">99.9%"
    return f"{value:.1f}%" if 99 < value < 100 else f"{value:.0f}%" if value >= 9.95 else f"{value:.2g}%"


def decoding(settings: Mapping[str, Any]) -> str:
    """Generation settings in words: ``Greedy decoding, at most 96 new tokens.``"""
    if settings["num_beams"] > 1:
        way = f"Beam search with {settings['num_beams']} beams"
    elif settings["do_sample"]:
        way = (
            f"Sampling at temperature {settings['temperature']:g}, top-p {settings['top_p']:g}, seed {settings['seed']}"
        )
    else:
        way = "Greedy decoding"
    if settings.get("max_length"):
        most = f"{settings['max_length']} tokens with the prompt"
    else:
        most = f"{settings['max_new_tokens']} new tokens"
    return f"{way}, at most {most}{_stops(settings.get('stop') or [])}."


def _stops(stop: Sequence[str]) -> str:
    texts = " or ".join(plain(json.dumps(text, ensure_ascii=False), 100) for text in stop)
    return f", cut before {texts}" if texts else ""


NAMES = {"base": "Base", "tuned": "Tuned"}
"""The models that always answer."""
THIRD = "third"
WHO = (*NAMES, THIRD)
"""Keys of Compare's answer boxes; the third one's title depends on which model it is."""
