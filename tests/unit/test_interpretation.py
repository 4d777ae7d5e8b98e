"""Verdicts on results: each rule by a table of numbers, and the numbers it uses."""

from __future__ import annotations

import json

import pytest

from instruct_tune.config.run_config import RunConfig
from instruct_tune.evaluation.interpretation import held_out_losses, judge, own_losses


def config(rate=2e-3, epochs=1):
    return RunConfig.from_dict({"train": {"learning_rate": rate, "num_train_epochs": epochs}}).to_dict()


def course(held_out=(), own=(), kind="probe"):
    """Metrics of a run with these losses, with probes every second step."""
    probes = [{"kind": kind, "step": 2 * at, f"{kind}_loss": loss} for at, loss in enumerate(held_out)]
    return probes + [{"kind": "train", "step": at, "loss": loss} for at, loss in enumerate(own, 1)]


def evaluated(
    base=8.9, tuned=15.7, p=0.01, ended=(8, 31), rows=40, bp=(1.0, 1.0), cut=None, identical=2, no_room=0, **generation
):
    return {
        "rows": rows,
        "delta": tuned - base,
        "p_value": p,
        "base": {"bleu": base, "bp": bp[0]},
        "tuned": {"bleu": tuned, "bp": bp[1]},
        "base_ended": ended[0],
        "tuned_ended": ended[1],
        "tuned_hit_limit": rows - ended[1] - no_room,
        "tuned_no_room": no_room,
        "base_cut_bleu": base if cut is None else cut,
        "identical": identical,
        "generation": {"max_new_tokens": 96, "max_length": None, **generation},
    }


LEARNED = course((0.97, 0.85, 0.8, 0.78), (0.75, 0.8, 0.9, 0.87))
HIGH = course((0.97, 1.5, 1.62, 1.55), (1.84, 1.7, 1.5, 1.44))
REPEATED = course((0.97, 0.8, 0.9, 1.2), (0.8, 0.4, 0.1, 0.05))
FLAT = course((0.97, 0.968, 0.969), (0.8, 0.81, 0.8, 0.81))


@pytest.mark.parametrize(
    ("kind", "metrics", "evaluation", "says", "advises"),
    [
        ("better", LEARNED, evaluated(), "6.8 BLEU that is more than chance (p = 0.010)", "Read some of the answers"),
        ("better", LEARNED, evaluated(bp=(0.9, 0.7)), "more than chance", "Read some of the answers"),
        ("better", LEARNED, evaluated(bp=(0.9, 0.53)), "more than chance", "short (brevity penalty 0.53); more rows"),
        ("better", LEARNED, evaluated(cut=11.0), "2.1 points of it are stopping in time", "Read some of the answers"),
        ("only_stopping", LEARNED, evaluated(cut=15.0), "would score 15.0, which is 6.1 of the 6.8", "more rows"),
        ("only_stopping", LEARNED, evaluated(cut=17.0), "which is 6.8 of the 6.8 points; 31 of 40 tuned", "more rows"),
        ("chance", LEARNED, evaluated(p=0.2), "a difference of +6.8 BLEU could be chance (p = 0.2", "more rows"),
        ("chance", LEARNED, evaluated(rows=1, p=None, identical=0), "could be chance.", "more rows"),
        ("chance", LEARNED, evaluated(base=9, tuned=8, p=0.3), "difference of -1.0 BLEU could be chance", "more rows"),
        ("learning_rate", HIGH, evaluated(tuned=5.3), "BLEU fell by 3.6 (p = 0.010); the held-out loss went", "0.002"),
        ("learning_rate", HIGH, evaluated(tuned=5.3), "fell (1.84 to 1.44): the learning rate of 0.02 is", "0.002"),
        ("too_many_epochs", REPEATED, evaluated(tuned=5.3), "lowest at step 2 (0.80) and rose to 1.20", "than 3"),
        ("worse", LEARNED, evaluated(tuned=5.3), "though the held-out loss fell from 0.97 to 0.78", "worst first"),
        ("worse", course(), evaluated(tuned=5.3), "no held-out loss was measured", "worst first"),
        ("no_change", FLAT, evaluated(tuned=9.0, identical=3), "3 of 40 answers are the same", "0.2, or more steps"),
        ("no_change", LEARNED, evaluated(tuned=9.0, p=0.4, identical=39), "39 of 40 answers are the same", "0.2, or"),
        # Base was right on the other rows.
        ("better", LEARNED, evaluated(base=90, tuned=100, p=0.014, identical=36), "10.0 BLEU that is more", "Read"),
        ("chance", course((3.1, 1.2)), evaluated(p=0.3, identical=38), "could be chance", "more rows"),
        ("no_room", LEARNED, evaluated(tuned=1, bp=(0, 0), ended=(0, 10), no_room=30),
         "30 of 40 tuned answers are empty: their prompt leaves no room", "a longer context"),
        ("no_room", LEARNED, evaluated(tuned=1, bp=(0, 0), ended=(0, 20), no_room=20, max_length=50),
         "with max_length 50, which counts the prompt too", "without max_length"),
        ("cut", LEARNED, evaluated(tuned=4.3, bp=(0.2, 0.14), ended=(0, 2), max_length=50),
         "38 of 40 tuned answers reached max_length 50, which counts the prompt too", "no max_length"),
        ("cut", LEARNED, evaluated(tuned=4.3, bp=(0.2, 0.14), ended=(0, 2), max_new_tokens=8), "max_new_tokens 8", "r"),
        # A gain is a gain, whatever the held-out loss did at the end.
        ("better", REPEATED, evaluated(), "more than chance", "Read some of the answers"),
    ],
)  # fmt: skip
def test_an_evaluation_is_judged(kind, metrics, evaluation, says, advises):
    verdict = judge(config(2e-2, epochs=3), metrics, evaluation)
    assert verdict is not None
    assert verdict.kind == kind
    assert says in verdict.sentence
    assert advises in verdict.advice
    assert verdict.evidence["delta"] == evaluation["delta"]
    assert verdict.evidence["tuned_bleu"] == evaluation["tuned"]["bleu"]


