"""What the Search tab shows, as JSON values and sentences. Pure functions, no gradio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..formatting import percent

if TYPE_CHECKING:
    from ...generation.search import Beam, BeamTree, Choice, GreedyAnswer, Token

SIDES = ("base", "tuned")
TIE = 5e-4
"""Means that differ by less than this count as equal: they are shown with two digits, and rounding differs."""


def greedy_value(answers: tuple[GreedyAnswer, ...]) -> dict[str, Any]:
    """For each side its prefix, and for each place the candidates with their probabilities."""
    return {
        side: {
            "prefix": [_token(token) for token in answer.prefix],
            "places": [{"candidates": [_choice(each) for each in place]} for place in answer.places],
        }
        for side, answer in zip(SIDES, answers, strict=True)
    }


def beams_value(trees: tuple[BeamTree, ...], answers: tuple[GreedyAnswer, ...]) -> dict[str, Any]:
    """For each side the steps with their beams, the finished answers best first, and a sentence about the best."""
    return {side: _tree(tree, answer) for side, tree, answer in zip(SIDES, trees, answers, strict=True)}


def beam_sentence(tree: BeamTree, greedy: GreedyAnswer) -> str:
    """How the search's answer compares to the greedy one, by the mean of their tokens' log-probabilities."""
    best = tree.path(*tree.finished[0])
    mean = best[-1].score / len(best)
    greedy_mean = math.fsum(place[0].log_probability for place in greedy.places) / len(greedy.places)
    if [beam.token.id for beam in best] == [place[0].token.id for place in greedy.places]:
        return f"The best answer is the greedy one: {_signed(mean)} a token."
    numbers = f"{_signed(mean)} a token, greedy {_signed(greedy_mean)}"
    if abs(mean - greedy_mean) < TIE:
        return f"Another answer than the greedy one, and as likely: {numbers}."
    if mean > greedy_mean:
        return f"A likelier answer than the greedy one: {numbers}."
    return f"A less likely answer than the greedy one, whose beam was given up on the way: {numbers}."


def _tree(tree: BeamTree, greedy: GreedyAnswer) -> dict[str, Any]:
    paths = [tree.path(*place) for place in tree.finished]
    by_sum = sorted(range(len(paths)), key=lambda at: -paths[at][-1].score)
    return {
        "steps": [[_beam(beam) for beam in beams] for beams in tree.steps],
        "finished": tree.finished,
        "answers": [
            {
                "text": "".join(beam.token.text.text for beam in path if not beam.token.ends),
                "tokens": len(path),
                "sum": path[-1].score,
                "mean": path[-1].score / len(path),
                "by_sum": by_sum.index(at) + 1,
            }
            for at, path in enumerate(paths)
        ],
        "sentence": beam_sentence(tree, greedy),
    }


def _token(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text.text, "bytes": token.text.bytes, "ends": token.ends}


def _choice(choice: Choice) -> dict[str, Any]:
    probability = math.exp(choice.log_probability)
    return {**_token(choice.token), "p": round(probability, 4), "percent": percent(probability)}


def _beam(beam: Beam) -> dict[str, Any]:
    return {
        **_token(beam.token),
        "parent": beam.parent,
        "percent": percent(math.exp(beam.log_probability)),
        "score": beam.score,
        "ended": beam.ended,
    }


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
