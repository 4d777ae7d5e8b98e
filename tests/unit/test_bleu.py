"""BLEU equals sacreBLEU's to the last bit, from the function, the metric and sacreBLEU's own command."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from instruct_tune.errors import DataError
from instruct_tune.evaluation.bleu import difference_interval, metric, paired_test, quick_bleu, read_texts, score

ROOT = Path(__file__).parents[2]
REPORT_KEYS = ["bleu", "precisions", "bp", "sys_len", "ref_len", "signature", "ci", "chrf"]
METRIC_KEYS = ["score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len"]
SIGNATURE = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
# exp(mean of logs) of 100 is 100.00000000000004 in floating point; sacreBLEU keeps it, and so does the lab.
HUNDRED = 100 * (1 + 1e-12)


def corpus(rows: int, kept: float, seed: int = 7) -> tuple[list[str], list[str]]:
    """Made-up answers and their references, code and prose; a word of an answer is right with probability ``kept``."""
    words = 'def return x = [i for i in range(10)] print("héllo, wörld!") &quot; the a of model, 3.14 < 5% 日本 it\'s .'
    dice = random.Random(seed)
    references = [" ".join(dice.choices(words.split(), k=dice.randint(5, 15))) for _ in range(rows)]
    predictions = [
        " ".join(word if dice.random() < kept else "wrong" for word in text.split())[: dice.randint(20, 80)]
        for text in references
    ]
    return predictions, references


# Equality with sacreBLEU


def sacrebleu_prints(folder: Path, options: list[str], **texts: list[str]) -> list[dict]:
    """The JSON that ``python -m sacrebleu`` prints, run on ``texts``, which become files of those names."""
    for name, lines in texts.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    # Python's UTF-8 mode makes it read the files as written under any locale.
    environment = {**os.environ, "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "sacrebleu", *options, "--format", "json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


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


# Independent values: counted by hand, and published


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


@pytest.mark.parametrize(
    ("predictions", "references", "expected"),
    [
        pytest.param(  # README of sacreBLEU, "Using SacreBLEU from Python"
            ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."],
            [
                ["The dog bit the man.", "The dog had bit the man."],
                ["It was not unexpected.", "No one was surprised."],
                ["The man bit him first.", "The man had bitten the dog."],
            ],
            {"score": 48.53, "precisions": [82.4, 50.0, 45.5, 37.5], "bp": 0.943, "sys_len": 17, "ref_len": 18},
            id="sacrebleu",
        ),
        pytest.param(  # the card of evaluate's sacrebleu metric, both examples
            ["hello there general kenobi", "foo bar foobar"],
            [["hello there general kenobi", "hello there !"], ["foo bar foobar", "foo bar foobar"]],
            {"score": 100.0},
            id="evaluate-1",
        ),
        pytest.param(
            ["hello there general kenobi", "on our way to ankh morpork"],
            [["hello there general kenobi", "hello there !"], ["goodbye ankh morpork", "ankh morpork"]],
            {"score": 39.8},
            id="evaluate-2",
        ),
    ],
)
def test_published_values(predictions, references, expected):
    result = metric().compute(predictions=predictions, references=references)
    for name, value in expected.items():
        # As printed: one digit for precisions and the card, two for the score, three for the penalty.
        assert result[name] == pytest.approx(value, abs=0.0005 if name == "bp" else 0.05), name


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


# The metric


@pytest.mark.parametrize("shape", ["texts", "lists"])
def test_the_metric_gives_the_same_bits(shape):
    predictions, references = corpus(25, 0.6)
    given_references = references if shape == "texts" else [[text] for text in references]
    result = metric().compute(predictions=predictions, references=given_references)
    report = score(predictions, references)
    assert list(result) == METRIC_KEYS
    assert result["score"] == report.bleu
    assert tuple(result["precisions"]) == report.precisions
    assert (result["bp"], result["sys_len"], result["ref_len"]) == (report.bp, report.sys_len, report.ref_len)
    assert result["precisions"] == [100 * c / t for c, t in zip(result["counts"], result["totals"], strict=True)]


def test_the_metric_takes_the_options_of_evaluates():
    result = metric().compute(predictions=["The Cat"], references=["the cat"], lowercase=True, use_effective_order=True)
    assert result["score"] == pytest.approx(100)
    result = metric().compute(predictions=["cat"], references=["cut"], tokenize="char", smooth_method="floor")
    assert result["counts"] == [2, 0, 0, 0]


def test_the_metric_refuses_uneven_references():
    with pytest.raises(ValueError, match="same number of references"):
        metric().compute(predictions=["a", "b"], references=[["a"], ["b", "c"]])


def test_the_metric_collects_rows_and_starts_anew():
    bleu = metric()
    bleu.add(prediction="the cat sat on", reference="the cat sat on")
    bleu.add_batch(predictions=["a mat of wool"], references=["a mat of wool"])
    assert bleu.compute()["sys_len"] == 8
    assert bleu.compute(predictions=["one more row"], references=["one more row"])["sys_len"] == 3


def test_the_metric_combines():
    import evaluate

    predictions, references = corpus(10, 0.7)
    expected = score(predictions, references).bleu
    both = evaluate.combine({"first": metric(), "second": metric()})
    result = both.compute(predictions=predictions, references=references)
    assert result["first_score"] == result["second_score"] == expected
    # evaluate's own name, where combine makes the prefix.
    named = evaluate.combine([metric()], force_prefix=True)
    assert named.compute(predictions=predictions, references=references)["sacrebleu_score"] == expected


def test_metrics_at_once_share_nothing_and_leave_nothing(tmp_path, monkeypatch):
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path))
    corpora = [corpus(15, 0.7, seed) for seed in range(6)]
    metrics = [metric() for _ in corpora]
    # All of them are open at once, and then all compute at once.
    for bleu, (predictions, references) in zip(metrics, corpora, strict=True):
        bleu.add_batch(predictions=predictions, references=references)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with ThreadPoolExecutor(len(metrics)) as pool:
        results = list(pool.map(lambda bleu: bleu.compute(), metrics))
    assert [result["score"] for result in results] == [score(*texts, bootstrap=0).bleu for texts in corpora]


def run_python(code: str, **environment: str) -> str:
    """The last line that ``code`` prints in a separate interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_metric_works_offline_and_is_imported_late(tmp_path):
    """With an empty cache, the Hub switched off, and every connection an error that nothing catches."""
    code = """
import os, socket, sys
def refuse(*args, **kwargs):
    os.write(2, b"a connection was tried")
    os._exit(3)
socket.socket.connect = socket.getaddrinfo = refuse
from instruct_tune.evaluation.bleu import difference_interval, metric, paired_test, quick_bleu, read_texts, score
early = [name in sys.modules for name in ("sacrebleu", "torch", "evaluate")]
score(["a b c d", "e"], ["a b c d", "f"])
early.append("evaluate" in sys.modules)
import evaluate
both = evaluate.combine({"first": metric(), "second": metric()})
scores = both.compute(predictions=["the cat sat on the mat"], references=["the cat is on the mat"])
print(*early, scores["second_score"])
"""
    *early, printed = run_python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)).split()
    assert early == ["False", "False", "False", "True"]
    assert float(printed) == score(["the cat sat on the mat"], ["the cat is on the mat"]).bleu


