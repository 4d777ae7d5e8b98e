"""A training run through the lab: its metrics, files, status, events and provenance."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
import torch
from labs import PATIENCE, TWELVE_STEPS, finished, smoke, texts, undisturbed, write_rows

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import examples
from instruct_tune.errors import DataError
from instruct_tune.kernels.linear import computed_by
from instruct_tune.services.training_job import TrainingJob
from instruct_tune.training import trainer
from instruct_tune.training.checkpoints import checkpoints

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


def test_a_run_is_accepted_at_once_and_ends_with_an_adapter(lab, tmp_path):
    run_id = lab.training.start(HOST, smoke(), "  my first  ")
    assert lab.store.get(run_id).name == "my first"
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.phase, run.error_kind) == ("finished", None, None)
    assert (run.step, run.total_steps, run.message) == (4, 4, "Finished 4 steps.")
    assert run.created < run.ended <= time.time()
    folder = tmp_path / "data" / "runs" / run_id
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-4"]


def test_the_metrics_have_one_point_a_step_and_the_held_out_losses_on_the_same_axis(kept):
    metrics = undisturbed(kept)
    assert [step for kind, step in metrics if kind == "train"] == list(range(1, 13))
    assert [step for kind, step in metrics if kind == "probe"] == [0, 3, 6, 9, 12]
    assert [step for kind, step in metrics if kind == "eval"] == [4, 8, 12]
    assert all(metrics["train", step]["epoch"] == step / 4 for step in range(1, 13))
    assert metrics["train", 1]["learning_rate"] == 1e-2
    assert metrics["train", 12]["learning_rate"] == pytest.approx(1e-2 / 12)


def test_metrics_after_a_seq_are_those_not_seen_yet(kept):
    lab, run_id = kept
    metrics = lab.runs.metrics(HOST, run_id)
    seqs = [metric["seq"] for metric in metrics]
    assert seqs == sorted(set(seqs))
    assert lab.runs.metrics(HOST, run_id, after=seqs[5]) == metrics[6:]
    assert lab.runs.metrics(HOST, run_id, after=seqs[-1]) == []
    with pytest.raises(DataError, match="whole number"):
        lab.runs.metrics(HOST, run_id, after="5")


def test_the_result_is_computed_from_what_was_measured(kept):
    lab, run_id = kept
    metrics = lab.runs.metrics(HOST, run_id)
    steps = [metric for metric in metrics if metric["kind"] == "train"]
    result = lab.runs.result(HOST, run_id)
    assert set(result) >= {
        "run_id", "status", "steps", "tokens", "train_loss", "eval_loss", "tokens_per_second",
        "trainable_parameters", "adapter", "model_path",
    }  # fmt: skip
    assert (result["run_id"], result["status"], result["steps"]) == (run_id, "finished", 12)
    assert result["train_loss"] == pytest.approx(sum(m["loss"] for m in steps) / 12)
    assert result["eval_loss"] == [m["eval_loss"] for m in metrics if m["kind"] == "eval"][-1]
    assert result["tokens_per_second"] == pytest.approx(result["tokens"] / sum(m["seconds"] for m in steps))
    # Two layers, q (64 → 64) and v (64 → 32), rank 16.
    assert result["trainable_parameters"] == 2 * 16 * ((64 + 64) + (64 + 32))
    assert Path(result["adapter"], "adapter_config.json").is_file()
    assert Path(result["model_path"], "config.json").is_file()


def test_the_tokens_are_the_real_ones_over_all_epochs(kept):
    lab, run_id = kept
    lengths = lab.datasets.summary(HOST, TWELVE_STEPS, model="tiny-random")["token_lengths"]
    assert lab.runs.result(HOST, run_id)["tokens"] == 3 * lengths["total"]


def test_the_status_has_the_last_of_each_metric(kept):
    lab, run_id = kept
    status = lab.training.status(HOST, run_id)
    assert set(status) >= {"status", "phase", "step", "total_steps", "metrics", "eta_seconds", "message"}
    assert (status["status"], status["phase"], status["step"], status["total_steps"]) == ("finished", None, 12, 12)
    assert status["eta_seconds"] is None
    assert {kind: metric["step"] for kind, metric in status["metrics"].items()} == {
        "train": 12,
        "probe": 12,
        "general": 12,
        "eval": 12,
    }


def test_the_status_has_the_last_and_the_best_checkpoint(kept):
    lab, run_id = kept
    summary = lab.training.status(HOST, run_id)["checkpoints"]
    losses = {
        metric["step"]: metric["eval_loss"] for metric in lab.runs.metrics(HOST, run_id) if metric["kind"] == "eval"
    }
    best = min(losses, key=losses.get)
    assert summary == {
        "last": {"step": 12, "eval_loss": losses[12]},
        "best": {"step": best, "eval_loss": losses[best], "saved": True},
        "kept": 12,
    }
    assert lab.runs.details(HOST, run_id)["checkpoints"] == summary


def test_a_run_that_keeps_its_best_says_which_it_was(lab, monkeypatch):
    """Its held-out loss rises after the first epoch and again, which ends a patience of two evaluations."""
    losses = iter([1.0, 2.0, 2.5])
    monkeypatch.setattr(trainer.Trainer, "held_out_loss", lambda self, rows: next(losses))
    settings = {"num_train_epochs": 9, "probes": 0, "early_stopping_patience": 2, "load_best_model_at_end": True}
    run_id = lab.training.start(HOST, smoke(train=settings))
    run = lab.training.wait(run_id, PATIENCE)
    assert run.status == "finished"
    assert run.message == (
        "Finished early at step 12 of 36, since the held-out loss fell no more; "
        "the adapter of step 4, the best, is kept."
    )
    assert lab.training.status(HOST, run_id)["checkpoints"] == {
        "last": {"step": 12, "eval_loss": 2.5},
        "best": {"step": 4, "eval_loss": 1.0, "saved": True},
        "kept": 4,
    }
    folder = lab.store.folder(run_id)
    weights = [
        (folder / name / "adapter_model.safetensors").read_bytes()
        for name in ("adapter", "checkpoint-4", "checkpoint-12")
    ]
    assert weights[0] == weights[1] != weights[2]


def test_the_best_evaluation_counts_where_it_has_no_checkpoint(lab, monkeypatch):
    losses = iter([2.0, 1.0, 1.5])
    monkeypatch.setattr(trainer.Trainer, "held_out_loss", lambda self, rows: next(losses))
    settings = {"num_train_epochs": 3, "probes": 0, "save_strategy": "steps", "save_steps": 12}
    run_id = finished(lab, smoke(train=settings))
    assert lab.training.status(HOST, run_id)["checkpoints"] == {
        "last": {"step": 12, "eval_loss": 1.5},
        "best": {"step": 8, "eval_loss": 1.0, "saved": False},
        "kept": 12,
    }


@pytest.mark.slow
def test_while_it_runs_the_status_says_where_it_is(lab, pace):
    statuses = {}
    for step in (0, 6):
        pace.at[step] = lambda runner, step=step: statuses.update({step: lab.training.status(HOST, runner.run.id)})
    finished(lab, TWELVE_STEPS)
    for step, status in statuses.items():
        assert (status["status"], status["phase"], status["step"], status["total_steps"]) == (
            "running",
            "training",
            step,
            12,
        )
    assert statuses[0]["eta_seconds"] is None
    assert 0 < statuses[6]["eta_seconds"] < 60


def test_the_phases_come_in_their_order(lab, monkeypatch):
    phases = []
    monkeypatch.setattr(
        TrainingJob, "phase", lambda self, name: phases.append(name) or self.store.update(self.run.id, phase=name)
    )
    finished(lab)
    assert phases[0] == "tokenising"
    assert phases[-1] == "saving"
    assert set(phases) == {"tokenising", "training", "evaluating", "saving"}
    assert phases.index("training") < phases.index("evaluating")


def test_a_run_says_what_it_was_measured_with(kept):
    lab, run_id = kept
    provenance = lab.runs.details(HOST, run_id)["facts"]
    assert provenance["weights_source"] == "made here, random"
    assert len(provenance["weights_sha256"]) == 64
    assert (provenance["threads"], provenance["dtype"]) == (torch.get_num_threads(), "float32")
    assert provenance["attention"] == "sdpa_by_rows"
    assert provenance["matrix_products"] == computed_by(torch.device("cpu"))
    assert provenance["data_fingerprint"] == lab.datasets.summary(HOST, TWELVE_STEPS)["fingerprint"]
    assert (provenance["train_rows"], provenance["evaluation_rows"], provenance["probe_rows"]) == (16, 4, 4)
    assert (
        provenance["versions"]["torch"] == torch.__version__.partition("+")[0]
        or provenance["versions"]["torch"] in torch.__version__
    )


def test_showing_a_run_gives_all_there_is_as_plain_json(kept):
    lab, run_id = kept
    shown = lab.runs.details(HOST, run_id)
    assert shown["config"] == TWELVE_STEPS.to_dict()
    assert RunConfig.from_dict(shown["config"]) == TWELVE_STEPS
    assert shown["metrics"] == lab.runs.metrics(HOST, run_id)
    assert "Finished 12 steps." in texts(shown["events"])
    assert json.loads(json.dumps(shown)) == shown


def test_training_changes_what_the_model_says_and_lowers_its_loss(kept):
    metrics = undisturbed(kept)
    assert metrics["eval", 12]["eval_loss"] < metrics["eval", 4]["eval_loss"]
    assert metrics["probe", 12]["probe_loss"] < metrics["probe", 0]["probe_loss"]


def test_held_out_gives_the_evaluation_rows(kept):
    lab, _ = kept
    test = lab.datasets.splits(TWELVE_STEPS.data).test
    rows = examples(test)
    assert lab.datasets.held_out(HOST, TWELVE_STEPS) == rows[:4]
    assert lab.datasets.held_out(HOST, dataclasses.replace(TWELVE_STEPS, evaluation_rows=None)) == rows


@pytest.mark.parametrize("name", ["x" * 201, 5, None, ["a"]])
def test_a_name_that_is_none_is_refused_and_leaves_no_trace(lab, name):
    with pytest.raises(DataError, match="name"):
        lab.training.start(HOST, smoke(), name)
    assert lab.runs.summaries(HOST) == []


def test_run_names_are_only_names(lab, tmp_path):
    name = "../../<script>alert(1)</script> $HOME ${x} ☃"
    run_id = finished(lab, name=name)
    assert lab.runs.summaries(HOST)[0]["name"] == name
    assert [path.name for path in (tmp_path / "data" / "runs").iterdir()] == [run_id]


def rows_of_lengths(path, lengths):
    """Write rows of ``lengths`` tokens (a byte each), with the lesson's template and EOS."""
    empty = len("### Instruction:\nDo\n\n### Response:\n") + 1
    return write_rows(path, [{"instruction": "Do", "output": "x" * (n - empty)} for n in lengths])


@pytest.mark.parametrize("overlong", ["drop", "truncate"])
def test_rows_that_are_too_long_are_dropped_or_cut_and_counted(lab, tmp_path, overlong):
    source = rows_of_lengths(tmp_path / "rows.json", [60] * 20 + [61] * 5 + [90] * 5)
    train = {"max_length": 60, "per_device_train_batch_size": 1, "overlong": overlong}
    config = smoke(data={"source": source, "limit": None}, train=train)
    run_id = finished(lab, config)
    longer = sum(len(text) > 24 for text in lab.datasets.splits(config.data).train["output"])
    assert longer
    dropped, cut = (longer, 0) if overlong == "drop" else (0, longer)
    shown = lab.runs.details(HOST, run_id)
    assert f"Training rows: {dropped} rows dropped and {cut} cut at train.max_length 60." in texts(shown["events"])
    assert shown["facts"]["train_rows"] == lab.runs.result(HOST, run_id)["steps"] == 24 - dropped
    assert lab.runs.result(HOST, run_id)["tokens"] == 60 * (24 - dropped)


def test_where_all_rows_fit_there_is_no_message_about_it(kept):
    lab, run_id = kept
    assert not any("dropped" in text for text in texts(lab.runs.details(HOST, run_id)["events"]))
