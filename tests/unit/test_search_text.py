"""The values and sentences of the Search fold."""

from __future__ import annotations

import json

import pytest

from instruct_tune.generation.search import Beam, BeamTree, Choice, GreedyAnswer, Token
from instruct_tune.tokenization.token_text import TokenText
from instruct_tune.ui.compare.search_text import beam_sentence, beams_value, greedy_value

HOSTILE = "<img src=x onerror=alert(1)>${7*7}"


def token(id: int, text: str = "x", bytes: str = "", ends: bool = False) -> Token:
    return Token(id, TokenText(text, bytes), ends)


def greedy(*steps: tuple[int, float]) -> GreedyAnswer:
    return GreedyAnswer((), tuple((Choice(token(id), logarithm),) for id, logarithm in steps))


SHORT_AND_LONG = BeamTree(
    (
        (Beam(None, token(1, "a"), -0.5, -0.5, False), Beam(None, token(2, "b"), -1.5, -1.5, False)),
        (Beam(0, token(3, "c"), -0.5, -1.0, False), Beam(1, token(9, "", ends=True), -0.1, -1.6, True)),
        (Beam(0, token(9, "</s>", ends=True), -0.9, -1.9, True),),
    ),
    ((2, 0), (1, 1)),
)
"""The longer answer has the lower sum, and the higher sum per token."""


def test_complete_answers_have_both_ranks():
    value = beams_value((SHORT_AND_LONG,) * 2, (greedy((1, -0.5)),) * 2)["tuned"]
    long, short = value["answers"]
    assert (long["text"], long["tokens"], long["by_sum"]) == ("ac", 3, 2)
    assert (short["text"], short["tokens"], short["by_sum"]) == ("b", 2, 1)
    assert long["mean"] == pytest.approx(-1.9 / 3)
    assert value["finished"] == ((2, 0), (1, 1))
    assert [[beam["parent"] for beam in step] for step in value["steps"]] == [[None, None], [0, 1], [0]]


def test_a_place_has_its_candidates_with_their_probabilities():
    answer = GreedyAnswer((token(7, "", "F0 9F"),), ((Choice(token(1, HOSTILE), -0.5), Choice(token(2), -12.0)),))
    value = json.loads(json.dumps(greedy_value((answer, answer))))["base"]
    assert value["prefix"] == [{"id": 7, "text": "", "bytes": "F0 9F", "ends": False}]
    first, second = value["places"][0]["candidates"]
    assert (first["text"], first["p"], first["percent"]) == (HOSTILE, 0.6065, "61%")
    assert second["percent"] == "<0.01%"


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (greedy((1, -0.5), (3, -0.5), (9, -0.9)), "is the greedy one: −0.63 a token"),
        (greedy((1, -0.5), (4, -0.4), (5, -2.0)), "A likelier answer than the greedy one: −0.63 a token, greedy −0.97"),
        (greedy((1, -0.5), (4, -0.4)), "A less likely answer"),
        (greedy((1, -0.5), (4, -0.5), (9, -0.9)), "as likely"),
    ],
)
def test_the_sentence_compares_with_the_greedy_answer(answer, wanted):
    assert wanted in beam_sentence(SHORT_AND_LONG, answer)
