"""Texts and tables of the Compare tab. Pure functions, no gradio."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...text.markdown import plain
from ..formatting import decoding, percent

if TYPE_CHECKING:
    from ...evaluation.token_losses import AnswerLosses, AnswerToken, Candidate

HELD_OUT, TYPED = "Held-out row", "My own instruction"
"""The kinds of question."""


def answer_details(texts: Mapping[str, Any], side: str) -> str:
    """Length, time and how it ended, for under the answer: ``62 tokens in 3.1 s, ended by itself``.

    Empty for a side that does not answer.
    """
    if side not in texts:
        return ""
    if texts.get("stopped"):
        return "Stopped; what is there is kept." if texts[side] else "Stopped before the first token."
    if not texts["done"]:
        return f"{texts['seconds']:.1f} s…" if "seconds" in texts else ""
    return _details(texts, side, f" in {texts[f'{side}_seconds']:.1f} s")


def recorded_details(row: Mapping[str, Any], side: str) -> str:
    """Length of an evaluation's answer and how it ended: ``62 tokens, ended by itself``. ``row``: of predictions."""
    return _details(row, side, "") if side in row else ""


def _details(texts: Mapping[str, Any], side: str, duration: str) -> str:
    ended = "ended by itself" if texts[f"{side}_ended"] else "**cut at the token limit**"
    tokens = texts[f"{side}_tokens"]
    nothing = "" if texts[side].strip() else "Nothing to see (empty, or only whitespace): "
    return f"{nothing}{tokens} token{'' if tokens == 1 else 's'}{duration}, {ended}"


def recorded_sentence(evaluation: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """When the answers of an evaluation were made, where it was on another machine, and how. Markdown.

    ``provenance``: of the run.
    """
    origin = provenance.get("recorded")
    when = origin["date"] if origin else time.strftime("%Y-%m-%d %H:%M", time.localtime(evaluation["time"]))
    where = f" ({origin['machine']})" if origin else ""
    warning = f"<br>**{plain(evaluation['other_weights'], 500)}**" if evaluation.get("other_weights") else ""
    sentence = plain(f"Recorded answers of the evaluation on {when}{where}.", 200)
    return f"{sentence} {decoding(evaluation['generation'])}{warning}"


def state_sentence(texts: Mapping[str, Any], settings: Mapping[str, Any], strength: float = 1.0) -> str:
    """The status in words; once done, the settings that the answers were made with. Markdown."""
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


HEADERS = ["position", "token", "base", "tuned", "gain in nats", "base's likeliest", "tuned's likeliest"]
ABOUT_THE_SAME = 1.05
"""Up to this factor per token, the answer counts as equally likely for both models."""

NAMED = 3
"""How many of the largest gains, and of the largest losses, the sentence names."""

WORTH_NAMING = 0.5
"""Nats that a token has to gain or lose before the sentence names it."""

_MAX_NATS = 300.0


def sentence(losses: AnswerLosses) -> str:
    """Whether tuned finds the answer likelier than base, by how much, and at which tokens. Markdown, one paragraph."""
    count = len(losses.tokens)
    means = losses.base / count, losses.tuned / count
    text = f"**{_verdict(means[0] - means[1])}** Loss per token {means[0]:.2f} → {means[1]:.2f}"
    text += f", over the {count} token{'s' * (count > 1)} {losses.base:.1f} → {losses.tuned:.1f} nats."
    ranked = sorted(losses.tokens, key=lambda token: -token.gain)
    text += _named("Gained most", [token for token in ranked if token.gain >= WORTH_NAMING])
    text += _named("Lost most", [token for token in reversed(ranked) if token.gain <= -WORTH_NAMING])
    if losses.cut:
        text += f" The row is long: its last {losses.cut} tokens were not looked at."
    return text


def _verdict(gain: float) -> str:
    times = math.exp(min(abs(gain), _MAX_NATS))
    if times < ABOUT_THE_SAME:
        return "Tuned finds this answer about as likely as base does."
    return (
        f"Tuned finds this answer {times:,.2g} times as {'likely' if gain > 0 else 'unlikely'} per token as base does."
    )


def _named(label: str, tokens: Sequence[AnswerToken]) -> str:
    named = [f"{plain(quoted(token.text, token.ends))} {_change(token)}" for token in tokens[:NAMED]]
    return f" {label}: {', '.join(named)}." if named else ""


def _change(token: AnswerToken) -> str:
    return f"{percent(token.base.probability)} → {percent(token.tuned.probability)}"


def quoted(text: str, ends: bool = False) -> str:
    """A token in quotes with visible blanks; EOS by its name."""
    if ends:
        return "EOS"
    return f"“{text.replace(' ', '·').replace(chr(10), '↵').replace(chr(9), '→')}”"


def table(losses: AnswerLosses) -> list[list[Any]]:
    """The token losses as table rows, one a token, under ``HEADERS``."""
    return [
        [
            at,
            quoted(token.text, token.ends),
            percent(token.base.probability),
            percent(token.tuned.probability),
            f"{token.gain:+.2f}",
            *(_listed(score.candidates) for score in (token.base, token.tuned)),
        ]
        for at, token in enumerate(losses.tokens, 1)
    ]


def _listed(candidates: Sequence[Candidate]) -> str:
    return ", ".join(f"{quoted(each.text)} {percent(each.probability)}" for each in candidates)
