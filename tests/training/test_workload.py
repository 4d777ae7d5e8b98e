"""The cost estimate: counts equal those of the run, sizes equal PEFT's, seconds come from measurements."""

import dataclasses

import pytest
from tiny_lab import light, reads_images, some_data, some_rows, tiny, toy  # noqa: F401

from instruct_tune.batching.packing import pack_rows
from instruct_tune.config.run_config import LoraSettings, RunConfig, TrainSettings
from instruct_tune.errors import DataError, ModelError
from instruct_tune.estimate import resources, workload
from instruct_tune.estimate.resources import Architecture, Speed
from instruct_tune.estimate.workload import Recorded, RowLength, Work, count
from instruct_tune.models import lora
from instruct_tune.models.lora_targets import adapted_width
from instruct_tune.tokenization.encode import IGNORE
from instruct_tune.training.train import train

EVEN = Speed(
    a_token=0.01,
    forward=0.5,
    new_token=0.1,
    token_bytes=100,
    supervised_bytes=10,
)


def lengths(rows):
    return [RowLength(len(row.input_ids), row.prompt_length) for row in rows]


def config(**train_settings):
    return RunConfig(train=TrainSettings(**train_settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_train_epochs": 2, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2},
        {"num_train_epochs": 1.5, "per_device_train_batch_size": 4, "eval_strategy": "steps", "eval_steps": 2},
        {"max_steps": 5, "per_device_train_batch_size": 4, "save_strategy": "no", "probes": 2},
    ],
    ids=["quick", "accumulation", "half an epoch", "max_steps"],
)
def test_a_run_does_what_was_counted(settings, tmp_path):
    from tiny_lab import RUN, Recorder, tiny_with

    loaded = tiny_with()
    data = some_data(loaded)
    run_config = config(save_minutes=None, save_total_limit=None, **settings)
    work = count(run_config, lengths(data.train), lengths(data.evaluation), lengths(data.probe), 512)
    watcher = Recorder()
    result = train(loaded, RUN, data, run_config.train, tmp_path, watcher)
    assert work.steps == result.steps
    assert work.training.tokens == sum(watcher.of("tokens").values())
    assert work.training.supervised == sum(watcher.of("supervised").values())
    assert work.probes == len(watcher.metrics["probe"])
    assert work.evaluations == len(watcher.metrics["eval"])
    assert work.checkpoints == len(list(tmp_path.glob("checkpoint-*")))


def test_passes_are_those_of_a_training():
    loaded = tiny()
    rows = some_rows(loaded, 40)
    packs = pack_rows(rows, loaded.packing, 0, 300)
    counted = list(workload._passes([(len(row.input_ids), row.supervised) for row in rows], 300))
    assert counted == [(pack["input_ids"].numel(), int((pack["labels"] != IGNORE).sum())) for pack in packs]


def test_rows_beyond_the_counted_are_in_proportion(monkeypatch):
    rows = [RowLength(20 + number % 5, 10) for number in range(50)]
    run_config = config(num_train_epochs=40, per_device_train_batch_size=4)
    whole = count(run_config, rows, [], [], 64)
    monkeypatch.setattr(workload, "ROWS_COUNTED", 100)
    scaled = count(run_config, rows, [], [], 64)
    assert scaled.training.tokens == pytest.approx(whole.training.tokens)
    assert scaled.training.passes == pytest.approx(whole.training.passes, rel=0.02)


def test_long_rows_are_dropped_cut_or_refused():
    rows = [RowLength(10, 4), RowLength(30, 4), RowLength(40, 25)]
    assert workload.fitted(rows, 20, "drop") == workload.Fitted(((10, 6),), 2, 0)
    assert workload.fitted(rows, 20, "truncate") == workload.Fitted(((10, 6), (20, 16)), 1, 1)
    with pytest.raises(DataError, match="longest has 40 tokens"):
        workload.fitted(rows, 8, "drop")


@pytest.mark.parametrize("architecture", ["llama", "opt", "gpt2", "gpt_neox", "qwen2"])
@pytest.mark.parametrize("targets", ["auto", "all-linear"])
def test_trainable_parameters_are_pefts(architecture, targets):
    loaded = toy(architecture)
    size = Architecture(loaded.base.num_parameters(), adapted_width(loaded.base, targets), 4)
    lora.attach(loaded, "run", LoraSettings(r=6, target_modules=targets), seed=0)
    trainable, total = lora.parameter_counts(loaded)
    assert size.trainable(6) == trainable
    assert size.parameters + trainable == total


def test_named_targets_are_counted_and_unknown_ones_refused():
    base = tiny().base
    assert adapted_width(base, ("q_proj", "v_proj")) == adapted_width(base, "auto")
    with pytest.raises(ModelError, match="no module named nothing"):
        adapted_width(base, ("nothing",))


