"""The paired test and the interval of a difference in BLEU resample as sacreBLEU does."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu_texts import corpus, sacrebleu_prints

from instruct_tune.errors import DataError
from instruct_tune.evaluation.bleu import difference_interval, paired_test, quick_bleu, score

# The paired test


def test_a_clear_difference_is_significant_both_ways():
    bad, references = corpus(40, 0.5)
    good = [text if n % 4 else bad[n] for n, text in enumerate(references)]
    # No resample in a thousand: the smallest possible p-value.
    assert paired_test(bad, good, references) == pytest.approx(1 / 1001)
    assert paired_test(good, bad, references) == pytest.approx(1 / 1001)


def test_a_small_difference_on_few_rows_is_not_significant():
    references = [f"this is row number {n} and not another" for n in range(12)]
    base = [*references[:6], *("wrong",) * 6]
    tuned = [*("wrong",) * 5, *references[5:]]
    p_value = paired_test(base, tuned, references)
    assert score(base, references).bleu < score(tuned, references).bleu
    assert 0.1 < p_value < 1
    assert paired_test(base, tuned, references) == p_value


def test_the_p_value_is_the_one_sacrebleu_gives(tmp_path):
    base, references = corpus(30, 0.6)
    tuned = [text if n % 5 == 0 else base[n] for n, text in enumerate(references)]
    options = ["ref", "-i", "base", "tuned", "-m", "bleu", "--paired-bs"]
    printed = sacrebleu_prints(tmp_path, options, base=base, tuned=tuned, ref=references)
    p_value = paired_test(base, tuned, references)
    assert 0.001 < p_value < 0.5
    assert p_value == pytest.approx(printed[1]["BLEU"]["p_value"], rel=1e-9)


@pytest.mark.parametrize(
    ("base", "tuned", "references"),
    [
        pytest.param(["a b c d", "e f"], ["a b c d", "e f"], ["a b c d", "e f g h"], id="the same answers"),
        pytest.param(["x", "x"], ["y y", "y y"], ["a b c d", "e f g h"], id="both score 0"),
        pytest.param(["a b c d x"], ["a b c d e"], ["a b c d e"], id="a single row"),
    ],
)
def test_no_evidence_is_a_p_value_of_one(base, tuned, references):
    # sacreBLEU itself returns 1/1001 for each of these.
    assert paired_test(base, tuned, references) == 1.0


@pytest.mark.parametrize(
    ("base", "tuned", "references", "message"),
    [
        (["a"], ["a", "b"], ["a", "b"], "The numbers of base answers (1) and references (2) differ"),
        (["a", "b"], ["a"], ["a", "b"], "The numbers of tuned answers (1) and references (2) differ"),
        (["a", "b"], ["a", 2], ["a", "b"], "Row 2 of the tuned answers is not text but int."),
        ([], [], [], "There are no rows to score."),
    ],
)
def test_what_cannot_be_compared_is_an_error(base, tuned, references, message):
    with pytest.raises(DataError) as caught:
        paired_test(base, tuned, references)
    assert str(caught.value).startswith(message)


# The interval of a difference


def test_the_interval_of_a_difference_is_a_paired_bootstrap_by_hand():
    """Each resample draws the same rows for both, with sacreBLEU's own seed, and scores them as a corpus."""
    references = [f"a sentence number {n} of some length as it is" for n in range(12)]
    base = [text if n % 3 else "nothing like it at all" for n, text in enumerate(references)]
    tuned = [text if n % 4 else f"{text} and on it goes" for n, text in enumerate(references)]
    draws = np.random.default_rng(12345).choice(12, size=(50, 12), replace=True)
    differences = [
        quick_bleu([tuned[n] for n in rows], [references[n] for n in rows])
        - quick_bleu([base[n] for n in rows], [references[n] for n in rows])
        for rows in draws
    ]
    expected = np.percentile(differences, [2.5, 97.5])
    # sacreBLEU sums the counts of resamples in float32.
    assert difference_interval(base, tuned, references, bootstrap=50) == pytest.approx(tuple(expected), abs=1e-4)


def test_a_clear_difference_has_an_interval_away_from_zero():
    references = [f"the answer to question {n} is {n * n} and no other" for n in range(20)]
    low, high = difference_interval(["no idea"] * 20, references, references)
    assert 0 < low <= high <= 100.1
    assert difference_interval(references, references, references) == (0.0, 0.0)
    assert difference_interval(["a"], ["a"], ["a"]) is None


@pytest.mark.nightly
@pytest.mark.slow
def test_the_interval_of_many_rows_takes_little_memory():
    """All resamples at once would be 1,000 × 4,000 × 10 numbers, 160 MB."""
    import tracemalloc

    texts = [f"row {number} has a few words and a number" for number in range(4000)]
    difference_interval(texts[:2], texts[:2], texts[:2])
    tracemalloc.start()
    assert difference_interval(texts, texts, texts) == (0.0, 0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6
