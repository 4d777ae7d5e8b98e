"""The lab on a ZeroGPU Space: the real package ``spaces``, and a service that lends a GPU which is not there."""

import base64
import json
import time

import pytest
from at_night import at_night_after
from labs import PATIENCE
from zerogpu_lab import Space
from zerogpu_service import SILENCE, ZeroGpuService

from instruct_tune.config.presets import PRESETS

pytest.importorskip("spaces", reason="the package of ZeroGPU Spaces is not installed")

pytestmark = pytest.mark.slow

MINUTE = {
    **PRESETS["minute"].to_dict(),
    "model": "tiny-random",
    "generation": {"max_new_tokens": 6},
    "evaluation_rows": 4,
}
MINUTE["train"] |= {"probes": 4, "sample_tokens": 4, "bleu_rows": 2}
"""The preset on a tiny model, with all that a run records."""
LONG = {
    **MINUTE,
    "train": {**MINUTE["train"], "max_steps": 100_000, "eval_strategy": "no", "bleu_rows": 0, "probes": 1},
}


@pytest.fixture(scope="module")
def service():
    service = ZeroGpuService()
    yield service
    service.close()


@pytest.fixture(scope="module")
def space(service, tmp_path_factory):
    space = Space(tmp_path_factory.mktemp("space"), service)
    yield space
    space.close()


@pytest.fixture(autouse=True)
def forget(service, space):
    service.requests.clear()
    service.answers.clear()
    space.call("shape", plan=[])
    yield
    # One that comes back later would count in the next test.
    until(lambda: len(service.of("/release")) >= len(service.of("/allow")), "the return of every GPU")
    space.call("shorten", seconds=None)
    space.call("impatient", seconds=60)


@pytest.fixture(scope="module")
def trained(space, service):
    """A run of one undisturbed turn, whose GPU has been given back."""
    run_id = space.call("start", config=MINUTE)
    assert space.call("wait", run_id=run_id)["status"] == "finished"
    until(lambda: len(service.of("/release")) >= len(service.of("/schedule")) > 0, "the GPU's return")
    return run_id


