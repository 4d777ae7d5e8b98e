"""A run resumes and is evaluated on the rows and weights it was trained on; if they changed, it fails or warns."""

import threading

import pytest
from labs import PATIENCE, finished, opened, smoke, stop_at, write_rows
from test_same_weights import exchange, folder  # noqa: F401

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import BusyError
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.runs.provenance import other_rows
from instruct_tune.ui.evaluate.text import sentence

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


def rows(count):
    return [{"instruction": f"Say {n}", "input": "", "output": str(n)} for n in range(count)]


def of(file, **sections):
    return smoke(data={"source": file, "limit": None}, **sections)


def test_a_run_that_recorded_no_rows_says_nothing():
    assert other_rows({}, "abc") == other_rows({"data_fingerprint": "abc"}, "abc") == []


def test_an_evaluation_on_a_changed_file_says_that_the_rows_are_others(lab, tmp_path):
    file = write_rows(tmp_path / "rows.json", rows(40))
    run_id = finished(lab, of(file))
    *_, result = lab.evaluations.stream(HOST, run_id, 2, {"max_new_tokens": 2})
    assert result["warnings"] == []
    write_rows(tmp_path / "rows.json", rows(50))
    *_, result = lab.evaluations.stream(HOST, run_id, 2, {"max_new_tokens": 2})
    assert ["its dataset has changed since" in warning for warning in result["warnings"]] == [True]
    assert "its dataset has changed since" in sentence(result)


def test_a_run_is_not_resumed_on_other_rows(lab, pace, tmp_path):
    file = write_rows(tmp_path / "rows.json", rows(40))
    run_id = stop_at(lab, pace, 2, of(file))
    fingerprint = lab.runs.details(HOST, run_id)["facts"]["data_fingerprint"]
    write_rows(tmp_path / "rows.json", rows(50))
    lab.training.resume(HOST, run_id)
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.provenance["data_fingerprint"]) == ("failed", fingerprint)
    assert run.message.startswith("The rows have changed since this run began: put the file back")
    # With the file put back, it resumes and nothing is lost.
    write_rows(tmp_path / "rows.json", rows(40))
    lab.training.resume(HOST, run_id)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"


def test_a_run_is_not_resumed_on_other_weights(folder, tmp_path, monkeypatch):  # noqa: F811
    with opened(tmp_path / "data") as lab:
        from labs import Pace

        run_id = stop_at(lab, Pace(monkeypatch), 2, smoke(model=str(folder)))
    exchange(folder)
    with opened(tmp_path / "data") as lab:
        lab.training.resume(HOST, run_id)
        run = lab.training.wait(run_id, PATIENCE)
        assert run.status == "failed"
        assert "trained on other weights of the same name" in run.message


def test_rows_longer_than_the_models_context_are_cut_or_dropped_like_others(lab, monkeypatch, tmp_path):
    monkeypatch.setattr(LoadedModel, "context_length", 60)
    long = [{"instruction": "Say it", "input": "", "output": "word " * 80}]
    file = write_rows(tmp_path / "rows.json", rows(20) + long * 3)
    run_id = finished(lab, of(file, train={"max_length": 1024}))
    provenance = lab.runs.details(HOST, run_id)["facts"]
    assert 1 <= provenance["rows_dropped"] <= 3
    texts = [event["text"] for event in lab.runs.events(HOST, run_id)]
    assert any("at the model's context of 60." in text for text in texts)


def test_a_prompt_beyond_the_models_context_is_answered_with_nothing_and_reported(lab, monkeypatch, tmp_path):
    long = [{"instruction": "Say it " * 60, "input": "", "output": "it"}]
    run_id = finished(lab, of(write_rows(tmp_path / "rows.json", rows(20) + long * 20), evaluation_rows=None))
    monkeypatch.setattr(LoadedModel, "context_length", 100)
    *_, result = lab.evaluations.stream(HOST, run_id, None, {"max_new_tokens": 2})
    predictions = lab.evaluations.predictions(HOST, run_id)
    beyond = [row for row in predictions if row["instruction"].startswith("Say it Say")]
    assert 0 < len(beyond) < len(predictions) == result["rows"]
    assert {(row["base"], row["tuned"]) for row in beyond} == {("", "")}
    assert f"{len(beyond)} of {len(predictions)} prompts of tuned do not fit" in sentence(result)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"eval_strategy": "epoch"}, "it is measured at the evaluations alone."),
        ({"eval_strategy": "no"}, "there is none while training."),
        ({"eval_strategy": "epoch", "probes": 0}, None),
        ({"eval_strategy": "no", "probe_rows": 0}, None),
    ],
)
def test_without_rows_for_the_probes_it_says_whether_the_held_out_loss_is_measured(lab, train, said):
    run_id = finished(lab, smoke(train=train, evaluation_rows=None))
    measured = {metric["kind"] for metric in lab.runs.metrics(HOST, run_id)} & {"probe", "eval"}
    assert measured == ({"eval"} if train["eval_strategy"] == "epoch" else set())
    texts = [event["text"] for event in lab.runs.events(HOST, run_id) if "held-out loss" in event["text"]]
    assert texts == ([f"No held-out rows are left for the probes of the held-out loss: {said}"] if said else [])


def test_where_no_held_out_row_fits_the_run_has_none_and_says_so(lab, tmp_path):
    long = [{"instruction": "Say it", "input": "", "output": "word " * 300}]
    file = write_rows(tmp_path / "rows.json", rows(20) + long * 20)
    for seed in range(40):
        split = smoke(data={"source": file, "limit": None, "seed": seed, "test_size": 0.05}, evaluation_rows=1)
        if all("word" in row.output for row in lab.datasets.held_out(HOST, split)):
            break
    else:
        pytest.fail("no split of these rows has a long one only")
    config = smoke(
        data={"source": file, "limit": None, "seed": seed, "test_size": 0.05},
        train={"max_length": 60},
        evaluation_rows=1,
    )
    run_id = finished(lab, config)
    assert lab.runs.details(HOST, run_id)["facts"]["evaluation_rows"] == 0
    assert any("Evaluation rows: none fits into 60 tokens" in event["text"] for event in lab.runs.events(HOST, run_id))


def test_of_two_who_resume_a_run_at_once_one_does(lab, pace):
    run_id = stop_at(lab, pace, 2, smoke())
    together, outcomes = threading.Barrier(4), []

    def resume():
        together.wait(PATIENCE)
        try:
            outcomes.append(lab.training.resume(HOST, run_id))
        except BusyError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=resume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    assert outcomes.count(run_id) == 1
    assert sum("only one that ended early can be resumed" in outcome for outcome in outcomes) == 3
