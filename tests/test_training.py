"""A run against a plain PyTorch loop, against itself interrupted, and against everything that may disturb it."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_lab import (
    DROPOUT,
    NO_DROPOUT,
    ROWS,
    RUN,
    SIX_STEPS,
    Recorder,
    adapter_weights,
    again,
    go,
    gradients_of,
    light,  # noqa: F401
    loud,
    padded,
    plain_loop,
    quiet,
    same_tensors,
    some_data,
    some_rows,
    tiny,
    tiny_with,
    toy,
)

from instruct_tune import adapter, batching, readings, training
from instruct_tune.batching import EpochSampler, Packing
from instruct_tune.checkpoints import best_evaluation, checkpoints, evaluations_since_best, prune_checkpoints
from instruct_tune.errors import DivergedError, MemoryLimitError
from instruct_tune.generation import Request, generate
from instruct_tune.model import load_model
from instruct_tune.settings import DEFAULT_MODEL, GenerationSettings, TrainSettings
from instruct_tune.training import TrainingData, TrainingResult, probe_steps

TESTS = Path(__file__).parent
FOUR_ROWS_A_STEP = [(4, 1), (2, 2), (1, 4)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> SimpleNamespace:
    """Six steps in peace: what every interrupted or disturbed run is held against."""
    loaded = tiny_with()
    folder = tmp_path_factory.mktemp("undisturbed")
    watcher, result = go(loaded, folder)
    assert result == TrainingResult(6, 6, stopped=False)
    return SimpleNamespace(watcher=watcher, folder=folder, losses=watcher.losses, adapter=adapter_weights(loaded))


def held_out_by_hand(loaded, rows) -> float:
    """Nats a supervised token, each row alone, by the model's own logits."""
    total = count = 0.0
    loaded.model.eval()
    for row in rows:
        ids, labels = torch.tensor([row.input_ids]), torch.tensor(row.labels)
        with torch.no_grad():
            log_probabilities = loaded.model(input_ids=ids).logits[0].double().log_softmax(-1)
        for place in range(row.prompt_length, len(row.input_ids)):
            total -= log_probabilities[place - 1, labels[place]].item()
            count += 1
    return total / count


# The same as a plain loop


PLAIN = replace(SIX_STEPS, max_grad_norm=0.0)
CAREFUL = replace(SIX_STEPS, weight_decay=0.1, max_grad_norm=0.2, warmup_steps=2)


@pytest.mark.parametrize(
    ("model_type", "packing", "settings"),
    [
        pytest.param("llama", Packing.POSITIONS, PLAIN, id="positions"),
        pytest.param("llama", Packing.MASK, PLAIN, id="mask"),
        pytest.param("llama", Packing.PADDED, PLAIN, id="padded"),
        pytest.param("llama", Packing.POSITIONS, CAREFUL, id="clipped, decayed, warmed up"),
        pytest.param("llama", Packing.POSITIONS, replace(PLAIN, optim="sgd", learning_rate=1.0), id="sgd"),
        pytest.param("llama", Packing.POSITIONS, replace(PLAIN, optim="adamw_torch_fused"), id="fused adamw"),
        pytest.param("opt", None, CAREFUL, id="opt"),
        pytest.param("gpt2", None, CAREFUL, id="gpt2"),
        pytest.param("cohere", None, CAREFUL, id="cohere, which scales its logits"),
        pytest.param("gemma2", None, CAREFUL, id="gemma2, which caps its logits"),
    ],
)
def test_every_step_is_that_of_a_plain_loop(tmp_path, monkeypatch, model_type, packing, settings):
    def model():
        loaded = toy(model_type, packing)
        adapter.attach(loaded, RUN, NO_DROPOUT, seed=1)
        return loaded

    # Several passes a step, so that their sum is tested too.
    monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", 300)
    ours, theirs = model(), model()
    with gradients_of(ours) as gradients:
        watcher, result = go(ours, tmp_path, settings)
    assert result.steps == len(gradients) == 6
    rows = some_data(theirs).train
    for step, (loss, gradient) in enumerate(plain_loop(theirs, rows, settings), start=1):
        assert watcher.losses[step] == pytest.approx(loss, rel=1e-5)
        whole = torch.cat([g.flatten() for g in gradient.values()])
        assert gradients[step - 1].keys() == gradient.keys()
        got = torch.cat([gradients[step - 1][name].flatten() for name in gradient])
        assert (got - whole).norm() <= 1e-5 * whole.norm()
        assert whole.norm() > 1e-3
    for name, weight in adapter_weights(theirs).items():
        torch.testing.assert_close(adapter_weights(ours)[name], weight, rtol=1e-3, atol=1e-5)


def test_accumulation_is_a_larger_batch(tmp_path):
    """Rows of very unequal answers, so that a mean of the micro-batches' means would be another number."""
    runs = []
    for batch, accumulation in FOUR_ROWS_A_STEP:
        settings = replace(
            SIX_STEPS,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            max_grad_norm=0.3,
            eval_strategy="steps",
            eval_steps=2,
            probes=3,
        )
        watcher, _ = go(tiny_with(NO_DROPOUT), tmp_path / f"{batch}x{accumulation}", settings)
        runs.append(watcher)
    first, *others = runs
    assert list(first.losses) == [1, 2, 3, 4, 5, 6]
    assert list(first.of("eval_loss", "eval")) == [2, 4, 6]
    for other in others:
        assert other.losses == pytest.approx(first.losses, rel=1e-5)
        assert other.of("grad_norm") == pytest.approx(first.of("grad_norm"), rel=1e-4)
        assert other.of("learning_rate") == first.of("learning_rate")
        assert other.of("supervised") == first.of("supervised")
        assert other.of("tokens") == first.of("tokens")
        assert other.of("eval_loss", "eval") == pytest.approx(first.of("eval_loss", "eval"), rel=1e-5)
        assert other.of("probe_loss", "probe") == pytest.approx(first.of("probe_loss", "probe"), rel=1e-5)


