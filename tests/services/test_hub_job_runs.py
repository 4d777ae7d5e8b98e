"""The real script of a job, run by a Python without the lab: its numbers are those of the run that comes back."""

import json

import pytest
from job_machine import JobMachine
from labs import cache_for, finished, opened, smoke
from script_runs import python_without_lab
from toy_hub import ToyHub, connected
from toy_uploads import Account

from instruct_tune.config.viewer import HOST
from instruct_tune.pretrained.hub_token import HubToken
from instruct_tune.pretrained.locate import locate

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

ANN = "hf_of_ann_0123"
PLAIN = {"lora": {"lora_dropout": 0}, "train": {"probes": 0, "save_minutes": None}}


@pytest.mark.nightly
def test_the_run_that_comes_back_has_the_scripts_numbers(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    tiny = locate("tiny-random", lambda text: None).path
    files = {file.name: file.read_bytes() for file in tiny.iterdir() if file.is_file()}
    toy = ToyHub({}, models={"toy/tiny": files}, accounts={ANN: Account("ann")})
    with connected(monkeypatch, toy) as address, opened(tmp_path / "data") as lab:
        toy.jobs.run = JobMachine(toy, address, python_without_lab(tmp_path / "venv"), tmp_path)
        config = smoke(model="toy/tiny", **PLAIN)
        begun = lab.hub_jobs.start(HOST, None, "cpu-basic", 10, 0.01, HubToken(ANN), config)
        ours = finished(lab, smoke(**PLAIN))
        *_, evaluation = lab.evaluations.stream(HOST, ours)
        job = list(lab.hub_jobs.stream(HOST, begun["job_id"]))[-1]
        assert job["status"] == "done", "\n".join(toy.jobs.all[-1].lines[-30:])
        run = lab.runs.details(HOST, job["brought"])
        own = by_step(lab.runs.metrics(HOST, ours))
    written = [json.loads(line) for line in toy.models[job["repo"]]["metrics.jsonl"].splitlines()]
    come = by_step(run["metrics"])
    assert {key: {name: come[key][name] for name in each} for key, each in by_step(written).items()} == by_step(written)
    # What the script printed, and what the lab computes with the same settings.
    losses = {step: each["loss"] for (kind, step), each in come.items() if kind == "train"}
    assert len(losses) == run["step"] > 1
    for step, loss in losses.items():
        assert f"step {step} of {run['step']}: loss {loss:.4f}" in job["log"]
        assert loss == pytest.approx(own["train", step]["loss"], abs=1e-5)
        for name in ("tokens", "supervised", "learning_rate"):
            assert come["train", step][name] == pytest.approx(own["train", step][name])
    assert come["eval", run["step"]]["eval_loss"] == pytest.approx(own["eval", run["step"]]["eval_loss"], abs=1e-5)
    assert come["bleu", run["step"]]["bleu"] == pytest.approx(evaluation["tuned"]["bleu"], abs=1e-3)
    assert run["facts"]["base_bleu"] == pytest.approx(evaluation["base"]["bleu"], abs=1e-3)
    assert (run["facts"]["bleu_rows"], run["facts"]["device"]) == (evaluation["rows"], "cpu")
    assert ANN not in json.dumps([job, run, toy.jobs.all[-1].lines])
    assert [name for name, content in toy.models[job["repo"]].items() if ANN.encode() in content] == []


def by_step(metrics):
    """Metrics by what they are known by."""
    return {(each["kind"], each["step"]): each for each in metrics}
