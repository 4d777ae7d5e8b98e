"""The metric gives the bits of ``score`` and the published values, works offline, and leaves no file."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sacrebleu_texts import corpus

from instruct_tune.evaluation.bleu import metric, score

ROOT = Path(__file__).parents[2]
METRIC_KEYS = ["score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len"]


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
