"""Fixed prompts: chosen once and answered at every probe, without any effect on the training."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from labs import PATIENCE, Pace, cache_for, curve, finished, opened, smoke, trained
from tiny_lab import RUN, SIX_STEPS, Recorder, adapter_weights, go, light, loud, same_tensors, tiny, tiny_with  # noqa: F401

from instruct_tune.compute.training_work import Session
from instruct_tune.config.run_config import HELD_OUT, TRAINING, GenerationSettings, LoraSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import Example
from instruct_tune.errors import Stopped
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.services.training_job import TrainingJob
from instruct_tune.tokenization.encode import encode_prompts
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.training import fixed_prompts, step_metrics

ROW = Example("Say something", "", "Something.")
ROWS = [ROW, Example("Name three colours of the sky at noon", "", "Blue, white, grey.")]
DROPOUT = LoraSettings(r=4, lora_alpha=8, lora_dropout=0.1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return cache_for(tmp_path_factory)


@pytest.fixture
def lab(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache))
    with opened(tmp_path / "data") as lab:
        yield lab


def loud_with_adapter():
    loaded = loud()
    lora.attach(loaded, RUN, DROPOUT, seed=1)
    return loaded


class Sampler(Recorder):
    """Answers the row at every probe, as ``TrainingJob`` does."""

    def __init__(self, loaded, **options):
        super().__init__(**options)
        self.loaded, self.fixed = loaded, fixed_prompts.choose(loaded, LESSON, HELD_OUT, ROWS, 2)
        self.answers = {}

    def probed(self, step, adapter_name):
        before = torch.get_rng_state()
        trains = [p.requires_grad for p in self.loaded.model.parameters()]
        training = self.loaded.model.training
        self.answers[step] = fixed_prompts.answer(self.loaded, adapter_name, self.fixed, 12, self.stopping)
        assert torch.equal(torch.get_rng_state(), before)
        assert [p.requires_grad for p in self.loaded.model.parameters()] == trains
        assert self.loaded.model.training == training
        assert self.loaded.model.active_adapter == RUN


def test_answers_at_the_probes_leave_the_run_alone_bit_for_bit(tmp_path):
    loaded = loud_with_adapter()
    alone, _ = go(loaded, tmp_path / "alone")
    weights = adapter_weights(loaded)
    loaded = loud_with_adapter()
    sampler, _ = go(loaded, tmp_path / "sampled", watcher=Sampler(loaded))
    assert sampler.losses == alone.losses
    assert sampler.metrics["probe"] == alone.metrics["probe"]
    assert same_tensors(adapter_weights(loaded), weights)
    assert list(sampler.answers) == [0, 6]
    # The adapter answered: training changed the answer, and the first one is base's.
    assert all(first.text != last.text for first, last in zip(sampler.answers[0], sampler.answers[6], strict=True))
    plain = loud()
    for row, answer in zip(ROWS, sampler.answers[0], strict=True):
        prompt = tuple(encode_prompts(plain.tokenizer, LESSON, [(row.instruction, row.input)])[0])
        assert generate(plain, [Request(prompt, lora.BASE)], GenerationSettings(max_new_tokens=12)) == [answer]


def test_a_row_without_room_for_an_answer_is_passed_over():
    loaded = tiny()
    long = Example("word " * loaded.context_length, "", "x")
    choose = partial(fixed_prompts.choose, loaded, LESSON, TRAINING)
    assert [(prompt.kind, prompt.example) for prompt in choose([long, *ROWS], 1)] == [(TRAINING, ROW)]
    assert choose([long], 1) == choose([], 3) == choose(ROWS, 0) == ()
    ids = tuple(encode_prompts(loaded.tokenizer, LESSON, [(ROWS[1].instruction, "")])[0])
    assert [prompt.example for prompt in choose(ROWS, 2, {ids})] == ROWS[1:]


def test_a_stop_comes_within_a_token():
    loaded = loud_with_adapter()
    fixed = fixed_prompts.choose(loaded, LESSON, HELD_OUT, ROWS, 2)
    calls = []

    def at_the_third_call() -> bool:
        calls.append(1)
        return len(calls) == 3

    with pytest.raises(Stopped):
        fixed_prompts.answer(loaded, RUN, fixed, 100, at_the_third_call)
    assert len(calls) == 3


def test_long_texts_are_kept_short():
    row = Example("a" * 5000, "", "b" * fixed_prompts.MAX_CHARACTERS)
    prompt = fixed_prompts.FixedPrompt(HELD_OUT, row, (1,)).to_dict()
    assert prompt["instruction"] == "a" * fixed_prompts.MAX_CHARACTERS + " …"
    assert prompt["output"] == row.output


def test_a_run_keeps_its_answers(lab):
    run_id = finished(lab)
    shown = lab.runs.details(HOST, run_id)
    assert [sample["step"] for sample in shown["samples"]] == [0, 2, 4]
    assert all(isinstance(sample["text"], str) for sample in shown["samples"])
    # The first probe row: the one after the evaluation's rows.
    row = lab.datasets.held_out_row(HOST, smoke(), smoke().evaluation_rows)
    assert shown["facts"]["fixed_prompt"] == {"instruction": row.instruction, "input": row.input, "output": row.output}


@pytest.mark.slow
def test_a_run_without_samples_is_the_same_run(lab):
    sampled, silent = finished(lab), finished(lab, smoke(train={"sample_tokens": 0}))
    assert curve(lab, sampled) == curve(lab, silent)
    assert lab.runs.details(HOST, silent)["samples"] == []
    assert "fixed_prompt" not in lab.runs.details(HOST, silent)["facts"]
    weights = [(lab.store.folder(r) / "adapter" / "adapter_model.safetensors").read_bytes() for r in (sampled, silent)]
    assert weights[0] == weights[1]


def test_without_a_probe_an_evaluation_row_is_answered(lab):
    run_id = finished(lab, smoke(train={"probe_rows": 0}))
    shown = lab.runs.details(HOST, run_id)
    assert [sample["step"] for sample in shown["samples"]] == [0, 2, 4]
    assert shown["facts"]["fixed_prompt"]["instruction"] == lab.datasets.held_out_row(HOST, smoke(), 0).instruction
    assert not [metric for metric in shown["metrics"] if metric["kind"] == "probe"]


def test_a_stop_in_an_answer_is_made_up_for_by_the_resume(lab, monkeypatch):
    """The run stops at its current step; resumed, it has every answer and the losses of an uninterrupted run."""
    whole = trained(lab)
    probed = Session.probed

    def stop_in_the_answer(session, step, adapter_name):
        if step == 2:
            lab.training.stop(HOST, session._work.run_id)
        probed(session, step, adapter_name)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "probed", stop_in_the_answer)
        run_id = lab.training.start(HOST, smoke())
        assert lab.training.wait(run_id, PATIENCE).message == "Stopped at step 2 of 4; the adapter is kept."
    assert {sample["step"] for sample in lab.store.samples(run_id)} == {0}
    lab.training.resume(HOST, run_id)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    assert curve(lab, run_id) == curve(lab, whole)

    def texts(run):
        return [(sample["step"], sample["prompt"], sample["text"]) for sample in lab.store.samples(run)]

    assert texts(run_id) == texts(whole)


def test_an_answer_is_not_a_steps_time(tmp_path, monkeypatch):
    """The clock ticks once a reading and a hundred times an answer; every step still takes one tick."""
    clock = SimpleNamespace(now=0.0, monotonic=time.monotonic)

    def tick() -> float:
        clock.now += 1
        return clock.now

    class Slow(Recorder):
        def probed(self, step, adapter_name):
            clock.now += 100

    clock.perf_counter = tick
    monkeypatch.setattr(step_metrics, "time", clock)
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, probes=3), Slow())
    assert set(watcher.of("seconds").values()) == {1.0}


def test_an_answer_and_an_evaluation_tell_how_far_they_are(lab, monkeypatch):
    parts = []
    monkeypatch.setattr(TrainingJob, "part", lambda self, done, total: parts.append((done, total)))
    finished(lab, smoke(train={"sample_tokens": 7, "eval_strategy": "no", "probes": 1, "general_loss": False}))
    # Seven tokens mark the answers: no evaluation here has seven passes, and its passes count from 0.
    assert [part for part in parts if part[1] == 7] == [(n, 7) for n in range(1, 8)] * 2
    passes = [part for part in parts if part[1] != 7]
    assert passes == [(done, passes[0][1]) for done in range(passes[0][1])] * 2


def test_the_detail_of_a_phase_is_in_the_status_while_it_lasts(lab, monkeypatch):
    statuses = []
    part = TrainingJob.part

    def look(runner, done, total):
        part(runner, done, total)
        statuses.append(lab.training.status(HOST, runner.run.id))

    monkeypatch.setattr(TrainingJob, "part", look)
    run_id = finished(lab)
    assert statuses[0]["phase"] == "evaluating"
    assert statuses[0]["part"]["done"] == 0 < statuses[0]["part"]["total"]
    assert lab.training.status(HOST, run_id)["part"] is None


def test_a_comparison_beside_the_answers_leaves_all_alone(lab, monkeypatch):
    whole = trained(lab)
    pace = Pace(monkeypatch)
    answered = pace.ask(
        lab, 1, lambda: list(lab.inference.compare(HOST, lab.runs.summaries(HOST)[0]["id"], "Say hello."))
    )
    run_id = finished(lab)
    assert answered.result()[-1]["done"]
    assert curve(lab, run_id) == curve(lab, whole)
    assert [s["text"] for s in lab.store.samples(run_id)] == [s["text"] for s in lab.store.samples(whole)]