@pytest.mark.parametrize("packing", Packing)
def test_how_many_tokens_a_pass_gets_does_not_matter(tmp_path, monkeypatch, packing):
    losses = []
    passes = []
    supervised_loss = training.supervised_loss
    monkeypatch.setattr(training, "supervised_loss", lambda *args: passes.append(0) or supervised_loss(*args))
    for budget in (1, 150, 100_000):
        monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", budget)
        loaded = tiny_with(NO_DROPOUT)
        loaded.packing = packing
        watcher, _ = go(loaded, tmp_path / str(budget), replace(SIX_STEPS, per_device_train_batch_size=4))
        losses.append((watcher.losses, watcher.of("eval_loss", "eval"), watcher.of("probe_loss", "probe")))
        passes.append(None)
    # One pass for each row, for some, and for all of a batch.
    counts = [len(part) for part in "".join("0" if p == 0 else " " for p in passes).split()]
    assert counts[0] > counts[1] > counts[2]
    for other in losses[1:]:
        for got, expected in zip(other, losses[0], strict=True):
            assert got == pytest.approx(expected, rel=1e-5)


def test_a_run_learns(tmp_path):
    """A loud model knows nothing and is sure of it: there is much to gain."""
    loaded = loud()
    adapter.attach(loaded, RUN, DROPOUT, seed=1)
    watcher, _ = go(loaded, tmp_path, replace(SIX_STEPS, num_train_epochs=5, learning_rate=3e-2))
    probe = watcher.of("probe_loss", "probe")
    assert probe[15] < probe[0] - 1
    assert watcher.losses[15] < watcher.losses[1] - 1


# Resumed as if nothing had happened

STOPS = replace(SIX_STEPS, probes=0, eval_strategy="steps", eval_steps=2, save_strategy="no")


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory) -> SimpleNamespace:
    loaded = tiny_with()
    folder = tmp_path_factory.mktemp("unstopped")
    watcher, _ = go(loaded, folder, STOPS)
    assert checkpoints(folder) == []
    return SimpleNamespace(
        losses=watcher.losses, evaluations=watcher.of("eval_loss", "eval"), adapter=adapter_weights(loaded)
    )


@pytest.mark.parametrize(
    ("step", "at"),
    [
        (1, "progress"),
        (2, "progress"),
        (3, "progress"),
        (5, "progress"),
        (2, "breathe"),
        (3, "breathe"),
        (4, "breathe"),
        (4, "evaluating"),
    ],
)
def test_stopped_and_resumed_is_uninterrupted(tmp_path, unstopped, step, at):
    """Dropout, accumulation, evaluation in mid-epoch: bit for bit, wherever it was stopped."""
    loaded = tiny_with()
    first, result = go(loaded, tmp_path, STOPS, Recorder(stop_after=step, at=at))
    assert result == TrainingResult(step, 6, stopped=True)
    # Within one step, with the last finished one on disk.
    assert list(first.losses) == list(range(1, step + 1))
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}"]
    torch.rand(7)
    second, result = go(again(loaded), tmp_path, STOPS, resume_from=checkpoints(tmp_path)[-1])
    assert result == TrainingResult(6, 6, stopped=False)
    assert list(second.losses) == list(range(step + 1, 7))
    assert first.losses | second.losses == unstopped.losses
    assert first.of("eval_loss", "eval") | second.of("eval_loss", "eval") == unstopped.evaluations
    assert same_tensors(adapter_weights(loaded), unstopped.adapter)


def test_a_stop_in_the_middle_of_a_step(tmp_path, monkeypatch, unstopped):
    watcher = Recorder()
    supervised_loss = training.supervised_loss
    monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", 100_000)

    def stop_in_step_two(model, pack, *how):
        watcher.stop = watcher.step == 1
        return supervised_loss(model, pack, *how)

    with monkeypatch.context() as patched:
        patched.setattr(training, "supervised_loss", stop_in_step_two)
        loaded = tiny_with()
        _, result = go(loaded, tmp_path, STOPS, watcher)
    assert result == TrainingResult(1, 6, stopped=True)
    assert list(watcher.losses) == [1]
    assert all(p.grad is None for p in loaded.model.parameters())
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1"]
    second, _ = go(again(loaded), tmp_path, STOPS, resume_from=checkpoints(tmp_path)[-1])
    assert watcher.losses | second.losses == unstopped.losses


def test_a_stop_in_the_middle_of_a_step_comes_at_once(tmp_path, monkeypatch):
    """With eight micro-batches a step, after the one at work and not after the step."""
    watcher = Recorder()
    passes = []
    supervised_loss = training.supervised_loss

    def stop_at_the_third(model, pack, *how):
        passes.append(pack)
        watcher.stop = len(passes) == 3
        return supervised_loss(model, pack, *how)

    monkeypatch.setattr(training, "supervised_loss", stop_at_the_third)
    monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", 100_000)
    settings = replace(STOPS, per_device_train_batch_size=1, gradient_accumulation_steps=8)
    loaded = tiny_with()
    _, result = go(loaded, tmp_path, settings, watcher)
    assert result == TrainingResult(0, 4, stopped=True)
    assert len(passes) == 3
    assert watcher.losses == {}
    assert all(p.grad is None for p in loaded.model.parameters())
    assert adapter.is_zero(loaded, RUN)


def test_killed_and_resumed_is_uninterrupted(tmp_path, undisturbed):
    """From a checkpoint that was not the last thing done: steps are done again, with the same numbers."""

    class Killed(BaseException):
        pass

    def die(step: int) -> None:
        if step == 5:
            raise Killed

    first = Recorder(between=die)
    with pytest.raises(Killed):
        go(tiny_with(), tmp_path, watcher=first)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]
    loaded = tiny_with(seed=5)
    second, _ = go(loaded, tmp_path, resume_from=tmp_path / "checkpoint-3")
    assert list(first.losses) == [1, 2, 3, 4, 5]
    assert list(second.losses) == [4, 5, 6]
    assert first.losses | second.losses == undisturbed.losses
    assert second.of("probe_loss", "probe") == {6: undisturbed.watcher.of("probe_loss", "probe")[6]}
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


