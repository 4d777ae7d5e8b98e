"""An evaluation through the lab: its progress, its scores, stops and failures."""

import json
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from labs import PATIENCE, finished, opened, smoke, trained, until

from instruct_tune.compute import model_host
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import BusyError, DataError, LabError, SettingsError, Stopped
from instruct_tune.generation import generate
from instruct_tune.models.decoding_support import DecodingSupport

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


def test_an_evaluation_tells_its_progress_and_then_its_numbers(lab):
    run_id = trained(lab)
    *updates, result = lab.evaluations.stream(HOST, run_id)
    done = [(each["done"], each["total"]) for each in updates if "done" in each]
    assert done[0] == (0, 8)
    assert done[-1] == (8, 8)
    assert done == sorted(done)
    assert set(result) >= {"run_id", "rows", "generation", "base", "tuned", "delta", "p_value", "predictions"}
    assert (result["run_id"], result["rows"]) == (run_id, 4)
    assert result["generation"]["max_new_tokens"] == 8
    for report in (result["base"], result["tuned"]):
        assert set(report) >= {"bleu", "precisions", "bp", "sys_len", "ref_len", "signature", "ci", "chrf"}
        assert len(report["precisions"]) == 4
        assert len(report["ci"]) == 2
    assert result["delta"] == result["tuned"]["bleu"] - result["base"]["bleu"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_its_predictions_are_the_held_out_rows_answered_twice(lab):
    run_id = trained(lab)
    result = list(lab.evaluations.stream(HOST, run_id))[-1]
    lines = [json.loads(line) for line in Path(result["predictions"]).read_text(encoding="utf-8").splitlines()]
    assert lines == lab.evaluations.predictions(HOST, run_id)
    rows = lab.datasets.held_out(HOST, smoke())
    assert [(line["instruction"], line["input"], line["reference"]) for line in lines] == [
        (row.instruction, row.input, row.output) for row in rows
    ]
    prompts = [{"instruction": row.instruction, "input": row.input} for row in rows]
    assert [line["tuned"] for line in lines] == lab.inference.generate(HOST, run_id, prompts)
    assert [line["base"] for line in lines] == lab.inference.generate(HOST, "base", prompts, smoke())


def test_an_evaluation_keeps_requested_and_available_row_counts(lab, tmp_path):
    rows = [{"instruction": f"Say {number}", "output": str(number)} for number in range(20)]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    run_id = finished(lab, smoke(data={"source": str(tmp_path / "rows.json")}))
    result = list(lab.evaluations.stream(HOST, run_id, limit=500))[-1]
    assert (result["rows"], result["rows_requested"]) == (4, 500)
    assert lab.runs.evaluations(HOST, run_id)[0]["rows_requested"] == 500
    result = list(lab.evaluations.stream(HOST, run_id, limit=4))[-1]
    assert (result["rows"], result["rows_requested"]) == (4, 4)


@pytest.mark.slow
def test_answers_that_share_no_batch_are_marked(lab, monkeypatch):
    prompts = [{"instruction": row.instruction, "input": row.input} for row in lab.datasets.held_out(HOST, smoke())]
    together = lab.inference.generate(HOST, "base", prompts, smoke())
    monkeypatch.setattr(generate, "detect_decoding_support", lambda config: DecodingSupport(True, False, True))
    run_id = finished(lab)
    sentence = "In this architecture a batch changes the answers of its rows, so each answer is decoded alone."
    assert sentence in str(lab.store.events(run_id))
    result = list(lab.evaluations.stream(HOST, run_id))[-1]
    assert result["warnings"] == [sentence]
    assert [line["base"] for line in lab.evaluations.predictions(HOST, run_id)] == together


def test_base_decodes_once(lab, tmp_path):
    results = [list(lab.evaluations.stream(HOST, trained(lab)))[-1] for _ in range(2)]
    assert [each["base_remembered"] for each in results] == [0, 4]
    assert results[0]["base"] == results[1]["base"]


def test_an_evaluation_is_kept(lab, tmp_path):
    run_id = trained(lab)
    assert lab.evaluations.predictions(HOST, run_id) == []
    results = [list(lab.evaluations.stream(HOST, run_id, limit=limit))[-1] for limit in (2, 3)]
    assert [each["rows"] for each in results] == [2, 3]
    lab.close()
    with opened(tmp_path / "data") as again:
        kept = again.runs.details(HOST, run_id)["evaluations"]
        assert [each["rows"] for each in kept] == [3, 2]
        verdict = results[1].pop("verdict")
        assert {name: kept[0][name] for name in results[1]} == results[1]
        assert again.evaluations.interpretation(HOST, run_id, kept[0]) == verdict
        assert [len(again.evaluations.predictions(HOST, run_id, evaluation["seq"])) for evaluation in kept] == [3, 2]
        assert len(again.evaluations.predictions(HOST, run_id)) == 3
        assert again.evaluations.predictions(HOST, run_id, 10**9) == []


@pytest.mark.parametrize("limit", [0, -1, "many", 1.5])
def test_a_limit_that_is_none_is_refused(kept, limit):
    lab, run_id = kept
    with pytest.raises(SettingsError, match="evaluation_rows"):
        next(lab.evaluations.stream(HOST, run_id, limit=limit))
    assert lab.queue.busy_with is None


def test_closing_an_evaluation_stops_it_and_keeps_the_one_before(lab):
    run_id = trained(lab)
    list(lab.evaluations.stream(HOST, run_id, limit=2))
    before = lab.evaluations.predictions(HOST, run_id)
    updates = lab.evaluations.stream(HOST, run_id, generation={"max_new_tokens": 1500})
    next(updates)
    updates.close()
    until(lambda: lab.queue.busy_with is None, "the evaluation's end")
    assert lab.evaluations.progress(HOST, run_id)["error"] == "Stopped after 0 of 8 answers; nothing was scored."
    assert lab.evaluations.predictions(HOST, run_id) == before
    assert len(lab.runs.details(HOST, run_id)["evaluations"]) == 1
    assert list(lab.evaluations.stream(HOST, run_id, limit=3))[-1]["rows"] == 3


def test_a_stopped_evaluation_says_so_to_who_watches(lab):
    run_id = trained(lab)
    updates = lab.evaluations.stream(HOST, run_id, generation={"max_new_tokens": 1500})
    next(updates)
    lab.evaluations.stop_all()
    with pytest.raises(LabError, match="topped"):
        list(updates)


def test_an_evaluation_stopped_before_it_began_never_answers(lab):
    run_id = trained(lab)
    let_go, begun = threading.Event(), threading.Event()
    lab.queue.submit_short(lambda: begun.set() or let_go.wait(PATIENCE))
    assert begun.wait(PATIENCE)
    future = lab.evaluations.start(HOST, run_id, generation={"max_new_tokens": 1500})
    lab.evaluations.stop_all()
    let_go.set()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert "Withdrawn" in lab.evaluations.progress(HOST, run_id)["error"]
    assert time.monotonic() - began < 2
    assert lab.runs.details(HOST, run_id)["evaluations"] == []


def test_an_evaluation_goes_on_without_watchers(lab):
    run_id = trained(lab)
    result = lab.evaluations.start(HOST, run_id).result(PATIENCE)
    assert lab.evaluations.progress(HOST, run_id) == {"run_id": run_id, "baselines": 0, "finished": True}
    assert lab.runs.details(HOST, run_id)["evaluations"][0]["delta"] == result["delta"]


@pytest.mark.slow
def test_questions_are_answered_during_an_evaluation(lab):
    run_id = trained(lab, smoke(evaluation_rows=None))
    updates = lab.evaluations.stream(HOST, run_id, generation={"max_new_tokens": 30})
    next(updates)
    comparison = threading.Thread(target=lambda: list(lab.inference.compare(HOST, run_id, "Hi")))
    comparison.start()
    *_, result = updates
    comparison.join(PATIENCE)
    assert not comparison.is_alive()
    assert result["rows"] > 4


def test_a_run_deleted_under_its_evaluation_is_reported_in_a_sentence(lab):
    run_id = trained(lab)
    updates = lab.evaluations.stream(HOST, run_id, generation={"max_new_tokens": 200})
    next(updates)
    lab.training.delete(HOST, run_id)
    with pytest.raises(LabError):
        list(updates)
    assert lab.runs.summaries(HOST) == []
    assert not (lab.data_dir / "runs" / run_id).exists(), "its answers are gone with it"
    finished(lab)


@pytest.mark.nightly
@pytest.mark.slow
def test_its_adapter_stays_in_memory_while_others_are_compared(lab, monkeypatch):
    run_id, other = (trained(lab, smoke(evaluation_rows=None)) for _ in range(2))
    settings = {"max_new_tokens": 30}
    alone = [*lab.evaluations.stream(HOST, run_id, generation=settings)][-1]["tuned"]
    monkeypatch.setattr(model_host, "MAX_ADAPTERS", 1)
    updates = lab.evaluations.stream(HOST, run_id, generation={**settings, "seed": 7})
    next(updates)
    comparison = threading.Thread(target=lambda: list(lab.inference.compare(HOST, other, "Hi", generation=settings)))
    comparison.start()
    *_, result = updates
    comparison.join(PATIENCE)
    assert result["tuned"] == alone


def test_a_watcher_hears_of_a_fault_and_the_log_says_which(lab, monkeypatch, caplog):
    import instruct_tune.compute.evaluation_work

    def broken(*args, **kwargs):
        raise RuntimeError("broken")

    run_id = trained(lab)
    monkeypatch.setattr(instruct_tune.compute.evaluation_work, "evaluate", broken)
    with pytest.raises(RuntimeError):
        list(lab.evaluations.stream(HOST, run_id))
    assert lab.evaluations.progress(HOST, run_id)["error"].startswith("It ended by a fault of the lab")
    assert "RuntimeError: broken" in caplog.text
    monkeypatch.undo()
    assert list(lab.evaluations.stream(HOST, run_id))[-1]["rows"] == 4


def test_a_tokenisation_goes_all_the_way_and_the_answers_stay_the_same(lab):
    run_id = trained(lab)
    (*_, first), (*_, second) = (
        list(lab.evaluations.stream(HOST, run_id, 4, tokenize=name)) for name in ("13a", "char")
    )
    signatures = [result[side]["signature"] for result in (first, second) for side in ("base", "tuned")]
    assert ["tok:char|" in signature for signature in signatures] == [False, False, True, True]
    assert (first["tokenize"], second["tokenize"], second["warnings"]) == ("13a", "char", [])
    rows = [lab.evaluations.predictions(HOST, run_id, entry["seq"]) for entry in lab.runs.evaluations(HOST, run_id)]
    assert rows[0] == rows[1]
    with pytest.raises(DataError, match="tokenize must be one of"):
        lab.evaluations.start(HOST, run_id, 4, tokenize="flores200")


def test_of_two_evaluations_started_at_once_one_is_refused_and_the_other_can_be_stopped(kept, monkeypatch):
    lab, run_id = kept
    enqueue, outcomes = lab.queue.enqueue, []

    def slow(*args):
        time.sleep(0.2)
        return enqueue(*args)

    monkeypatch.setattr(lab.queue, "enqueue", slow)

    def start():
        try:
            outcomes.append(lab.evaluations.start(HOST, run_id, generation={"max_new_tokens": 1500}))
        except BusyError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    refused = [each for each in outcomes if isinstance(each, BusyError)]
    assert (len(outcomes), len(refused)) == (2, 1)
    [job] = [each for each in outcomes if not isinstance(each, BusyError)]
    lab.evaluations.stop(HOST, run_id)
    with pytest.raises((Stopped, CancelledError)):
        job.result(PATIENCE)


def test_who_has_to_wait_is_not_shown_the_folder_of_the_model_at_work(lab):
    models = lab.queue.submit_short(lambda: lab.models).result(PATIENCE)
    models._loaded, models._key, models.training = object(), ("/home/ann/private-model", None), "a run"
    with pytest.raises(BusyError, match=r"^Another model is training; tiny-random can be used after that\.$"):
        models.base("tiny-random", "auto", lambda text: None)
    models._loaded = models._key = models.training = None
