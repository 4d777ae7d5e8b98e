"""What Compare says about two answers. Pure functions, no gradio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...text.markdown import plain
from ..decoding_words import decoding

HELD_OUT, TYPED = "Held-out row", "My own instruction"
"""What can be asked."""


def answer_facts(texts: Mapping[str, Any], who: str) -> str:
    """Length, time and how it ended, for under the answer: ``62 tokens in 3.1 s, ended by itself``.

    Nothing for one who was not asked.
    """
    if who not in texts:
        return ""
    if texts.get("stopped"):
        return "Stopped; what is there is kept." if texts[who] else "Stopped before the first token."
    if not texts["done"]:
        return f"{texts['seconds']:.1f} s…" if "seconds" in texts else ""
    ended = "ended by itself" if texts[f"{who}_ended"] else "**cut at the token limit**"
    tokens = texts[f"{who}_tokens"]
    nothing = "" if texts[who].strip() else "Nothing to see (empty, or only whitespace): "
    return f"{nothing}{tokens} token{'' if tokens == 1 else 's'} in {texts[f'{who}_seconds']:.1f} s, {ended}"


def state_sentence(texts: Mapping[str, Any], settings: Mapping[str, Any], strength: float = 1.0) -> str:
    """What is going on, in words; once it is done, what the answers were made with. Markdown."""
    warning = f"<br>**{plain(texts['warning'], 500)}**" if texts.get("warning") else ""
    return _state(texts, f"{decoding(settings)}{_strength(strength)}") + warning


def _state(texts: Mapping[str, Any], how: str) -> str:
    if texts.get("stopped"):
        return f"Stopped. {how}"
    if texts["done"]:
        same = " Base and tuned say the same." if texts["base"] == texts["tuned"] else ""
        return f"Done.{same} {how}"
    waiting = not (texts["base"] or texts["tuned"])
    return str(texts["message"]) if waiting and texts.get("message") else f"Answering… {how}"


def _strength(strength: float) -> str:
    if strength == 0:
        return " **Adapter off: tuned is base here.**"
    return "" if strength == 1 else f" **Adapter at {strength:g} times its trained strength.**"