def test_stopped_again_and_again(tmp_path, unstopped):
    losses = {}
    loaded = tiny_with()
    # The second and the last time as soon as it has come back.
    for step in (1, 1, 3, 4, 4):
        last = checkpoints(tmp_path)[-1:]
        watcher = Recorder(stop_after=step, at="breathe")
        go(again(loaded), tmp_path, STOPS, watcher, *last)
        losses |= watcher.losses
    watcher, _ = go(again(loaded), tmp_path, STOPS, resume_from=checkpoints(tmp_path)[-1])
    assert losses | watcher.losses == unstopped.losses


def test_stopped_before_the_first_step(tmp_path):
    loaded = tiny_with()
    watcher, result = go(loaded, tmp_path, watcher=Recorder(stop_after=0, at="breathe"))
    # Still zero, and that is no divergence: nothing was asked of it yet.
    assert result == TrainingResult(0, 6, stopped=True)
    assert (watcher.losses, checkpoints(tmp_path)) == ({}, [])
    assert adapter.is_zero(loaded, RUN)


def test_a_stop_after_the_last_step_changes_nothing(tmp_path, undisturbed):
    watcher, result = go(tiny_with(), tmp_path, replace(SIX_STEPS, probes=0), Recorder(stop_after=6))
    assert result == TrainingResult(6, 6, stopped=False)
    assert watcher.losses == undisturbed.losses


def test_resuming_what_is_finished_does_nothing(undisturbed, tmp_path):
    loaded = tiny_with(seed=9)
    watcher, result = go(loaded, tmp_path, resume_from=undisturbed.folder / "checkpoint-6")
    assert result == TrainingResult(6, 6, stopped=False)
    assert watcher.losses == {}
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


# Nothing disturbs a run


def test_the_same_seed_is_the_same_run(tmp_path, undisturbed):
    torch.manual_seed(4711)
    torch.rand(3)
    loaded = tiny_with()
    watcher, _ = go(loaded, tmp_path)
    assert watcher.losses == undisturbed.losses
    assert watcher.of("grad_norm") == undisturbed.watcher.of("grad_norm")
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)
    other, _ = go(tiny_with(), tmp_path / "other", replace(SIX_STEPS, seed=43))
    assert all(other.losses[step] != loss for step, loss in undisturbed.losses.items())


def test_the_seed_draws_the_dropout_too(tmp_path):
    """The same row all over, so that its order does not matter."""
    losses = {}
    for lora in (DROPOUT, NO_DROPOUT):
        for seed in (42, 43):
            loaded = tiny_with(lora)
            data = TrainingData(some_rows(loaded, 1) * 8, [], [])
            watcher, _ = go(loaded, tmp_path / f"{lora.lora_dropout} {seed}", replace(SIX_STEPS, seed=seed), data=data)
            losses[lora, seed] = watcher.losses
    assert losses[NO_DROPOUT, 42] == losses[NO_DROPOUT, 43]
    assert losses[DROPOUT, 42] != losses[DROPOUT, 43]


SERVED = [
    pytest.param(["__base__"], GenerationSettings(max_new_tokens=3), id="base, greedy"),
    pytest.param([RUN], GenerationSettings(max_new_tokens=3), id="tuned, greedy"),
    pytest.param([RUN, "__base__"], GenerationSettings(max_new_tokens=3, do_sample=True), id="both, sampled"),
    pytest.param(["__base__"], GenerationSettings(max_new_tokens=3, num_beams=2), id="base, beams"),
    pytest.param([RUN, "__base__"], GenerationSettings(max_new_tokens=3, num_beams=2), id="both, beams"),
]


@pytest.mark.parametrize(("speakers", "settings"), SERVED)
def test_answers_between_steps_leave_the_run_alone(tmp_path, undisturbed, speakers, settings):
    loaded = tiny_with()
    prompt = tuple(loaded.tokenizer("Say 7")["input_ids"])
    answers = []

    def serve(step: int) -> None:
        answers.append(generate(loaded, [Request(prompt, who) for who in speakers], settings))

    watcher, _ = go(loaded, tmp_path, watcher=Recorder(between=serve))
    assert len(answers) == 6
    assert watcher.losses == undisturbed.losses
    assert watcher.of("probe_loss", "probe") == undisturbed.watcher.of("probe_loss", "probe")
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


@pytest.fixture(scope="module")
def another(tmp_path_factory) -> Path:
    """The saved adapter of another run."""
    loaded = tiny_with(seed=8)
    folder = tmp_path_factory.mktemp("another")
    go(loaded, folder / "run", replace(SIX_STEPS, seed=8))
    adapter.save(loaded, RUN, folder / "adapter")
    return folder / "adapter"


@pytest.mark.parametrize(("load_at", "remove_at"), [(None, 3), (None, None), (2, 4)])
def test_another_adapter_beside_the_run_leaves_it_alone(tmp_path, undisturbed, another, load_at, remove_at):
    """Though it is loaded, spoken as and removed while the run is at work."""
    loaded = tiny_with()
    prompt = tuple(loaded.tokenizer("Say 7")["input_ids"])
    answers = []

    def ask() -> None:
        for speakers in (["another"], ["another", RUN]):
            requests = [Request(prompt, speaker) for speaker in speakers]
            answers.extend(generate(loaded, requests, GenerationSettings(max_new_tokens=2)))

    if load_at is None:
        adapter.load(loaded, "another", another)
        loaded.model.set_adapter(RUN)

    def change(step: int) -> None:
        if step == load_at:
            adapter.load(loaded, "another", another)
            loaded.model.set_adapter(RUN)
        if step == remove_at:
            adapter.remove(loaded, "another")
        if "another" in adapter.names(loaded):
            ask()

    watcher, _ = go(loaded, tmp_path, watcher=Recorder(between=change))
    assert len(answers) >= 6
    assert watcher.losses == undisturbed.losses
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)
    if remove_at is None:
        fresh = tiny()
        adapter.load(fresh, "another", another)
        assert same_tensors(adapter_weights(loaded, "another"), adapter_weights(fresh, "another"))
    # Neither is the other in the run's checkpoints.
    assert sorted(path.name for path in (tmp_path / "checkpoint-6").glob("adapter*")) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert not any(path.is_dir() for path in (tmp_path / "checkpoint-6").iterdir())


