"""Generation settings in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..text.markdown import plain


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