# Files


def test_texts_come_back_as_they_were_written(tmp_path):
    # Text that a line-based reader loses: line breaks, Unicode's own line separator, edges, nothing.
    texts = ["a\nb\r\n", "one\u2028two\x85three", " spaced ", "", 'say "héllo"', "\ttab\x1c"]
    for ensure_ascii in (True, False):
        path = tmp_path / f"{ensure_ascii}.jsonl"
        path.write_text("".join(json.dumps(t, ensure_ascii=ensure_ascii) + "\n" for t in texts), encoding="utf-8")
        assert read_texts(path) == texts


@pytest.mark.parametrize("content", [b'"a"\n"b"', b'"a"\r\n"b"\r\n', b'\xef\xbb\xbf"a"\n"b"\n\n'])
def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path, content):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(content)
    assert read_texts(path) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{path} is empty: it should have one JSON string a line."),
        (b"\n \n", "{path} is empty: it should have one JSON string a line."),
        (b'"a"\nplain text\n', "Line 2 of {path} is not JSON: each line should be one JSON string."),
        (b'"a"\n\n"b"\n', "Line 2 of {path} is not JSON: each line should be one JSON string."),
        (b'"a" "b"\n', "Line 1 of {path} is not JSON: each line should be one JSON string."),
        (
            b'"a"\n"b"\n{"text": "c"}\n',
            "Line 3 of {path} is not a JSON string: each line should be one text in quotes.",
        ),
        (b'["a", "b"]\n', "Line 1 of {path} is not a JSON string: each line should be one text in quotes."),
        (b"null\n", "Line 1 of {path} is not a JSON string: each line should be one text in quotes."),
        (b'"\xff\xfe"\n', "{path} is not UTF-8 text (byte 2 is the first that is wrong): save it as UTF-8."),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, content, message):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_texts(path)
    assert str(caught.value) == message.format(path=path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError) as caught:
        read_texts(tmp_path / "nowhere.jsonl")
    assert str(caught.value) == (
        f"{tmp_path / 'nowhere.jsonl'} cannot be read (No such file or directory): check the path and who may read it."
    )
    with pytest.raises(DataError, match="Is a directory"):
        read_texts(tmp_path)


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