@pytest.fixture(scope="module")
def fresh_process() -> SimpleNamespace:
    """What an interpreter that has done nothing else makes of six steps."""
    code = """
import instruct_tune.training
from huggingface_hub import constants
print(constants.HF_HUB_DISABLE_TELEMETRY)
from tiny_lab import train_in_a_fresh_process
train_in_a_fresh_process()
"""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    # Ours has it set by now, and would hand it down.
    environment.pop("HF_HUB_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    silent, losses = done.stdout.splitlines()
    return SimpleNamespace(
        silent=silent == "True",
        losses={int(step): float.fromhex(loss) for step, loss in json.loads(losses).items()},
    )


def test_training_tells_nobody(fresh_process):
    """TRL's trainer reports its use to the Hub unless huggingface_hub was told not to before it was imported."""
    assert fresh_process.silent


def test_what_came_before_in_the_process_does_not_matter(tmp_path, monkeypatch, fresh_process):
    """Accelerate keeps its state in singletons: a run that was torn away must leave nothing there."""
    loaded = tiny_with()
    torn = [
        Recorder(stop_after=2),
        Recorder(stop_after=1, at="breathe"),
        Recorder(stop_after=3, at="evaluating"),
    ]
    for number, watcher in enumerate(torn):
        _, result = go(again(loaded), tmp_path / f"torn-{number}", watcher=watcher)
        assert result.stopped
    with pytest.raises(DivergedError):
        go(again(loaded), tmp_path / "diverged", replace(SIX_STEPS, learning_rate=3e37))
    watcher = Recorder()
    supervised_loss = training.supervised_loss

    def stop_at_once(model, pack, *how):
        watcher.stop = True
        return supervised_loss(model, pack, *how)

    with monkeypatch.context() as patched:
        patched.setattr(training, "supervised_loss", stop_at_once)
        go(again(loaded), tmp_path / "in a step", replace(SIX_STEPS, probes=0), watcher)
    go(again(loaded), tmp_path / "bf16", replace(SIX_STEPS, bf16=True))
    watcher, _ = go(again(loaded), tmp_path / "whole")
    assert watcher.losses == fresh_process.losses


def test_mixed_precision_ends_with_its_run(tmp_path, another):
    """Where another adapter keeps the PeftModel alive, the next run must not be in bfloat16."""
    loaded = tiny_with()
    adapter.load(loaded, "another", another)
    loaded.model.set_adapter(RUN)
    go(loaded, tmp_path / "bf16", replace(SIX_STEPS, bf16=True))
    assert "forward" not in loaded.model.__dict__
    watcher, _ = go(again(loaded), tmp_path / "float32")
    expected, _ = go(tiny_with(), tmp_path / "alone")
    assert watcher.losses == expected.losses


# Runs that cannot go on


def test_a_rate_that_is_too_high_is_said(tmp_path):
    loaded = tiny_with()
    watcher = Recorder()
    settings = replace(SIX_STEPS, learning_rate=3e37, save_strategy="steps", save_steps=1)
    with pytest.raises(DivergedError) as caught:
        go(loaded, tmp_path, settings, watcher)
    assert str(caught.value) == (
        "The loss is not a finite number at step 2: "
        "lower train.learning_rate (now 3e+37) or set train.max_grad_norm to 1."
    )
    # No number that is none is told or kept, and the model is fit for the next run.
    assert list(watcher.losses) == [1]
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1"]
    adapter.remove(loaded, RUN)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(loaded.model(input_ids=ids).logits, tiny().model(input_ids=ids).logits)


def test_poisoned_weights_are_said(tmp_path):
    loaded = tiny_with()
    with torch.no_grad():
        next(p for name, p in loaded.model.named_parameters() if "lora_A" in name)[0, 0] = math.nan
    watcher = Recorder()
    with pytest.raises(DivergedError, match="not a finite number at step 1:"):
        go(loaded, tmp_path, replace(SIX_STEPS, probes=0), watcher)
    assert (watcher.losses, checkpoints(tmp_path)) == ({}, [])


def test_an_infinite_gradient_is_said_though_the_loss_is_fine(tmp_path):
    loaded = tiny_with()
    next(p for p in loaded.model.parameters() if p.requires_grad).register_hook(lambda g: g + math.inf)
    with pytest.raises(DivergedError, match="not a finite number at step 1:"):
        go(loaded, tmp_path)


def test_an_infinite_loss_is_said_though_its_gradient_is_fine(tmp_path, monkeypatch):
    supervised_loss = training.supervised_loss
    monkeypatch.setattr(training, "supervised_loss", lambda *args: supervised_loss(*args) + math.inf)
    with pytest.raises(DivergedError, match="not a finite number at step 1:"):
        go(tiny_with(), tmp_path, replace(SIX_STEPS, probes=0))


def test_an_adapter_that_never_moved_is_said(tmp_path):
    """The warm-up starts at a rate of zero, and this run ends there."""
    settings = replace(SIX_STEPS, max_steps=1, warmup_steps=10)
    watcher = Recorder()
    with pytest.raises(DivergedError, match="The adapter is still zero after training"):
        go(tiny_with(), tmp_path, settings, watcher)
    assert watcher.of("learning_rate") == {1: 0.0}
    _, result = go(tiny_with(), tmp_path, replace(settings, max_steps=2))
    assert result == TrainingResult(2, 2, stopped=False)


OUT_OF_MEMORY = [
    pytest.param(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), id="gpu"),
    pytest.param(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), id="cpu"),
    pytest.param(MemoryError(), id="python"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_too_little_memory_is_said(tmp_path, monkeypatch, error):
    def full(model, pack, *how):
        raise error

    loaded = tiny_with()
    with monkeypatch.context() as patched:
        patched.setattr(training, "supervised_loss", full)
        with pytest.raises(MemoryLimitError) as caught:
            go(loaded, tmp_path, replace(SIX_STEPS, probes=0))
    message = str(caught.value)
    assert "lower train.max_length" in message
    assert message.endswith(".")
    assert "CUDA" not in message
    # Neither the sentence nor the model holds on to what failed.
    assert caught.value.__cause__ is None
    assert all(p.grad is None for p in loaded.model.parameters())
    # And the next run is none the worse for it.
    assert go(again(loaded), tmp_path / "next")[1] == TrainingResult(6, 6, stopped=False)


def test_an_error_that_is_not_about_memory_is_not_swallowed(tmp_path, monkeypatch):
    def broken(model, pack, *how):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(training, "supervised_loss", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        go(tiny_with(), tmp_path)


class Full:
    """Memory for ``tokens`` a pass from the given call on; breaks in the backward pass, after gradients have come."""

    def __init__(self, monkeypatch, tokens: int, since: int = 0):
        self.calls, self.failed, self.widths = 0, 0, []
        real = training.supervised_loss

        def limited(model, pack, *how):
            self.calls += 1
            width = pack["input_ids"].numel()
            loss = real(model, pack, *how)
            if self.calls > since and width > tokens:
                self.failed += 1
                torch.rand(7)
                loss.backward(retain_graph=True)
                raise torch.OutOfMemoryError("CUDA out of memory.")
            self.widths.append(width)
            return loss

        monkeypatch.setattr(training, "supervised_loss", limited)


def test_a_step_that_ran_out_of_memory_is_done_again_in_smaller_passes(tmp_path, monkeypatch):
    settings = replace(SIX_STEPS, probes=0, eval_strategy="no", save_strategy="steps", save_steps=1)
    monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", 240)
    with monkeypatch.context() as patched:
        patched.setitem(batching.TOKENS_PER_PASS, "cpu", 120)
        wanted, _ = go(tiny_with(NO_DROPOUT), tmp_path / "wanted", settings)
    with monkeypatch.context() as patched:
        # Enough for any row alone; the first steps are done in peace.
        full = Full(patched, tokens=130, since=3)
        watcher, result = go(tiny_with(NO_DROPOUT), tmp_path / "run", settings)
    assert result == TrainingResult(6, 6, stopped=False)
    assert full.failed == 1
    assert max(full.widths[4:]) <= 120
    assert watcher.said == ["Memory ran out: passes of 120 tokens from now on."]
    # Gradients of earlier micro-batches are kept, those of the broken one are not counted twice.
    assert watcher.losses == pytest.approx(wanted.losses, rel=1e-5)
    # A run that is gone on with begins with what fitted.
    patient = Full(monkeypatch, tokens=130)
    go(
        tiny_with(NO_DROPOUT),
        tmp_path / "run",
        replace(settings, max_steps=7),
        resume_from=tmp_path / "run/checkpoint-6",
    )
    assert (patient.failed, patient.calls > 0) == (0, True)


def test_random_numbers_of_a_repeated_step_are_those_of_the_first_try(tmp_path, monkeypatch):
    """With one row a pass either way, a repeated micro-batch gives the very bits of an undisturbed one."""
    settings = replace(SIX_STEPS, probes=0)
    monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", 1)
    wanted, _ = go(tiny_with(), tmp_path / "wanted", settings)
    monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", 400)
    real = training.supervised_loss

    def one_row_fits(model, pack, *how):
        if int((pack["position_ids"] == 0).sum()) > 1:
            torch.rand(7)
            raise MemoryError
        return real(model, pack, *how)

    monkeypatch.setattr(training, "supervised_loss", one_row_fits)
    watcher, _ = go(tiny_with(), tmp_path / "run", settings)
    assert watcher.losses == wanted.losses
    assert watcher.said


def test_an_evaluation_that_ran_out_of_memory_is_done_again(tmp_path, monkeypatch):
    settings = replace(SIX_STEPS, max_steps=1)
    wanted, _ = go(tiny_with(), tmp_path / "wanted", settings)
    real, broken = training.supervised_loss, []

    def full_once(model, pack, *how):
        if not torch.is_grad_enabled() and not broken:
            broken.append(pack)
            raise MemoryError
        return real(model, pack, *how)

    monkeypatch.setattr(training, "supervised_loss", full_once)
    watcher, _ = go(tiny_with(), tmp_path / "run", settings)
    assert broken
    assert watcher.of("probe_loss", "probe") == pytest.approx(wanted.of("probe_loss", "probe"), rel=1e-5)


def test_a_row_longer_than_a_pass_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", 100)
    watcher, _ = go(tiny_with(), tmp_path)
    assert len(watcher.said) == 1
    assert "The longest row has" in watcher.said[0]


def test_a_model_whose_head_cannot_be_taken_off_says_so(tmp_path):
    loaded = toy("cohere")
    adapter.attach(loaded, RUN, NO_DROPOUT, seed=1)
    watcher, _ = go(loaded, tmp_path)
    assert watcher.said == ["This model changes its head's logits, so the loss is not computed in chunks."]


# What is told


def test_what_a_step_tells(tmp_path, undisturbed):
    told = undisturbed.watcher.metrics["train"]
    rows = some_rows(tiny(), ROWS)
    for epoch, steps in ((0, (1, 2, 3)), (1, (4, 5, 6))):
        sampler = EpochSampler(ROWS, SIX_STEPS.seed)
        sampler.set_epoch(epoch)
        order = list(sampler)
        for place, step in enumerate(steps):
            batch = [rows[index] for index in order[4 * place : 4 * place + 4]]
            assert told[step]["tokens"] == sum(len(row.input_ids) for row in batch)
            assert told[step]["supervised"] == sum(row.supervised for row in batch)
    for values in told.values():
        assert set(values) == {
            *("loss", "learning_rate", "grad_norm", "tokens", "supervised", "seconds", "tokens_per_second")
        }
        assert 0 < values["seconds"] < 30
        assert values["tokens_per_second"] == values["tokens"] / values["seconds"]
        assert values["grad_norm"] > 0
    assert undisturbed.watcher.steps == [(step, 6) for step in range(7)]
    assert undisturbed.watcher.epochs == {1: 0.4, 2: 0.8, 3: 1.0, 4: 1.4, 5: 1.8, 6: 2.0}


def test_what_is_served_between_steps_is_not_the_steps_time(tmp_path, monkeypatch):
    clock = SimpleNamespace(served=0, monotonic=time.monotonic, perf_counter=lambda: time.perf_counter() + clock.served)
    monkeypatch.setattr(readings, "time", clock)

    def serve_for_an_hour(step: int) -> None:
        clock.served += 3600

    watcher, _ = go(tiny_with(), tmp_path, watcher=Recorder(between=serve_for_an_hour))
    assert max(watcher.of("seconds").values()) < 3600


def test_phases_come_in_order(undisturbed):
    three_steps_an_epoch = ["evaluating", "training", "saving", "training"]
    assert undisturbed.watcher.phases == [
        "training",
        *("evaluating", "training"),  # the probe rows before the first step
        *three_steps_an_epoch,
        *("evaluating", "training"),  # the probe rows after the last one
        *three_steps_an_epoch,
    ]


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({}, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ({"warmup_steps": 2}, [0, 1 / 2, 1, 3 / 4, 2 / 4, 1 / 4]),
        ({"max_steps": 4}, [1, 3 / 4, 2 / 4, 1 / 4]),
        ({"lr_scheduler_type": "constant"}, [1] * 6),
        ({"lr_scheduler_type": "cosine"}, [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]),
    ],
)
def test_the_learning_rate_of_each_step(tmp_path, changes, shares):
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, **changes))
    expected = {step: 1e-2 * share for step, share in enumerate(shares, start=1)}
    assert watcher.of("learning_rate") == pytest.approx(expected, rel=1e-9)