def test_seconds_memory_and_disk_add_up():
    rows = [RowLength(20, 10)] * 8
    run_config = config(per_device_train_batch_size=4, probes=1, sample_tokens=5, recite_rows=2)
    recorded = Recorded(prompts=(12, 8, 7), general_tokens=30, bleu_rows=33)
    work = count(run_config, rows, rows[:2], rows[:1], 1000, recorded=recorded)
    assert (work.steps, work.training, work.largest) == (2, Work(2, 160, 80), Work(1, 80, 40))
    # 160 tokens in two passes, 20 held-out ones at each of two probes, and 40 in the evaluation.
    took = resources.seconds(run_config, work, EVEN, weights=4_000_000_000)
    assert took.training == pytest.approx(1.6)
    assert took.probes == pytest.approx(2 * 0.5 * 0.2)
    assert took.evaluations == pytest.approx(0.5 * 0.4)
    assert took.load == 2
    # At two probes three answers of five tokens, the further two prompts read; ten tokens of two memorized rows.
    a_probe = 5 * 0.1 + 2 * 5 * 0.005 + (8 + 7) * 0.005
    assert took.samples == pytest.approx(2 * a_probe + 10 * 0.1 + 10 * 0.005)
    assert took.general == pytest.approx(2 * 30 * 0.005)
    # Base's answers and those at one evaluation, each in a batch of 32 and one of 1, of 96 tokens.
    assert took.bleu == pytest.approx(2 * (2 * 96 * 0.1 + 31 * 96 * 0.005))
    parts = (took.load, took.training, took.probes, took.samples, took.general, took.evaluations, took.bleu)
    assert took.total == pytest.approx(sum(parts))
    # An earlier run took half of what was measured, so all passes do.
    faster = resources.seconds(run_config, work, EVEN, weights=0, pace=0.5)
    assert (faster.training, faster.probes) == (pytest.approx(took.training / 2), pytest.approx(took.probes / 2))
    assert (faster.samples, faster.bleu) == (pytest.approx(took.samples / 2), pytest.approx(took.bleu / 2))

    peak = resources.memory(run_config, work, Architecture(1000, 10, 4), EVEN)
    # Rank 16: 160 weights of 4 bytes, their gradients, and AdamW's two moments.
    assert (peak.weights, peak.adapter, peak.gradients, peak.optimizer) == (4000, 640, 640, 1280)
    assert (peak.activations, peak.logits) == (80 * 100, 40 * 10)
    assert peak.total == 4000 + 640 + 640 + 1280 + 8000 + 400
    assert resources.disk(run_config, work, 160) == 640 + 1920


def test_a_run_that_records_nothing_more_takes_no_time_for_it():
    rows = [RowLength(20, 10)] * 8
    took = resources.seconds(config(), count(config(), rows, rows, rows, 1000), EVEN, weights=0)
    assert (took.samples, took.general, took.bleu) == (0, 0, 0)
    unevaluated = config(eval_strategy="no")
    work = count(unevaluated, rows, rows, rows, 1000, recorded=Recorded(bleu_rows=4))
    assert resources.seconds(unevaluated, work, EVEN, weights=0).bleu == 0


def test_what_is_answered_together_is_what_the_run_answers_together():
    from instruct_tune.evaluation.predict import ROWS_TOGETHER
    from instruct_tune.training.fixed_prompts import MOST_TOKENS_OF_SEVERAL

    assert (resources.ROWS_TOGETHER, resources.OF_SEVERAL) == (ROWS_TOGETHER, MOST_TOKENS_OF_SEVERAL)


def test_warnings_name_what_to_change():
    rows = [RowLength(20, 10)] * 8 + [RowLength(5000, 10)]
    dropped = count(config(), rows, [], [], 1000)
    cut = count(config(overlong="truncate"), rows, [], [], 1000)
    assert resources.warnings(dropped, None, 60.0) == ["1 row longer than the longest row allowed will be left out."]
    assert "does not learn to end" in resources.warnings(cut, None, 60.0)[0]
    memory, hour, _ = resources.warnings(dropped, "Too little memory.", 4000.0)
    assert memory == "Too little memory."
    assert "more than an hour" in hour


def test_a_measurement_has_all_its_parts():
    from instruct_tune.estimate.calibrate import describe, measure

    loaded = tiny()
    size = describe(loaded.weights.path, LoraSettings(), "auto")
    assert size.parameters == loaded.base.num_parameters()
    measured = measure(loaded.weights.path, loaded.tokenizer, LoraSettings(), "auto")
    assert all(value >= 0 for value in dataclasses.astuple(measured))
    assert min(measured.a_token, measured.forward, measured.new_token, measured.token_bytes) > 0
    # Logits of 259 tokens and their logarithms; kept for the backward pass is a gradient of the head's input.
    sizes = loaded.base.config
    assert measured.supervised_bytes == pytest.approx(4 * (2 * sizes.vocab_size + sizes.hidden_size), rel=0.1)


def test_a_model_that_reads_images_too_is_measured(tmp_path):
    """Its sizes stand in the part of its configuration that reads text."""
    from instruct_tune.estimate.calibrate import measure

    loaded = reads_images()
    loaded.base.config.save_pretrained(tmp_path)
    settings = LoraSettings(target_modules=("q_proj", "v_proj"))
    assert measure(tmp_path, loaded.tokenizer, settings, "auto").new_token > 0


def test_measuring_draws_no_random_number_and_counts_a_layers_bytes():
    import torch

    from instruct_tune.estimate.calibrate import measure

    loaded = tiny()
    before = torch.get_rng_state()
    measured = measure(loaded.weights.path, loaded.tokenizer, LoraSettings(), "auto")
    assert torch.equal(torch.get_rng_state(), before)
    # A llama layer keeps at least its inputs, q, k, v, and three of the MLP's width, for every token.
    width = loaded.base.config.hidden_size + 2 * loaded.base.config.intermediate_size
    layers = loaded.base.config.num_hidden_layers
    assert measured.token_bytes > 4 * layers * width


def test_what_other_programs_take_is_not_counted(monkeypatch):
    from instruct_tune.estimate import calibrate

    loaded = tiny()
    timed = calibrate._TimedModel(loaded.base.config, loaded.weights.path, loaded.tokenizer, LoraSettings(), "auto", 1)
    # Ten seconds pass, and this process gets one of them.
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(calibrate.time, "perf_counter", lambda: next(clock))
    spent = iter(range(1000))
    monkeypatch.setattr(calibrate.time, "process_time", lambda: next(spent))
    assert timed._time_once(lambda: None) == 1
    assert timed.crowded
