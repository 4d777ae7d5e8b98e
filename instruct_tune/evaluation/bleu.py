"""Reproducible corpus BLEU: sacreBLEU's own numbers, with their signature.

Everything here is sacreBLEU's computation (Post 2018, "A Call for Clarity in Reporting BLEU
Scores", https://aclanthology.org/W18-6319): nothing is tokenised, stripped or rounded on the way
in or out, so that the ``sacrebleu`` command on the same texts prints the same number. All scores
are on sacreBLEU's scale, 0 to 100.

Every BLEU comes from one ``evaluate.Metric``. The intervals and tests resample with sacreBLEU itself. This is the only
module that imports sacrebleu and evaluate, each where it is used: evaluate imports torch and takes seconds.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.json_text import parse, read_bytes
from ..data.utf8 import decode
from ..errors import DataError
from .bleu_tokenizers import DEFAULT as TOKENIZE

if TYPE_CHECKING:
    import evaluate
    from sacrebleu.metrics.bleu import BLEUScore

BOOTSTRAP_SAMPLES = 1000
FEWEST_TESTED = 6
"""Rows below which a difference is not tested. Which side of a row is which is one of 2^n equally likely ways if both
systems are alike, so of five rows or fewer no outcome is rarer than 2/2^5, more than 0.05; the bootstrap, which knows a
population by these rows alone, calls a third of such differences more than chance."""
HOMEPAGE = "https://github.com/mjpost/sacrebleu"


@dataclass(frozen=True)
class BleuReport:
    """Corpus BLEU of one system, and what it was measured with.

    ``bleu``, ``precisions`` (of 1- to 4-grams, after smoothing), ``ci`` and ``chrf`` (chrF2) go
    from 0 to 100. ``bp`` is the brevity penalty, 0 to 1: it is 1 unless ``sys_len`` is less than
    ``ref_len``, both in tokens of the signature's tokenizer. ``ci`` is the 95% interval of
    ``bleu``, None where resampling is impossible. ``bleu`` is sacreBLEU's to the last bit,
    which for identical texts is 100.00000000000004.
    """

    bleu: float
    precisions: tuple[float, float, float, float]
    bp: float
    sys_len: int
    ref_len: int
    signature: str
    ci: tuple[float, float] | None
    chrf: float

    def to_dict(self) -> dict[str, Any]:
        """The public REPORT: the fields by name, with lists where JSON has no tuples."""
        fields = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}


def score(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    tokenize: str = TOKENIZE,
    bootstrap: int = BOOTSTRAP_SAMPLES,
) -> BleuReport:
    """BLEU and chrF2 of ``predictions`` against one reference each, with the texts unchanged.

    ``tokenize`` is the name of a sacreBLEU tokenizer, ``bootstrap`` the number of resamples behind
    ``ci`` (0 for none; resampling takes most of the time). Raises ``DataError`` when there are no rows,
    the lengths differ, or an entry is not text.
    """
    predictions, references = _checked_rows(predictions, references, "predictions")
    result = _computed(predictions, references, tokenize)
    first, second, third, fourth = result["precisions"]
    return BleuReport(
        bleu=result["score"],
        precisions=(first, second, third, fourth),
        bp=result["bp"],
        sys_len=result["sys_len"],
        ref_len=result["ref_len"],
        signature=_signature(tokenize),
        ci=_interval(predictions, references, tokenize, bootstrap),
        chrf=_chrf(predictions, references),
    )


def paired_test(
    base: Sequence[str], tuned: Sequence[str], references: Sequence[str], *, tokenize: str = TOKENIZE
) -> float:
    """The p-value of the difference in BLEU between two systems that answered the same rows.

    sacreBLEU's paired bootstrap (Koehn 2004) with 1000 resamples and its fixed seed: the smallest
    value it can give is 1/1001. 1 for fewer rows than ``FEWEST_TESTED``. Raises ``DataError`` as ``score`` does.
    """
    base, references = _checked_rows(base, references, "base answers")
    tuned, references = _checked_rows(tuned, references, "tuned answers")
    first, second = _bootstrap({"base": base, "tuned": tuned}, references, tokenize, BOOTSTRAP_SAMPLES)
    # sacreBLEU counts resamples that differ by *more* than the observed difference. Where no resample
    # can differ (a system against itself, or a single row), that count is 0 and the p-value the
    # smallest possible, 1/1001: the strongest evidence, from no data.
    if first.score == second.score or len(references) < FEWEST_TESTED:
        return 1.0
    return second.p_value


def difference_interval(
    base: Sequence[str],
    tuned: Sequence[str],
    references: Sequence[str],
    *,
    tokenize: str = TOKENIZE,
    bootstrap: int = BOOTSTRAP_SAMPLES,
) -> tuple[float, float] | None:
    """The 95% interval of tuned BLEU less base BLEU: 2.5th and 97.5th percentile over resampled rows.

    The rows are resampled for both systems together (a paired bootstrap, Koehn 2004,
    https://aclanthology.org/W04-3250), with the resamples of ``paired_test``: same generator,
    same seed. None for fewer than two rows. Raises ``DataError`` as ``score`` does.
    """
    base, references = _checked_rows(base, references, "base answers")
    tuned, references = _checked_rows(tuned, references, "tuned answers")
    if len(references) < 2:
        return None
    import numpy as np
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenize)
    rows = np.random.default_rng(_seed()).choice(len(references), size=(bootstrap, len(references)), replace=True)
    # [rows, 2 + 2 * 4]: lengths, and matches and totals of 1- to 4-grams; a corpus has the sum of its rows.
    statistics = [
        np.array(metric._extract_corpus_statistics(texts, [references]), dtype="float32") for texts in (base, tuned)
    ]
    # One resample at a time: all of them at once are [bootstrap, rows, 10], gigabytes for 20,000 rows.
    resampled = [[each[chosen].sum(0) for chosen in rows] for each in statistics]
    scores = [np.array([metric._compute_score_from_stats(list(each)).score for each in sums]) for sums in resampled]
    low, high = np.percentile(scores[1] - scores[0], [2.5, 97.5])
    return float(low), float(high)


def _seed() -> int | None:
    """sacreBLEU's seed: the environment variable ``SACREBLEU_SEED``, 12345 by default; None for its value ``none``."""
    value = os.environ.get("SACREBLEU_SEED", "12345")
    return None if value.lower() == "none" else int(value)


def sentence_chrf(prediction: str, reference: str) -> float:
    """chrF2 of one text, 0 to 100, to compare rows. A corpus score is not the mean of these.

    chrF and not BLEU, because a single answer often shares no 4-gram with its reference, and then
    sentence BLEU is nothing but smoothing.
    """
    from sacrebleu.metrics import CHRF

    return CHRF().sentence_score(prediction, [reference]).score


def quick_bleu(predictions: Sequence[str], references: Sequence[str], *, tokenize: str = TOKENIZE) -> float:
    """Corpus BLEU alone, without intervals: for numbers that are shown while more rows are coming."""
    return _computed(predictions, references, tokenize)["score"]


def metric() -> evaluate.Metric:
    """A new ``evaluate.Metric`` equivalent to ``evaluate.load("sacrebleu")``, without a network.

    ``compute(predictions=, references=)`` takes one reference a row, or a list of them, and returns
    ``score, counts, totals, precisions, bp, sys_len, ref_len``; it composes with
    ``evaluate.combine``. Rows stay in memory: evaluate's default is a cache file that every
    process on the machine would share. One instance serves one thread.
    """
    return _metric_class()(keep_in_memory=True)


def read_texts(path: Path) -> list[str]:
    """The texts of a JSONL file that has one JSON string a line.

    Raises ``DataError`` when the file cannot be read or is empty, or for the first line that is
    not a JSON string. A text may be empty (``""``), a line may not, or rows would shift.
    """
    # Not ``json_text.lines``, which skips blank lines: here that would shift the rows.
    content = decode(read_bytes(path), str(path)).rstrip()
    if not content:
        raise DataError(f"{path} is empty: it should have one JSON string a line.")
    # Not splitlines(), which also splits at characters that JSON allows inside a string (U+2028).
    return [_parse_text(line, number, path) for number, line in enumerate(content.split("\n"), start=1)]


def _computed(predictions: Sequence[str], references: Sequence[str], tokenize: str) -> dict[str, Any]:
    """What ``metric`` computes for one reference a row."""
    computed = metric().compute(predictions=predictions, references=references, tokenize=tokenize)
    if computed is None:
        raise RuntimeError("evaluate gives a result to its first process alone, and there is only one")
    return computed


def _corpus_bleu(predictions: Sequence[str], reference_streams: Sequence[Sequence[str]], **options: Any) -> BLEUScore:
    """sacreBLEU's score.

    ``reference_streams`` is sacreBLEU's shape: a list for each reference of a row, not for each row. ``options`` are
    those of ``sacrebleu.metrics.BLEU``.
    """
    from sacrebleu.metrics import BLEU

    return BLEU(**options).corpus_score(predictions, reference_streams)


def _signature(tokenize: str) -> str:
    """sacreBLEU's signature of a score with one reference a row; sacreBLEU knows it after any such score."""
    from sacrebleu.metrics import BLEU

    bleu = BLEU(tokenize=tokenize)
    bleu.corpus_score(["a"], [["a"]])
    return str(bleu.get_signature())


def _chrf(predictions: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 (Popović 2016), with sacreBLEU's defaults."""
    from sacrebleu.metrics import CHRF

    return CHRF().corpus_score(predictions, [references]).score


def _interval(
    predictions: Sequence[str], references: Sequence[str], tokenize: str, bootstrap: int
) -> tuple[float, float] | None:
    """The two ends of the 95% interval that ``sacrebleu --confidence`` prints as ``μ ± half``.

    None where all resamples would be equal, or there is only one.
    """
    if len(references) < 2 or bootstrap < 2:
        return None
    (system,) = _bootstrap({"system": predictions}, references, tokenize, bootstrap)
    # The printed interval is symmetric about a mean; for a low or high score it exceeds the range of
    # BLEU. Both ends are clamped to both limits, since a mean may be 100.00000000000003.
    low, high = (min(100.0, max(0.0, float(end))) for end in (system.mean - system.ci, system.mean + system.ci))
    return low, high


def _bootstrap(
    systems: dict[str, Sequence[str]], references: Sequence[str], tokenize: str, n_samples: int
) -> list[Any]:
    """sacreBLEU's bootstrap of ``systems``: one ``sacrebleu.significance.Result`` each, the first the baseline.

    The seed is sacreBLEU's own: 12345 unless the environment variable ``SACREBLEU_SEED`` sets
    another. A single system is only resampled, without a comparison.
    """
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    test = PairedTest(
        list(systems.items()),
        {"BLEU": BLEU(tokenize=tokenize)},
        [references],
        test_type="bs",
        n_samples=n_samples,
        n_jobs=1,  # forking a process that has torch's threads in it can hang
    )
    _, results = test()
    return list(results["BLEU"])


@functools.cache
def _metric_class() -> type[evaluate.Metric]:
    """The class of ``metric()``, created on first use because its base class needs the import of evaluate."""
    import datasets
    import evaluate

    text = datasets.Value("string")

    # The same name as evaluate's own class, because evaluate derives the module's name ("sacrebleu", the
    # prefix of its keys where evaluate.combine needs one) from it.
    class Sacrebleu(evaluate.Metric):
        """Corpus BLEU by sacreBLEU (Post 2018)."""

        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description="Corpus BLEU by sacreBLEU (Post 2018).",
                citation="Matt Post. 2018. A Call for Clarity in Reporting BLEU Scores. WMT. aclanthology.org/W18-6319",
                features=[
                    datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
                    datasets.Features({"predictions": text, "references": text}),
                ],
                homepage=HOMEPAGE,
                reference_urls=[HOMEPAGE],
            )

        def _compute(
            self,
            predictions: Sequence[str],
            references: Sequence[str] | Sequence[Sequence[str]],
            *,
            tokenize: str = TOKENIZE,
            use_effective_order: bool = False,
            **options: Any,
        ) -> dict[str, Any]:
            """The counts behind one BLEU; ``options`` are evaluate's, whose names are sacreBLEU's but for one."""
            result = _corpus_bleu(
                predictions,
                _reference_streams(references),
                tokenize=tokenize,
                effective_order=use_effective_order,
                **options,
            )
            names = ("score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len")
            return {name: getattr(result, name) for name in names}

    return Sacrebleu


def _reference_streams(references: Sequence[str] | Sequence[Sequence[str]]) -> list[list[str]]:
    """References by row, one or several each → sacreBLEU's lists, one for each reference of a row.

    Raises ``ValueError``, as evaluate's own metric does, when rows have different numbers of them.
    """
    rows = [[row] if isinstance(row, str) else row for row in references]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("Sacrebleu requires the same number of references for each prediction")
    return [list(stream) for stream in zip(*rows, strict=True)]


def _checked_rows(predictions: Sequence[str], references: Sequence[str], what: str) -> tuple[list[str], list[str]]:
    """Both sides as lists of equal length; ``what`` names the predictions in a ``DataError``."""
    texts, expected = _checked_texts(predictions, what), _checked_texts(references, "references")
    if len(texts) != len(expected):
        raise DataError(
            f"The numbers of {what} ({len(texts)}) and references ({len(expected)}) differ: each row needs one of both."
        )
    if not texts:
        raise DataError("There are no rows to score.")
    return texts, expected


def _checked_texts(texts: Sequence[str], what: str) -> list[str]:
    # A str is a sequence of str, too: its characters would be scored as rows.
    if isinstance(texts, str):
        raise DataError(f"The {what} are a single text, where a list of texts is needed.")
    rows = list(texts)
    for number, text in enumerate(rows, start=1):
        if not isinstance(text, str):
            raise DataError(f"Row {number} of the {what} is not text but {type(text).__name__}.")
    return rows


def _parse_text(line: str, number: int, path: Path) -> str:
    try:
        text = parse(line, str(path), number)
    except DataError as error:
        raise DataError(f"Line {number} of {path} is not JSON: each line should be one JSON string.") from error
    if not isinstance(text, str):
        raise DataError(f"Line {number} of {path} is not a JSON string: each line should be one text in quotes.")
    return text
