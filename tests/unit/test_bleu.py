"""BLEU equals sacreBLEU's to the last bit, from the function and sacreBLEU's own command."""

from __future__ import annotations

import json
import math

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu_texts import corpus, sacrebleu_prints

from instruct_tune.errors import DataError
from instruct_tune.evaluation.bleu import score

REPORT_KEYS = ["bleu", "precisions", "bp", "sys_len", "ref_len", "signature", "ci", "chrf"]
SIGNATURE = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
# exp(mean of logs) of 100 is 100.00000000000004 in floating point; sacreBLEU keeps it, and so does the lab.
HUNDRED = 100 * (1 + 1e-12)


# Equality with sacreBLEU


@pytest.fixture(scope="module")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The output of ``sacrebleu --confidence`` for ``corpus(60, 0.7)``, with all digits, by metric."""
    predictions, references = corpus(60, 0.7)
    options = ["ref", "-i", "sys", "-m", "bleu", "chrf", "--confidence", "-w", "25"]
    printed = sacrebleu_prints(tmp_path_factory.mktemp("sacrebleu"), options, sys=predictions, ref=references)
    return {entry["name"]: entry for entry in printed}


def test_the_command_line_gives_the_same_bits(command_line):
    report = score(*corpus(60, 0.7))
    assert report.bleu == command_line["BLEU"]["score"]
    assert report.chrf == command_line["chrF2"]["score"]
    assert report.signature == command_line["BLEU"]["signature"].replace("bs:1000|seed:12345|", "") == SIGNATURE


def test_the_interval_is_the_one_the_command_line_prints(command_line):
    low, high = score(*corpus(60, 0.7)).ci
    mean, half = command_line["BLEU"]["confidence_mean"], command_line["BLEU"]["confidence_var"]
    assert (low, high) == pytest.approx((mean - half, mean + half), rel=1e-6)


@pytest.mark.parametrize("tokenize", ["13a", "intl", "char", "none"])
def test_the_library_gives_the_same_bits(tokenize):
    predictions, references = corpus(25, 0.6)
    report = score(predictions, references, tokenize=tokenize, bootstrap=0)
    theirs = sacrebleu.corpus_bleu(predictions, [references], tokenize=tokenize)
    assert report.bleu == theirs.score
    assert list(report.precisions) == theirs.precisions
    assert (report.bp, report.sys_len, report.ref_len) == (theirs.bp, theirs.sys_len, theirs.ref_len)
    assert f"|tok:{tokenize}|" in report.signature


def test_texts_are_scored_as_they_are():
    # Case, punctuation and text that a clean-up would strip from the front or replace all count.
    assert score(["The cat sat here"], ["the cat sat here"]).bleu < 100
    assert score(["the cat sat here."], ["the cat sat here"]).bleu < 100
    assert score(["### the cat sat here"], ["the cat sat here"]).bleu < 100


# Independent values: counted by hand


def test_counts_by_hand():
    """Unigrams 5 of 6 (the, the, cat, on, mat), bigrams 3 of 5, trigrams 1 of 4 (on the mat), and of
    three 4-grams none, which exp smoothing counts as half a one."""
    report = score(["the cat sat on the mat"], ["the cat is on the mat"])
    assert report.precisions == pytest.approx((500 / 6, 300 / 5, 100 / 4, 100 / 6))
    assert report.bleu == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25)
    assert (report.bp, report.sys_len, report.ref_len) == (1.0, 6, 6)


def test_brevity_penalty_by_hand():
    """Every word is right, and two of six words are missing: exp(1 - 6/4)."""
    report = score(["the cat sat on"], ["the cat sat on the mat"])
    assert report.precisions == (100, 100, 100, 100)
    assert report.bp == pytest.approx(math.exp(-0.5))
    assert report.bleu == pytest.approx(60.653, abs=5e-4)


def test_corpus_bleu_pools_counts_and_is_no_mean_of_rows():
    predictions, references = ["a b c d", "p q r s t u v w"], ["a b c d", "z z z z z z z z"]
    # Four of twelve unigrams, three of ten bigrams, two of eight, one of six.
    assert score(predictions, references).bleu == pytest.approx(100 * (4 / 12 * 3 / 10 * 2 / 8 * 1 / 6) ** 0.25)


# Degenerate corpora


@pytest.mark.parametrize(
    ("predictions", "references", "bleu", "bp"),
    [
        pytest.param(["the cat sat on the mat"], ["the cat sat on the mat"], 100, 1, id="identical"),
        pytest.param(["a b c d e"], ["v w x y z"], 0, 1, id="nothing in common"),
        pytest.param([""], ["the cat sat on the mat"], 0, 0, id="empty prediction"),
        pytest.param(["the cat sat on the mat"], [""], 0, 1, id="empty reference"),
        pytest.param([""], [""], 0, 1, id="both empty"),
        pytest.param(["cat"], ["cat"], 0, 1, id="one word: there is no 4-gram, so BLEU is 0 by definition"),
        pytest.param(["the cat sat"], ["the cat sat"], 0, 1, id="three words"),
        # Eight words expected, four present, all of them right: exp(1 - 8/4).
        pytest.param(["a b c d", ""], ["a b c d", "e f g h"], 36.788, 0.36788, id="one of two empty"),
    ],
)
def test_degenerate_texts(predictions, references, bleu, bp):
    report = score(predictions, references)
    assert report.bleu == pytest.approx(bleu, abs=5e-4)
    assert report.bp == pytest.approx(bp, abs=5e-6)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (
            ["a", "b", "c"],
            ["a", "b"],
            "The numbers of predictions (3) and references (2) differ: each row needs one of both.",
        ),
        ([], ["a"], "The numbers of predictions (0) and references (1) differ: each row needs one of both."),
        ([], [], "There are no rows to score."),
        (["a", None], ["a", "b"], "Row 2 of the predictions is not text but NoneType."),
        (["a", "b", "c"], ["a", "b", 3], "Row 3 of the references is not text but int."),
        ([["a"]], ["a"], "Row 1 of the predictions is not text but list."),
        (["a", ""], ["a"], "The numbers of predictions (2) and references (1) differ: each row needs one of both."),
        ([""], ["", ""], "The numbers of predictions (1) and references (2) differ: each row needs one of both."),
        ("abcd", "abcd", "The predictions are a single text, where a list of texts is needed."),
        (["abcd"], "abcd", "The references are a single text, where a list of texts is needed."),
    ],
)
def test_what_cannot_be_scored_is_an_error(predictions, references, message):
    with pytest.raises(DataError) as caught:
        score(predictions, references)
    assert str(caught.value) == message


# The report


def test_the_report_is_plain_json():
    report = score(*corpus(10, 0.7))
    fields = report.to_dict()
    assert list(fields) == REPORT_KEYS
    assert json.loads(json.dumps(fields)) == fields
    assert fields["ci"] == list(report.ci)
    assert fields["precisions"] == list(report.precisions)
    assert fields["bleu"] == report.bleu


def test_the_report_without_an_interval_is_plain_json():
    fields = score(["a b c d"], ["a b c d"]).to_dict()
    assert json.loads(json.dumps(fields)) == fields
    assert fields["ci"] is None


# The interval


def test_the_interval_holds_the_score_and_is_reproducible():
    predictions, references = corpus(60, 0.7)
    report = score(predictions, references)
    low, high = report.ci
    assert 0 < low < report.bleu < high < 100
    assert score(predictions, references) == report


def test_more_rows_make_the_interval_narrower():
    predictions, references = corpus(160, 0.7)
    widths = [high - low for low, high in (score(predictions[:n], references[:n]).ci for n in (10, 40, 160))]
    # A standard error falls with the root of the rows: about by half each time.
    assert widths[1] < 0.75 * widths[0]
    assert widths[2] < 0.75 * widths[1]


@pytest.mark.parametrize(
    ("right", "end"),
    [pytest.param(1, 0, id="low score"), pytest.param(4, 1, id="high score")],
)
def test_the_interval_stays_on_the_scale(right, end):
    """One right row of five, and four of five: the symmetric interval would reach below 0 and above 100."""
    references = [f"this is row number {n} of five" for n in range(5)]
    predictions = references[:right] + ["nothing"] * (5 - right)
    report = score(predictions, references)
    assert report.ci[end] == (0, 100)[end]
    assert report.ci[0] < report.bleu < report.ci[1]


def test_the_interval_of_identical_texts_is_a_point():
    # sacreBLEU's mean is above 100 here in its last bits: the ends must not change places.
    assert score(["0:0:", "0:0:"], ["0:0:", "0:0:"], bootstrap=20).ci == (100, 100)


@pytest.mark.parametrize(("rows", "bootstrap"), [(1, 1000), (20, 0), (20, 1)])
def test_no_interval_without_resamples(rows, bootstrap):
    assert score(*corpus(rows, 0.7), bootstrap=bootstrap).ci is None
    assert score(*corpus(20, 0.7), bootstrap=2).ci is not None


# Any texts


words = st.text(st.characters(categories=["L", "N"], include_characters=".,!?()=_-"), min_size=1, max_size=6)
long_enough = st.lists(words, min_size=4, max_size=9).map(" ".join)


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(st.lists(long_enough, min_size=1, max_size=6))
def test_any_texts_against_themselves_are_100(texts):
    report = score(texts, texts, bootstrap=0)
    assert report.bleu == pytest.approx(100, rel=1e-12)
    assert report.chrf == pytest.approx(100, rel=1e-12)
    assert report.bp == 1


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.text() | long_enough, st.text() | long_enough), min_size=1, max_size=6))
def test_any_score_is_on_the_scale(rows):
    predictions, references = [list(side) for side in zip(*rows, strict=True)]
    report = score(predictions, references, bootstrap=20)
    assert 0 <= report.bleu <= HUNDRED
    assert 0 <= report.chrf <= HUNDRED
    assert 0 <= report.bp <= 1
    assert all(0 <= precision <= HUNDRED for precision in report.precisions)
    assert (report.ci is None) == (len(rows) == 1)
    assert report.ci is None or 0 <= report.ci[0] <= report.ci[1] <= 100


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(long_enough, long_enough), min_size=2, max_size=6), st.randoms())
def test_the_order_of_rows_does_not_matter(rows, dice):
    shuffled = dice.sample(rows, len(rows))
    assert score(*zip(*rows, strict=True), bootstrap=0) == score(*zip(*shuffled, strict=True), bootstrap=0)