def test_held_out_losses_weigh_tokens(tmp_path):
    """Sum over count, with dropout off, of the weights as they are at that step."""
    loaded = tiny_with()
    data = some_data(loaded)
    by_hand = {"probe": {}, "eval": {}}

    def measure(step: int) -> None:
        by_hand["probe"][step] = held_out_by_hand(loaded, data.probe)
        by_hand["eval"][step] = held_out_by_hand(loaded, data.evaluation)

    # Without dropout, and in eval mode between steps: measuring does not change the run.
    settings = replace(SIX_STEPS, eval_strategy="steps", eval_steps=1, probes=6)
    watcher, _ = go(loaded, tmp_path, settings, Recorder(between=measure), data=data)
    measure(6)
    assert watcher.of("probe_loss", "probe") == pytest.approx(by_hand["probe"], rel=1e-5)
    del by_hand["eval"][0]
    assert watcher.of("eval_loss", "eval") == pytest.approx(by_hand["eval"], rel=1e-5)
    # A mean of the rows' own means would be another number, by far more than that tolerance.
    mean_of_means = sum(held_out_by_hand(loaded, [row]) for row in data.evaluation) / len(data.evaluation)
    assert abs(mean_of_means / by_hand["eval"][6] - 1) > 1e-4


@pytest.mark.parametrize(
    ("total", "probes", "steps"),
    [
        (6, 6, {0, 1, 2, 3, 4, 5, 6}),
        (6, 3, {0, 2, 4, 6}),
        (7, 2, {0, 4, 7}),
        (25, 6, {0, 4, 8, 12, 17, 21, 25}),
        (2, 6, {0, 1, 2}),
        (1, 1, {0, 1}),
        (100, 0, set()),
    ],
)
def test_probe_steps(total, probes, steps):
    assert probe_steps(total, probes) == steps


