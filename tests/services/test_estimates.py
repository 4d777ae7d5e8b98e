"""Cost estimates of runs: made without network access, and without a measurement beside a job at work."""

import threading

import pytest
from at_night import at_night_after
from labs import PATIENCE, Pace, cache_for, finished, opened, smoke

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, LabError, ModelError, SettingsError
from instruct_tune.estimate.fitting import FEWEST_ROWS
from instruct_tune.estimate.resources import Effort, Speed
from instruct_tune.services import estimates

EVEN = Speed(
    a_token=0.002,
    forward=0.5,
    new_token=0.01,
    token_bytes=100,
    supervised_bytes=10,
)


@pytest.fixture(autouse=True, scope="module")
def cached(tmp_path_factory, one_thread):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, cached):
    """Each test has its own cache of measurements; the tiny model is shared."""
    import instruct_tune.estimate.calibrate

    monkeypatch.setattr(instruct_tune.estimate.calibrate, "cache_dir", lambda: tmp_path / "speeds")


@pytest.fixture
def measured(monkeypatch):
    """Replaces the measurement by a constant; the list holds the names of the threads that called it."""
    import instruct_tune.estimate.calibrate

    threads = []

    def measure(*args):
        threads.append(threading.current_thread().name)
        return EVEN

    monkeypatch.setattr(instruct_tune.estimate.calibrate, "measure", measure)
    return threads


def test_a_run_takes_the_steps_and_tokens_that_were_estimated(tmp_path):
    with opened(tmp_path) as lab:
        cost = lab.estimates.cost(HOST, smoke())
        run_id = finished(lab, smoke())
        result, provenance = lab.runs.result(HOST, run_id), lab.runs.details(HOST, run_id)["facts"]
    assert (cost["steps"], cost["tokens"]) == (result["steps"], result["tokens"])
    assert cost["trainable_parameters"] == provenance["trainable_parameters"]
    assert cost["speed"].startswith(estimates.MEASURED)
    assert cost["seconds"]["total"] == pytest.approx(sum(v for k, v in cost["seconds"].items() if k != "total"))
    assert cost["unknown"] is None


def test_it_is_measured_once_on_the_engines_thread_and_remembered(tmp_path, measured):
    with opened(tmp_path) as lab:
        first = lab.estimates.cost(HOST, smoke(), measure=False)
        assert (first["seconds"], first["memory"], measured) == (None, None, [])
        assert first["steps"] == 4
        lab.estimates.cost(HOST, smoke())
        again = lab.estimates.cost(HOST, smoke(train={"num_train_epochs": 2}), measure=False)
        assert measured == ["job-queue"]
        assert again["seconds"]["training"] > 0
        lab.estimates.cost(HOST, smoke(lora={"r": 64}))
        assert len(measured) == 2, "another size of rank is another speed"


def test_too_little_memory_is_the_first_warning(tmp_path, monkeypatch, measured):
    with opened(tmp_path) as lab:
        assert lab.estimates.cost(HOST, smoke())["warnings"] == []
        monkeypatch.setattr(estimates, "free_memory", lambda: 1000)
        assert "1 kB are free: lower the batch size" in lab.estimates.cost(HOST, smoke())["warnings"][0]


def a_token(cost) -> float:
    """Seconds of a training token in an estimate."""
    return cost["seconds"]["training"] / cost["tokens"]


def pace_of(work) -> float:
    """Seconds of a training token in a run whose other work costs what ``EVEN`` says in proportion."""
    effort = Effort(work["trained"], work["read"], work["decoded"])
    return EVEN.a_token * work["seconds"] / effort.seconds(EVEN)


def test_after_a_run_its_own_speed_counts(tmp_path, measured):
    with opened(tmp_path) as lab:
        run_id = finished(lab, smoke(), "mine")
        work = lab.store.get(run_id).provenance["work"]
        cost = lab.estimates.cost(HOST, smoke())
        assert cost["speed"] == "from your run mine"
        # The first of four steps includes one-time work.
        assert work["trained"] == cost["tokens"] * 3 / 4
        took = lab.store.get(run_id).ended - lab.store.get(run_id).created
        assert a_token(cost) == pytest.approx(pace_of(work))
        assert work["seconds"] <= took


