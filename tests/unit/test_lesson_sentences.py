"""What the panel notices, in sentences with numbers."""

from __future__ import annotations

import pytest

from instruct_tune.lesson import sentences


def test_the_rows():
    summary = {
        "rows_loaded": 1566,
        "ledger": [{"step": "without_input", "kept": 931, "dropped": 635}],
        "train_rows": 48,
        "test_rows": 187,
    }
    assert sentences.data(summary) == (
        "Of 1,566 rows: without input keeps 931 and drops 635. Of those left, 48 are trained on and 187 are held out."
    )


def test_the_prompt():
    assert (
        sentences.template("lesson", "12345", "12345")
        == "With the template lesson the prompt of row 1 has 5 characters."
    )
    assert sentences.template("mine", "1", "123") == (
        "With the template mine the prompt of row 1 has 1 character; with lesson it has 3."
    )


def test_what_carries_loss():
    assert sentences.loss(1, 21, 42) == "In row 1, 21 of 42 tokens carry loss."
    assert sentences.loss(1, 21, 42, "no EOS", 20, 41) == (
        "In row 1, 21 of 42 tokens carry loss; broken (no EOS), 20 of 41 do."
    )


def test_the_size_of_an_adapter_and_the_number_of_steps():
    assert sentences.adapter(64, 3_686_400, 134_515_008) == (
        "With rank 64 the adapter has 3,686,400 parameters, 2.67% of all 138,201,408."
    )
    assert sentences.steps(48, 4, 3.0, 36) == "48 rows in batches of 4, 3 epochs: 36 steps."


@pytest.mark.parametrize(
    ("own", "losses", "step", "status", "sentence"),
    [
        (True, [2.05, 1.9, 1.72], 12, "finished",
         "You trained 48 rows in 12 steps: held-out loss fell from 2.05 to 1.72."),
        (False, [2.05, 2.37], 12, "finished",
         "The recorded run trained 48 rows in 12 steps: held-out loss rose from 2.05 to 2.37."),
        (True, [2.051, 2.049], 12, "finished", "You trained 48 rows in 12 steps: held-out loss stayed at 2.05."),
        (True, [], 12, "finished", "You trained 48 rows in 12 steps."),
        (True, [2.05, 1.9], 5, "running",
         "Your run is running, at step 5: held-out loss fell from 2.05 to 1.90 so far."),
        (True, [], 0, "queued", "Your run is queued, at step 0."),
        (True, [2.05], 1, "stopped", "Your run ended early (stopped) after 1 step."),
    ],
)  # fmt: skip
def test_a_training(own, losses, step, status, sentence):
    assert sentences.trained(own, 48, losses, step, status) == sentence


def test_answers_that_end():
    def moment(step, *ended):
        return {"step": step, "answers": [{"ended": each} for each in ended]}

    steps = [moment(0, False, False), moment(1), moment(12, True, False)]
    assert sentences.answers(True, steps) == (
        "In your run, 0 of 2 answers to the fixed prompts ended with EOS at step 0, and 1 of 2 at step 12."
    )
    assert sentences.answers(True, steps[:1]) is None


def test_an_evaluation_says_what_a_gain_is_made_of():
    evaluation = {
        "rows": 200,
        "base": {"bleu": 2.06, "precisions": [10.7, 2.3, 1.1, 0.7]},
        "tuned": {"bleu": 7.5, "precisions": [28.48, 10.4, 5.4, 3.2]},
        "base_ended": 26,
        "tuned_ended": 164,
        "base_cut_bleu": 2.02,
    }
    sentence = sentences.evaluated(False, evaluation)
    assert sentence == (
        "The recorded run: BLEU 2.1 for base and 7.5 tuned, on its own 200 held-out rows. 26 answers of base ended by "
        "themselves, 164 tuned; 11% of base's words were expected, 28% of the tuned ones. Cut to the length of the "
        "tuned answers, base would have 2.0: where answers end makes -0.1 of the difference, what they say +5.5."
    )
    assert "Cut to" not in sentences.evaluated(True, {**evaluation, "base_cut_bleu": None})


def test_rows_that_got_better_and_worse():
    rows = [{"base_chrf": 1.0, "tuned_chrf": tuned} for tuned in (2.0, 3.0, 0.5, 1.0)]
    assert sentences.rows(True, rows) == (
        "In your run the tuned answer is nearer to the expected one on 2 of 4 rows, and further away on 1 (by chrF, "
        "which compares runs of characters)."
    )
    assert sentences.rows(True, []) is None