@pytest.mark.parametrize(("probes", "steps"), [(0, []), (1, [0, 6]), (3, [0, 2, 4, 6])])
def test_probes_are_measured_at_their_steps(tmp_path, probes, steps):
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, probes=probes, eval_strategy="no"))
    assert list(watcher.metrics["probe"]) == steps
    assert watcher.metrics["eval"] == {}


def test_without_probe_rows_there_is_no_probe(tmp_path):
    loaded = tiny_with()
    data = replace(some_data(loaded), probe=[])
    watcher, _ = go(loaded, tmp_path, data=data)
    assert watcher.metrics["probe"] == {}
    assert list(watcher.metrics["eval"]) == [3, 6]


def test_without_evaluation_rows_there_is_no_evaluation(tmp_path):
    loaded = tiny_with()
    data = TrainingData(some_rows(loaded, ROWS), [], [])
    watcher, result = go(loaded, tmp_path, data=data)
    assert result.steps == 6
    assert watcher.metrics["eval"] == {}


@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_each_evaluation_is_done_once(tmp_path, strategy):
    """Where every third step is one, and every third step ends an epoch."""
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, eval_strategy=strategy, eval_steps=3))
    assert list(watcher.metrics["eval"]) == [3, 6]
    assert watcher.told_twice == []


def test_evaluation_rows_do_not_train(tmp_path, undisturbed):
    loaded = tiny_with()
    watcher, _ = go(loaded, tmp_path, replace(SIX_STEPS, eval_strategy="no", probes=0))
    assert watcher.losses == undisturbed.losses


def test_nothing_is_printed(tmp_path, capfd):
    """With ``--json`` the one line on stdout is the command's own."""
    go(tiny_with(), tmp_path)
    assert capfd.readouterr().out == ""


def test_our_own_deprecated_calls_are_errors():
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
        with pytest.raises(category):
            warnings.warn_explicit("soon gone", category, "training.py", 1, module="instruct_tune.training")


# Checkpoints


def test_a_checkpoint_is_one_flat_adapter_and_the_trainers_state(undisturbed):
    assert [path.name for path in checkpoints(undisturbed.folder)] == ["checkpoint-3", "checkpoint-6"]
    for folder in checkpoints(undisturbed.folder):
        assert sorted(path.name for path in folder.iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
            "manifest.json",
            "optimizer.pt",
            "rng_state.pth",
            "scheduler.pt",
            "trainer_state.json",
        ]
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-random"
    loaded = tiny()
    adapter.load(loaded, RUN, undisturbed.folder / "checkpoint-6")
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