@pytest.mark.parametrize("lora", at_night_after(1, [{"target_modules": "all-linear"}, {"r": 64}]))
def test_another_adapter_is_estimated_at_the_pace_of_the_same_run(tmp_path, measured, lora):
    with opened(tmp_path) as lab:
        run_id = finished(lab, smoke(), "mine")
        # Something else kept the machine busy: the run took an hour.
        work = lab.store.get(run_id).provenance["work"]
        lab.store.update(run_id, provenance={"work": {**work, "seconds": 3600.0}})
        same, other = (lab.estimates.cost(HOST, smoke(**each)) for each in ({}, {"lora": lora}))
        assert other["speed"] == "from your run mine, which had another adapter"
        assert a_token(same) == pytest.approx(pace_of({**work, "seconds": 3600.0}))
        parameters = [4 * each["parameters"] + 6 * each["trainable_parameters"] for each in (same, other)]
        assert other["seconds"]["training"] / same["seconds"]["training"] == pytest.approx(
            parameters[1] / parameters[0]
        )


def test_a_stopped_run_tells_the_pace_of_what_it_did(tmp_path, monkeypatch, measured):
    pace = Pace(monkeypatch)
    with opened(tmp_path) as lab:
        longer = smoke(train={"num_train_epochs": 3})
        pace.at[6] = lambda runner: lab.training.stop(HOST, runner.run.id)
        run_id = lab.training.start(HOST, longer, "half")
        assert lab.training.wait(run_id, PATIENCE).status == "stopped"
        work = lab.store.get(run_id).provenance["work"]
        cost = lab.estimates.cost(HOST, longer)
        assert cost["speed"] == "from your run half"
        assert 0 < work["trained"] < cost["tokens"]
        assert a_token(cost) == pytest.approx(pace_of(work))


def test_a_run_stopped_after_a_step_tells_no_pace(tmp_path, monkeypatch, measured):
    pace = Pace(monkeypatch)
    with opened(tmp_path) as lab:
        pace.at[2] = lambda runner: lab.training.stop(HOST, runner.run.id)
        run_id = lab.training.start(HOST, smoke(), "short")
        assert lab.training.wait(run_id, PATIENCE).status == "stopped"
        assert "work" not in lab.store.get(run_id).provenance
        assert lab.estimates.cost(HOST, smoke())["speed"].startswith(estimates.MEASURED)


def test_nothing_is_measured_beside_a_run(tmp_path, monkeypatch, measured):
    pace = Pace(monkeypatch)
    with opened(tmp_path) as lab:
        costs, estimated = [], threading.Event()

        def estimate(runner):
            costs.append(lab.estimates.cost(HOST, smoke()))
            estimated.set()

        pace.at[2] = estimate
        run_id = lab.training.start(HOST, smoke(), "at work")
        assert estimated.wait(PATIENCE)
        assert lab.training.wait(run_id, PATIENCE).status == "finished"
    assert measured == []
    assert (costs[0]["steps"], costs[0]["seconds"]) == (4, None)
    assert costs[0]["unknown"] == "Time and memory are measured when run at work is done."


def test_what_is_not_on_this_machine_is_unknown_and_nothing_is_fetched(tmp_path, monkeypatch):
    from instruct_tune.pretrained import hub

    monkeypatch.setattr(hub, "_probe", lambda: pytest.fail("the Hub was contacted"))
    with opened(tmp_path) as lab:
        cost = lab.estimates.cost(HOST, smoke(model="nobody/has-this"))
        assert (cost["steps"], cost["tokens"], cost["seconds"]) == (4, None, None)
        assert "nobody/has-this is not on this machine yet" in cost["unknown"]
        cost = lab.estimates.cost(HOST, smoke(data={"source": "codealpaca-20k"}))
        assert cost["steps"] is None
        assert "Load and split" in cost["unknown"]
        with pytest.raises(ModelError, match="not on this machine"):
            lab.estimates.fit(HOST, smoke(model="nobody/has-this"), 1)


