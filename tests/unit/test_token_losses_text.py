"""Sentences about an answer's tokens, and that no text of a dataset becomes markup."""

from __future__ import annotations

import base64
import json
import math

import pytest

from instruct_tune.evaluation.token_losses import AnswerLosses, AnswerToken, Candidate, TokenScore
from instruct_tune.ui.compare.heat_map import heat_tokens
from instruct_tune.ui.compare.text import quoted, sentence, table
from instruct_tune.ui.formatting import percent
from instruct_tune.ui.scripted_html import packed

EVIL = "<img src=x>${1} *b*\n"


def token(text, base, tuned, ends=False):
    """A token with these probabilities under base and tuned."""
    candidates = (Candidate(1, text, max(base, tuned)),)
    return AnswerToken(1, text, ends, *(TokenScore(-math.log(p), candidates) for p in (base, tuned)))


def test_the_sentence_says_how_much_likelier_and_where():
    losses = AnswerLosses((token("a", 0.1, 0.5), token("b c", 0.2, 0.8), token("", 0.5, 0.5, ends=True)), 0)
    text = sentence(losses)
    assert text.startswith(
        "**Tuned finds this answer 2.7 times as likely per token as base does.** Loss per token 1.54 →"
    )
    assert "over the 3 tokens 4.6 → 1.6 nats" in text
    assert r"Gained most: “a” 10% → 50%, “b·c” 20% → 80%." in text
    assert "Lost most" not in text


@pytest.mark.parametrize(
    ("base", "tuned", "expected"),
    [
        (0.4, 0.1, "4 times as unlikely per token"),
        (0.4, 0.405, "about as likely"),
        (1e-200, 1.0, "times as likely"),
    ],
)
def test_a_loss_a_draw_and_a_huge_gain(base, tuned, expected):
    assert expected in sentence(AnswerLosses((token("x", base, tuned),), 0))


def test_a_row_that_was_cut_says_so():
    assert "its last 7 tokens were not looked at" in sentence(AnswerLosses((token("x", 0.5, 0.5),), 7))


def test_hostile_tokens_are_escaped_in_the_sentence_and_packed_for_the_map():
    losses = AnswerLosses((token(EVIL, 0.1, 0.9),), 0)
    assert r"\<img·src=x\>\$\{1\}·\*b\*↵" in sentence(losses)
    value = packed(heat_tokens(losses))
    assert set("<${") & set(value["packed"]) == set()
    assert json.loads(base64.b64decode(value["packed"]))[0]["text"] == EVIL


def test_the_table_says_the_same_in_words():
    assert table(AnswerLosses((token(" a", 0.1, 0.4), token("", 0.5, 0.5, ends=True)), 0)) == [
        [1, "“·a”", "10%", "40%", "+1.39", "“·a” 40%", "“·a” 40%"],
        [2, "EOS", "50%", "50%", "+0.00", "“” 50%", "“” 50%"],
    ]


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (1.0, "100%"),
        (0.714, "71%"),
        (0.0999, "10%"),
        (0.0243, "2.4%"),
        (0.0001, "0.01%"),
        (1e-9, "<0.01%"),
        (0.0, "<0.01%"),
        (0.99, "99%"),
        (0.997, "99.7%"),
        (0.99996, ">99.9%"),
        (0.9994, "99.9%"),
    ],
)
def test_shares_have_two_digits(probability, text):
    assert percent(probability) == text


def test_blanks_are_visible():
    assert quoted("a\tb \n") == "“a→b·↵”"