def test_a_torn_checkpoint_is_none(tmp_path, monkeypatch, undisturbed):
    """The disk is full in the middle of the second one: the first is what is found, and goes on."""
    save_state = training._Trainer._save_rng_state

    def full(trainer, folder):
        if trainer.state.global_step == 6:
            raise OSError(28, "No space left on device")
        save_state(trainer, folder)

    first = Recorder()
    with monkeypatch.context() as patched:
        patched.setattr(training._Trainer, "_save_rng_state", full)
        with pytest.raises(OSError, match="No space left"):
            go(tiny_with(), tmp_path, watcher=first)
    # Half a checkpoint is of no use, and the room it takes is wanted.
    assert not list(tmp_path.rglob("checkpoint-6"))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]
    second, _ = go(tiny_with(), tmp_path, resume_from=checkpoints(tmp_path)[-1])
    assert first.losses | second.losses == undisturbed.losses
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-6"]
    loaded = tiny()
    adapter.load(loaded, RUN, tmp_path / "checkpoint-6")
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


def make_checkpoints(folder: Path, *steps: int) -> None:
    for step in steps:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        (folder / f"checkpoint-{step}" / "manifest.json").write_text('{"files": {}}')


def test_rubbish_is_no_checkpoint(tmp_path):
    make_checkpoints(tmp_path, 9, 100, 20)
    make_checkpoints(tmp_path / ".partial", 200)
    (tmp_path / "checkpoint-300").mkdir()
    (tmp_path / "adapter").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-20", "checkpoint-100"]


@pytest.mark.parametrize(("keep", "left"), [(1, [100]), (2, [20, 100]), (3, [9, 20, 100]), (9, None), (None, None)])
def test_the_newest_checkpoints_are_kept(tmp_path, keep, left):
    steps = [8, 9, 20, 100]
    make_checkpoints(tmp_path, *steps)
    prune_checkpoints(tmp_path, keep)
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left or steps]


@pytest.mark.parametrize(("keep", "left"), [(1, [6]), (2, [5, 6]), (None, [1, 2, 3, 4, 5, 6])])
def test_a_run_keeps_its_newest_checkpoints(tmp_path, keep, left):
    settings = replace(SIX_STEPS, save_strategy="steps", save_steps=1, save_total_limit=keep)
    go(tiny_with(), tmp_path, settings)
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left]