def token_of(name):
    """A token as the platform's proxy sends it: a JWT whose signature nobody here checks."""
    payload = base64.urlsafe_b64encode(json.dumps({"user": name}).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


def until(true, what):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


# Turns


def test_three_turns_are_one_run(space, service, trained):
    space.call("shape", plan=[[3, None], [4, None]])
    run_id = space.call("start", config=MINUTE)
    assert space.call("wait", run_id=run_id) == {
        "status": "finished", "message": "Finished 12 steps.", "kind": None, "step": 12
    }  # fmt: skip
    assert len(service.of("/schedule")) == len(service.of("/release")) == 3
    assert len(set(service.pids[-3:])) == 3
    assert space.call("curve", run_id=run_id) == space.call("curve", run_id=trained)


def test_this_process_computes_the_same(space, trained):
    own = space.call("start", config=MINUTE, own=True)
    assert space.call("wait", run_id=own)["status"] == "finished"
    assert space.call("curve", run_id=own) == space.call("curve", run_id=trained)


def test_it_answers_and_evaluates_on_the_gpu(space, service, trained):
    *_, last = space.call("compare", run_id=trained, text="Say hello")
    assert last["done"]
    assert last["base_tokens"]
    evaluation = space.call("evaluate", run_id=trained, limit=4)
    own = space.call("evaluate", run_id=trained, limit=4, own=True)
    assert evaluation["tuned"] == own["tuned"]
    assert space.call("losses", run_id=trained)
    assert space.call("effect", run_id=trained)
    assert len(service.of("/schedule")) == 4


@pytest.mark.nightly
def test_an_evaluation_goes_on_in_the_next_turn(space, service, trained):
    space.call("shape", plan=[[2, None]])
    evaluation = space.call("evaluate", run_id=trained, limit=4, tokens=7)
    assert len(service.of("/schedule")) == 2
    own = space.call("evaluate", run_id=trained, limit=4, tokens=7, own=True)
    assert [evaluation[side] for side in ("base", "tuned")] == [own[side] for side in ("base", "tuned")]


def test_a_run_tells_how_much_gpu_time_the_next_one_uses(space, trained):
    once, thrice = (
        space.call("cost", config={**MINUTE, "train": {**MINUTE["train"], "num_train_epochs": epochs}})
        for epochs in (1, 3)
    )
    assert 0 < once["gpu_seconds"] < thrice["gpu_seconds"] < 3 * once["gpu_seconds"]
    assert once["seconds"] is None
    unknown = space.call("cost", config={**MINUTE, "model": "HuggingFaceTB/SmolLM2-360M"})
    assert "gpu_seconds" not in unknown
    assert "not on this machine yet" in unknown["unknown"]


def test_the_main_process_has_no_gpu_and_holds_no_lock_when_it_forks(space, service, trained):
    report = space.call("report")
    assert report["cuda"] == []
    assert report["held"]
    assert not any(report["held"])
    assert report["pid"] not in service.pids


# Visitors


def test_each_visitors_token_pays_for_their_own_run(space, service):
    ann, bob = (space.call("start", config=LONG, token=token_of(name)) for name in ("ann", "bob"))
    until(lambda: len(service.of("/allow")) == 2, "two workers at the same time")
    assert {query.get("token") for query in service.of("/schedule")} == {token_of("ann"), token_of("bob")}
    for run_id in (ann, bob):
        space.call("stop", run_id=run_id)
        assert space.call("wait", run_id=run_id)["status"] == "stopped"


def test_a_visitor_without_an_account_needs_no_token(space, service):
    run_id = space.call("start", config=MINUTE)
    assert space.call("wait", run_id=run_id)["status"] == "finished"
    assert "token" not in service.of("/schedule")[0]


def test_a_visitor_who_leaves_frees_the_gpu(space, service, trained):
    space.call("compare", run_id=trained, text="Say hello", close_after=1)
    until(lambda: len(service.of("/release")) == len(service.of("/schedule")) == 1, "the GPU's return")


def test_a_stop_comes_within_the_turn(space, service):
    run_id = space.call("start", config=LONG)
    until(lambda: service.of("/allow"), "the worker")
    space.call("stop", run_id=run_id)
    ended = space.call("wait", run_id=run_id)
    assert ended["status"] == "stopped"
    assert len(service.of("/schedule")) == 1
    until(lambda: len(service.of("/release")) == 1, "the GPU's return")


def test_a_stop_reaches_a_worker_that_tells_nothing(space, service, trained):
    assert space.call("answer_slowly", run_id=trained, text="Say hello") == "Stopped."
    # Greedy and beams are two turns; the stop comes in the second where the first takes less than half a second.
    until(lambda: len(service.of("/release")) == len(service.of("/schedule")) > 0, "the GPU's return")


def test_a_run_that_is_resumed_at_once_can_be_stopped(space, service):
    run_id = space.call("start", config=LONG)
    until(lambda: service.of("/allow"), "the worker")
    assert space.call("resume_at_once", run_id=run_id) == "stopping"
    assert space.call("wait", run_id=run_id)["status"] == "stopped"


@pytest.mark.nightly
def test_a_worker_that_is_used_again_answers_with_the_adapter_of_today(space, service):
    service.reuses = True
    run_id = space.call("start", config={**MINUTE, "train": {**MINUTE["train"], "max_steps": 4}})
    assert space.call("wait", run_id=run_id)["status"] == "finished"
    *_, lent = space.call("compare", run_id=run_id, text="Say hello")
    service.reuses = False
    assert len(service.of("/schedule")) == 2
    assert len(service.of("/allow")) == 1
    service.answers = [503]
    *_, own = space.call("compare", run_id=run_id, text="Say hello")
    assert (lent["base"], lent["tuned"]) == (own["base"], own["tuned"])


def test_the_cpu_answers_with_the_adapter_that_was_trained_since(space, service):
    """It answered while the run was half trained, so it has that adapter in memory."""
    space.call("shape", plan=[[4, None]])
    run_id = space.call("start", config=LONG)
    until(lambda: len(service.of("/allow")) == 2, "the second turn")
    service.answers = [503]
    *_, half = space.call("compare", run_id=run_id, text="Say hello")
    assert half["done"]
    space.call("stop", run_id=run_id)
    assert space.call("wait", run_id=run_id)["status"] == "stopped"
    service.answers = [503]
    *_, own = space.call("compare", run_id=run_id, text="Say hello")
    *_, lent = space.call("compare", run_id=run_id, text="Say hello")
    assert own["tuned"] == lent["tuned"]
    effect = space.call("effect", run_id=run_id)
    service.answers = [503]
    assert space.call("effect", run_id=run_id) == pytest.approx(effect, rel=1e-5)


@pytest.mark.parametrize("steps", at_night_after(0, [11, 1, 12]))
def test_time_that_runs_out_in_the_last_measurements_costs_none(space, trained, steps):
    space.call("shape", plan=[[steps, None]])
    run_id = space.call("start", config=MINUTE)
    assert space.call("wait", run_id=run_id)["status"] == "finished"
    assert space.call("curve", run_id=run_id) == space.call("curve", run_id=trained)


# Refusals


QUOTA = (429, {"left": 4, "wait": 3600})


@pytest.mark.parametrize(
    ("answer", "words"),
    at_night_after(
        1,
        [
            (QUOTA, "Your GPU time is used up for now (4 s are left; more in 1:00:00). Go on later, sign in"),
            ((429, {"left": 500, "wait": -1}), "One turn on the GPU may not be as long as this work needs."),
            (401, "The page has been open too long to ask for a GPU. Reload it"),
            (404, "The GPU service did not lend one (RuntimeError"),
            (500, "The GPU service did not lend one (RuntimeError"),
            (503, "No GPU is free now. Go on later, or continue on this Space's CPU."),
        ],
    ),
)
def test_a_refusal_is_one_sentence_and_the_run_goes_on_by_choice(space, service, answer, words):
    service.answers = [answer]
    run_id = space.call("start", config=MINUTE, token=token_of("ann"))
    ended = space.call("wait", run_id=run_id)
    assert (ended["status"], ended["kind"]) == ("failed", "gpu")
    assert words in ended["message"]
    space.call("resume", run_id=run_id, own=True)
    assert space.call("wait", run_id=run_id)["status"] == "finished"


def test_a_service_that_is_silent(space, service):
    service.answers = [SILENCE]
    space.call("impatient", seconds=1)
    run_id = space.call("start", config=MINUTE)
    ended = space.call("wait", run_id=run_id)
    assert ended["kind"] == "gpu"
    assert "did not lend one (ReadTimeout" in ended["message"]


def test_what_is_left_of_the_time_is_used(space, service):
    service.answers = [(429, {"left": 25, "wait": 3600})]
    run_id = space.call("start", config=LONG, token=token_of("ann"))
    until(lambda: service.of("/allow"), "the worker")
    space.call("stop", run_id=run_id)
    assert space.call("wait", run_id=run_id)["status"] == "stopped"
    assert [query["durationSeconds"] for query in service.of("/schedule")] == ["60", "25"]


def test_a_question_is_answered_by_the_cpu_where_no_gpu_is_lent(space, service, trained):
    service.answers = [503]
    states = space.call("compare", run_id=trained, text="Say hello")
    assert any("No GPU is free now. This Space's CPU answers" in state.get("message", "") for state in states)
    assert states[-1]["done"]
    assert states[-1]["base_tokens"]


# Workers that die


@pytest.mark.parametrize("moment", at_night_after(1, ["saving", "step", "yielding"]))
def test_a_killed_worker_loses_no_more_than_to_its_last_checkpoint(space, service, trained, moment):
    space.call("shape", plan=[[2, None], [None, moment]])
    run_id = space.call("start", config=MINUTE)
    ended = space.call("wait", run_id=run_id)
    assert (ended["status"], ended["kind"]) == ("failed", "gpu")
    assert ended["message"].startswith("The GPU was taken back before the work was done.")
    space.call("resume", run_id=run_id)
    assert space.call("wait", run_id=run_id)["status"] == "finished"
    assert space.call("curve", run_id=run_id) == space.call("curve", run_id=trained)


@pytest.mark.nightly
def test_a_turn_that_ends_a_second_early(space, service):
    space.call("shorten", seconds=8)
    space.call("shape", plan=[[None, "late"]])
    run_id = space.call("start", config=LONG)
    until(lambda: len(service.of("/schedule")) == 2, "the next turn")
    assert space.call("status", run_id=run_id) == "running"
    space.call("stop", run_id=run_id)
    assert space.call("wait", run_id=run_id)["status"] == "stopped"


def test_the_labs_end_interrupts_what_trains_in_workers(space, service):
    run_id = space.call("start", config=LONG)
    until(lambda: service.of("/allow"), "the worker")
    assert space.call("end")[run_id] == "interrupted"
    assert len(service.of("/release")) == 1
