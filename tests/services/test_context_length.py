"""A model's context below ``max_length`` is the effective limit: in the cost, the views, the run and its findings."""

import json

import pytest
from labs import finished, opened, smoke, write_rows

from instruct_tune.config.run_config import RunConfig, TrainSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, ModelError
from instruct_tune.estimate.workload import RowLength, count, fits
from instruct_tune.pretrained.context_length import NO_LIMIT, context_in, row_limit
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.runs.diagnostics import diagnose

CONTEXT = 2048
"""The context of the tiny model in tokens, which are bytes."""
LONG_ROW = 3


@pytest.fixture
def lab(tmp_path, tiny_cache):
    with opened(tmp_path / "data") as lab:
        yield lab


def config(tmp_path, **train):
    rows = [{"instruction": f"Say {number}", "output": "word " * (4 + number % 3)} for number in range(20)]
    for number in range(0, 20, LONG_ROW):
        rows[number]["output"] = "word " * 500
    source = write_rows(tmp_path / "rows.json", rows)
    return smoke(data={"source": source, "filters": [], "limit": None}, train={"max_length": 4096, "probes": 0} | train)


@pytest.mark.slow
@pytest.mark.parametrize("overlong", ["drop", "truncate"])
def test_every_place_counts_with_the_context(lab, tmp_path, overlong):
    settings = config(tmp_path, overlong=overlong)
    cost = lab.estimates.cost(HOST, settings, measure=False)
    long = cost["dropped"] + cost["truncated"]
    assert long > 2
    assert lab.datasets.summary(HOST, settings, model="tiny-random")["token_lengths"]["over_max_length"] == long
    report = lab.datasets.report(HOST, settings)
    assert report["max_length"] == CONTEXT
    rows = lab.datasets.preview(HOST, settings, rows=20)["rows"]
    at, row = next((at, row) for at, row in enumerate(rows) if len(row["output"]) > CONTEXT)
    assert len(lab.datasets.mask(HOST, settings, row["instruction"], "", row["output"])["input_ids"]) == CONTEXT
    assert str(CONTEXT) in lab.datasets.token_view(HOST, settings, at).explanation
    recorded = lab.runs.details(HOST, finished(lab, settings))["facts"]
    assert (recorded["rows_dropped"], recorded["rows_truncated"]) == (cost["dropped"], cost["truncated"])
    assert recorded["max_length"] == CONTEXT


def test_the_passes_of_a_step_have_the_rows_of_the_run(lab, tmp_path):
    view = lab.estimates.step_view(HOST, config(tmp_path))
    assert view.steps == lab.estimates.cost(HOST, config(tmp_path), measure=False)["steps"]
    cut = config(tmp_path, overlong="truncate")
    views = [lab.estimates.step_view(HOST, cut, step) for step in range(1, view.steps + 1)]
    longest = max(segment.length for view in views for each in view.passes for segment in each.segments)
    assert longest == CONTEXT


def test_a_max_length_below_the_context_stays_the_limit(lab, tmp_path):
    settings = config(tmp_path, max_length=1024)
    assert lab.datasets.report(HOST, settings)["max_length"] == 1024
    assert lab.runs.details(HOST, finished(lab, settings))["facts"]["max_length"] == 1024


def test_where_no_row_fits_the_sentence_names_the_limit_that_counts():
    rows = [RowLength(3000, 10), RowLength(2500, 10)]
    with pytest.raises(DataError, match=r"model's context of 2048 tokens .the longest has 3000.: choose a model"):
        fits(rows, 4096, "drop", CONTEXT)
    with pytest.raises(DataError, match=r"No row fits into train.max_length 1024 .*raise train.max_length"):
        fits(rows, 1024, "drop", CONTEXT)


def test_held_out_rows_that_do_not_fit_are_not_counted_and_no_error():
    """A run goes on without such rows, too."""
    rows, long = [RowLength(20, 10)] * 8, [RowLength(3000, 10)]
    work = count(RunConfig(train=TrainSettings(max_length=4096)), rows, long, [*long, *rows[:1]], 512, CONTEXT)
    assert (work.evaluations, work.evaluation_tokens, work.probe_tokens) == (0, 0, 20)


@pytest.mark.parametrize(
    ("used", "words", "advice"),
    [
        (1024, "do not fit into max_length 1024", "Raise max_length"),
        (512, "do not fit into the model's context of 512", "Choose a model with a longer context"),
        (None, "do not fit into max_length 1024", "Raise max_length"),
    ],
)
def test_the_finding_names_the_limit_that_counted(used, words, advice):
    recorded = {"rows_given": 10, "rows_dropped": 9, "rows_truncated": 0} | ({"max_length": used} if used else {})
    run = {"status": "finished", "config": RunConfig().to_dict(), "facts": recorded, "step": 0, "total_steps": 0}
    (finding,) = diagnose(run, [], [])
    assert words in finding.sentence
    assert finding.advice.startswith(advice)


def test_a_configuration_without_positions_sets_no_limit_and_a_torn_one_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bloom"}))
    assert context_in(tmp_path) == NO_LIMIT
    tokenizer = byte_tokenizer()
    assert row_limit(tokenizer, 300) == 300
    tokenizer.name_or_path = str(tmp_path)
    assert row_limit(tokenizer, 300) == 300
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_positions": 64}))
    assert row_limit(tokenizer, 300) == 64
    assert row_limit(tokenizer, 30) == 30
    (tmp_path / "config.json").write_text("{torn")
    with pytest.raises(ModelError, match="is damaged"):
        context_in(tmp_path)