@pytest.mark.parametrize(
    ("wrong", "message", "kind"),
    [
        ({"lora": {"r": 0}}, "lora.r must be between", SettingsError),
        ({"lora": {"target_modules": ["nothing"]}}, "no module named nothing", ModelError),
        ({"train": {"max_length": 8}}, "No row fits into train.max_length 8", DataError),
        ({"data": {"source": "/nowhere/rows.json"}}, "There is no file", DataError),
        ({"model": "no model/at all/"}, "neither a folder on this machine nor a Hub id", ModelError),
    ],
)
def test_a_wrong_setting_gets_its_sentence(tmp_path, measured, wrong, message, kind):
    with opened(tmp_path) as lab, pytest.raises(kind, match=message):
        lab.estimates.cost(HOST, smoke(**wrong))


@pytest.mark.parametrize("minutes", [0.2, 1, 3, 10])
def test_what_is_chosen_fits_and_hardly_more_would(tmp_path, measured, minutes):
    with opened(tmp_path) as lab:
        choice = lab.estimates.fit(HOST, smoke(data={"limit": None}), minutes)
        all_rows = lab.datasets.summary(HOST, smoke())["train_rows_before_limit"]
        rows = choice["config"]["data"]["limit"]
        assert choice["cost"]["seconds"]["total"] <= 60 * minutes
        assert f"{rows} of {all_rows} rows" in choice["said"] or f"All {rows} rows" in choice["said"]
        assert lab.estimates.cost(HOST, choice["config"])["seconds"] == choice["cost"]["seconds"]
        if rows < all_rows:
            more = smoke(**choice["config"] | {"data": choice["config"]["data"] | {"limit": rows + 1}})
            assert lab.estimates.cost(HOST, more)["seconds"]["total"] > 60 * minutes


def test_where_few_rows_do_not_fit_epochs_and_then_steps_are_fewer(tmp_path, measured):
    with opened(tmp_path) as lab:
        many = {"num_train_epochs": 50, "eval_strategy": "no", "probes": 1}
        fewer = lab.estimates.fit(HOST, smoke(train=many), 1)
        assert fewer["config"]["train"]["num_train_epochs"] == 1
        assert "instead of 50 epochs" in fewer["said"]
        slow = {"eval_strategy": "no", "probes": 0, "per_device_train_batch_size": 1}
        short = lab.estimates.fit(HOST, smoke(train=slow), 0.04)
        assert short["config"]["data"]["limit"] == FEWEST_ROWS
        assert 1 <= short["config"]["train"]["max_steps"] < 8
        with pytest.raises(DataError, match="give it more time"):
            lab.estimates.fit(HOST, smoke(), 0.001)
        for wrong in (0, -1, float("inf"), "ten"):
            with pytest.raises(LabError, match="minutes"):
                lab.estimates.fit(HOST, smoke(), wrong)


def test_a_measurement_grows_old_sooner_on_a_crowded_machine_and_what_an_older_lab_wrote_is_ignored(monkeypatch):
    import dataclasses
    import json
    import time

    from instruct_tune.estimate.calibrate import SpeedMemory

    memory = SpeedMemory()
    memory.put("quiet", EVEN)
    memory.put("crowded", dataclasses.replace(EVEN, crowded=True))
    stored = json.loads(memory.file.read_text())
    memory.file.write_text(json.dumps({**stored, "older": {"when": time.time(), "speed": {"a_pass": 1.0}}}))
    assert (memory.get("quiet"), memory.get("older")) == (EVEN, None)
    assert memory.get("crowded").crowded
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 600)
    assert (memory.get("quiet"), memory.get("crowded")) == (EVEN, None)
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    assert memory.get("quiet") is None
    memory.file.write_text("{torn")
    assert memory.get("quiet") is None