def test_saving_by_the_clock(tmp_path, monkeypatch):
    """Fifty seconds a step and two minutes: after the third step and the sixth."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, perf_counter=time.perf_counter)
    monkeypatch.setattr(training, "time", clock)
    settings = replace(SIX_STEPS, save_strategy="no", save_minutes=2, num_train_epochs=3)

    def tick(step: int) -> None:
        clock.now += 50

    go(tiny_with(), tmp_path, settings, Recorder(between=tick))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-6", "checkpoint-9"]
    go(tiny_with(), tmp_path / "never", replace(settings, save_minutes=None), Recorder(between=tick))
    assert checkpoints(tmp_path / "never") == []


@pytest.mark.parametrize(("keep", "left"), [(1, [9, 100]), (2, [9, 20, 100]), (3, [9, 20, 100])])
def test_the_best_checkpoint_is_never_pruned(tmp_path, keep, left):
    make_checkpoints(tmp_path, 8, 9, 20, 100)
    prune_checkpoints(tmp_path, keep, spare=9)
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left]


# Keeping the best, and stopping early

BEST = replace(
    SIX_STEPS, probes=0, eval_strategy="steps", eval_steps=1, save_strategy="no", save_total_limit=1,
    load_best_model_at_end=True,
)  # fmt: skip


@pytest.fixture
def scripted(monkeypatch):
    """Held-out losses as they are written here, by step: a toy model does not overfit when one wants it to."""

    def script(losses: dict[int, float]) -> None:
        monkeypatch.setattr(training._Trainer, "held_out_loss", lambda self, rows: losses[self.state.global_step])

    return script


def test_best_evaluation_and_patience():
    assert best_evaluation([]) is None
    assert evaluations_since_best([]) == 0
    told = [(2, 1.5), (4, 1.0), (6, 1.0), (8, 1.2)]
    assert best_evaluation(told) == (4, 1.0)
    assert [evaluations_since_best(told[:count]) for count in (1, 2, 3, 4)] == [0, 0, 1, 2]


def test_the_best_steps_adapter_is_kept(tmp_path, scripted):
    """Not saved by any strategy, and beyond the limit of one: it is there for being the best."""
    scripted({1: 3.0, 2: 1.0, 3: 2.0, 4: 1.0, 5: 1.5, 6: 1.2})
    loaded = tiny_with()
    after_two = {}
    remember = Recorder(between=lambda step: after_two.update(adapter_weights(loaded)) if step == 2 else None)
    watcher, result = go(loaded, tmp_path, BEST, remember)
    assert result == TrainingResult(6, 6, stopped=False, kept_step=2)
    assert list(watcher.losses) == [1, 2, 3, 4, 5, 6]
    assert same_tensors(adapter_weights(loaded), after_two)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]


def test_keeping_the_best_disturbs_no_step(tmp_path, undisturbed):
    watcher, result = go(tiny_with(), tmp_path, replace(SIX_STEPS, load_best_model_at_end=True))
    assert watcher.losses == undisturbed.losses
    losses = watcher.of("eval_loss", "eval")
    assert result.kept_step == min(losses, key=losses.get)


@pytest.mark.parametrize(
    ("losses", "patience", "last"),
    [
        ([3.0, 1.0, 2.0, 0.9, 1.5, 1.2], 1, 3),
        ([3.0, 1.0, 2.0, 0.9, 1.5, 1.2], 2, 6),
        ([3.0, 1.0, 2.0, 0.9, 1.5, 1.2], None, 6),
        ([1.0] * 6, 2, 3),
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], 1, 6),
    ],
)
def test_patience_counts_evaluations_without_a_new_best(tmp_path, scripted, losses, patience, last):
    scripted(dict(enumerate(losses, 1)))
    settings = replace(BEST, early_stopping_patience=patience, load_best_model_at_end=False)
    watcher, result = go(tiny_with(), tmp_path, settings)
    assert result == TrainingResult(last, 6, stopped=False, early=last < 6)
    assert list(watcher.losses) == list(range(1, last + 1))


@pytest.mark.parametrize(("step", "at"), [(1, "breathe"), (2, "progress"), (3, "breathe"), (4, "breathe")])
def test_the_best_and_patience_survive_a_resume(tmp_path, scripted, step, at):
    """Wherever it was stopped: the same steps, the same end, the same adapter as in one go."""
    scripted({1: 3.0, 2: 1.0, 3: 2.0, 4: 1.9, 5: 1.8, 6: 0.5})
    settings = replace(BEST, early_stopping_patience=3)
    whole = tiny_with()
    uninterrupted, result = go(whole, tmp_path / "whole", settings)
    assert result == TrainingResult(5, 6, stopped=False, early=True, kept_step=2)
    loaded = tiny_with()
    first, _ = go(loaded, tmp_path / "parts", settings, Recorder(stop_after=step, at=at))
    second, result = go(again(loaded), tmp_path / "parts", settings, resume_from=checkpoints(tmp_path / "parts")[-1])
    assert result == TrainingResult(5, 6, stopped=False, early=True, kept_step=2)
    assert first.losses | second.losses == uninterrupted.losses
    assert same_tensors(adapter_weights(loaded), adapter_weights(whole))


def test_patience_that_was_over_before_a_resume_is_over_after_it(tmp_path, scripted):
    scripted({1: 1.0, 2: 2.0, 3: 2.0})
    settings = replace(BEST, early_stopping_patience=1)
    loaded = tiny_with()
    go(loaded, tmp_path, settings)
    watcher, result = go(again(loaded), tmp_path, settings, resume_from=checkpoints(tmp_path)[-1])
    assert watcher.losses == {}
    assert result == TrainingResult(2, 6, stopped=False, early=True, kept_step=1)


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_what_a_stop_cut_off_is_measured_after_the_resume(tmp_path, strategy):
    settings = replace(SIX_STEPS, probes=2, eval_strategy=strategy, eval_steps=3)
    whole, _ = go(tiny_with(), tmp_path / "whole", settings)
    loaded = tiny_with()
    first, _ = go(loaded, tmp_path / "parts", settings, Recorder(stop_after=3, at="evaluating"))
    assert (list(first.metrics["probe"]), list(first.metrics["eval"])) == ([0], [])
    second, _ = go(again(loaded), tmp_path / "parts", settings, resume_from=checkpoints(tmp_path / "parts")[-1])
    for kind, name in (("probe", "probe_loss"), ("eval", "eval_loss")):
        assert first.of(name, kind) | second.of(name, kind) == whole.of(name, kind)


# What is borrowed is given back


def state_of(loaded) -> dict:
    """All that a trainer may change on what it shares with everybody else."""
    base, tokenizer = loaded.base, loaded.tokenizer
    return copy.deepcopy(
        {
            "config": base.config.to_dict(),
            "configured": {k: v for k, v in vars(base.config).items() if isinstance(v, int | str | bool | None)},
            "use_cache": base.config.use_cache,
            "generation": base.generation_config.to_dict(),
            "tokenizer": (tokenizer.padding_side, tokenizer.special_tokens_map, len(tokenizer), tokenizer.eos_token_id),
            "own forwards": [name for name, module in base.named_modules() if "forward" in vars(module)],
            "hooks": [name for name, module in base.named_modules() if module._forward_pre_hooks],
            "training": [name for name, module in loaded.model.named_modules() if module.training],
            "gradients": [name for name, p in loaded.model.named_parameters() if p.grad is not None],
            "threads": torch.get_num_threads(),
            "gradients are kept": torch.is_grad_enabled(),
        }
    )


@pytest.mark.parametrize("how", ["finished", "stopped", "diverged", "failed"])
def test_the_trainer_gives_back_what_it_borrows(tmp_path, monkeypatch, how):
    loaded = tiny_with()
    # Ids that the tokenizer knows better, and would align.
    loaded.base.config.pad_token_id = None
    loaded.base.config.eos_token_id = 7
    loaded.base.generation_config.pad_token_id = 9
    loaded.base.generation_config.eos_token_id = [2, 7]
    loaded.base.generation_config.bos_token_id = None
    loaded.model.eval()
    before = state_of(loaded)
    seen = []
    watcher = Recorder(stop_after=2 if how == "stopped" else None, between=lambda step: seen.append(state_of(loaded)))
    settings = replace(SIX_STEPS, learning_rate=3e37) if how == "diverged" else SIX_STEPS
    if how == "failed":
        monkeypatch.setattr(adapter, "save", lambda *args: 1 / 0)
    try:
        _, result = go(loaded, tmp_path, settings, watcher)
        assert how == ("stopped" if result.stopped else "finished")
    except DivergedError:
        assert how == "diverged"
    except ZeroDivisionError:
        assert how == "failed"
    assert state_of(loaded) == before
    # It did change them: or this test could not fail.
    assert seen[0]["own forwards"] != before["own forwards"]
    assert seen[0]["generation"] != before["generation"]
    assert seen[0]["configured"] != before["configured"]
    assert seen[-1]["training"] != before["training"]


# The real model


@pytest.mark.slow
def test_the_real_models_first_step_is_its_own_loss(tmp_path):
    loaded = load_model(DEFAULT_MODEL, quiet)
    adapter.attach(loaded, RUN, NO_DROPOUT, seed=1)
    data = TrainingData(some_rows(loaded, 4), some_rows(loaded, 3, 20), [])
    settings = TrainSettings(per_device_train_batch_size=4, learning_rate=1e-3, eval_strategy="epoch")
    with torch.no_grad():
        first = loaded.model(**padded(data.train, loaded.tokenizer.pad_token_id)).loss.item()
    watcher, result = go(loaded, tmp_path, settings, data=data)
    assert result == TrainingResult(1, 1, stopped=False)
    assert watcher.losses[1] == pytest.approx(first, rel=1e-5)
    assert watcher.of("eval_loss", "eval")[1] == pytest.approx(held_out_by_hand(loaded, data.evaluation), rel=1e-5)