@pytest.mark.parametrize(
    ("kind", "metrics", "epochs", "says"),
    [
        ("learned", LEARNED, 1, "0.97 to 0.78: it learned"),
        ("learning_rate", HIGH, 1, "far too high"),
        ("learning_rate", course((1.0, 1.1)), 1, "0.02 is most likely too high"),
        # It rose again within a single epoch: no row was repeated.
        ("learning_rate", REPEATED, 1, "while the loss on its own batches fell"),
        ("too_many_epochs", REPEATED, 3, "repeated too often"),
        ("no_change", FLAT, 1, "0.970 to 0.969"),
        ("learned", course((0.97, 0.8), kind="eval"), 1, "it learned"),
    ],
)
def test_losses_alone_are_judged(kind, metrics, epochs, says):
    verdict = judge(config(2e-2, epochs), metrics)
    assert verdict is not None
    assert (verdict.kind, says in verdict.sentence) == (kind, True)


@pytest.mark.parametrize("metrics", [[], course((0.97,)), course(own=(1, 0.5, 0.2, 0.1))])
def test_where_nothing_was_held_out_nothing_is_claimed(metrics):
    assert judge(config(), metrics) is None


def test_rows_that_were_to_be_learned_by_heart_are_not_held_against_a_run():
    by_heart = RunConfig.from_dict({"train": {"recite_rows": 8, "num_train_epochs": 16}}).to_dict()
    assert judge(by_heart, REPEATED) is None
    assert judge(by_heart, REPEATED, evaluated(tuned=5.3)).kind == "too_many_epochs"


def test_the_probe_rows_go_before_the_evaluation_rows():
    both = course((0.9, 0.8)) + course((0.7, 0.6), kind="eval")
    assert held_out_losses(both).first == 0.9


def test_own_losses_are_means_of_quarters():
    losses = own_losses(course(own=(4, 2, 9, 9, 9, 9, 2, 0)))
    assert (losses.first, losses.last) == (3, 1)
    assert own_losses(course(own=(1, 2, 3))) is None


def test_evidence_holds_the_numbers_and_is_json():
    public = judge(config(2e-2, 3), HIGH, evaluated(tuned=5.3)).to_dict()
    assert json.loads(json.dumps(public, allow_nan=False)) == public
    assert public["evidence"]["held_out_loss"] == [0.97, 0.97, 1.55]
    assert public["evidence"]["own_loss"] == [1.84, 1.44]
    assert public["evidence"]["learning_rate"] == 2e-2
