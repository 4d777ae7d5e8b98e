"""The command line as scripts use it: docs/cli.md, command by command."""

import contextlib
import json
import os
import signal
import sqlite3
import zipfile
from pathlib import Path

import pytest
from commands import (
    CODE_ALPACA,
    EVALUATION,
    REPORT,
    TRAIN,
    _folders,
    answer_of,
    refused,
    run,
    trained,
    write_json,
    write_lines,
)
from labs import Pace, opened, press_ctrl_c, smoke

from instruct_tune.cli.commands import main
from instruct_tune.config.presets import PRESETS
from instruct_tune.lab import Lab
from instruct_tune.services.training import Training
from instruct_tune.store.lock import DataLock
from instruct_tune.store.run_store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread")


# data


def test_data_tells_what_it_loaded_filtered_and_split(answer_of):
    summary = answer_of("data")
    assert set(summary) >= {"source", "rows_loaded", "ledger", "train_rows", "test_rows", "fingerprint", "licence"}
    assert summary["source"] == "bundled"
    assert summary["licence"] == "CC0-1.0"
    assert summary["train_rows"] == 200
    assert [set(entry) for entry in summary["ledger"]] == [{"step", "kept", "dropped"}]
    assert not {"train", "test", "token_lengths"} & set(summary)


def test_data_shows_rows_and_lengths_where_they_are_requested(answer_of):
    summary = answer_of("data", "--rows", 3, "--model", "tiny-random")
    for part in ("train", "test"):
        assert [set(row) for row in summary[part]] == [{"instruction", "input", "output"}] * 3
    assert summary["token_lengths"]["max"] >= summary["token_lengths"]["mean"] > 0


def test_data_reports_on_all_rows_of_the_split_whatever_the_limit(answer_of):
    report = answer_of("data", "--report", "--preset", "smoke")
    assert {"lengths", "duplicates", "leakage", "dropped_by_max_length"} <= report.keys()
    assert report["train_rows"] == 16
    assert report["reported"] == {"train": report["train_rows_before_limit"], "test": report["test_rows"]}
    assert sum(report["lengths"]["row_tokens"]["counts"]) == report["train_rows_before_limit"]


@pytest.mark.skipif(
    not CODE_ALPACA.exists(), reason=f"{CODE_ALPACA} is not here: its licence (CC BY-NC) keeps it out of the project"
)
def test_data_counts_the_real_rows_as_the_lesson_does(answer_of):
    summary = answer_of("data", "--dataset", CODE_ALPACA, "--set", "data.limit=null")
    assert summary["rows_loaded"] == 2017
    assert summary["ledger"] == [{"step": "without_input", "kept": 1011, "dropped": 1006}]
    assert (summary["train_rows"], summary["test_rows"]) == (808, 203)


def test_the_limit_caps_the_training_rows_and_never_the_held_out_ones(answer_of):
    whole, capped = (
        answer_of("data", "--set", "data.limit=null"),
        answer_of("data", "--set", "data.limit=7", "--rows", 7),
    )
    assert capped["train_rows"] == 7 < whole["train_rows"]
    assert capped["test_rows"] == whole["test_rows"]


# Sources of a configuration and their precedence


def test_preset_then_config_then_set(answer_of, tmp_path):
    file = write_json(tmp_path / "config.json", {"data": {"limit": 5, "seed": 1}})
    counts = [
        answer_of("data")["train_rows"],
        answer_of("data", "--preset", "minute")["train_rows"],
        answer_of("data", "--preset", "minute", "--config", file)["train_rows"],
        answer_of("data", "--set", "data.limit=9", "--preset", "minute", "--config", file)["train_rows"],
        answer_of("data", "--config", file, "--set", "data.limit=9", "--set", "data.limit=11")["train_rows"],
    ]
    assert counts == [200, 48, 5, 9, 11]
    # A setting of the file that nothing overrides stays.
    seeds = [
        answer_of("data", "--config", file, "--set", "data.limit=9", *more)["fingerprint"]
        for more in ([], ["--set", "data.seed=42"])
    ]
    assert seeds[0] != seeds[1]


def test_dataset_and_model_are_short_for_set_and_go_over_the_file(answer_of, tmp_path):
    rows = write_lines(tmp_path / "rows.jsonl", [{"instruction": f"Do {n}", "output": "x"} for n in range(20)])
    file = write_json(tmp_path / "config.json", {"data": {"source": "/nowhere.json"}, "model": "/nowhere"})
    assert answer_of("data", "--dataset", rows, "--config", file)["source"] == str(rows)
    assert answer_of("data", "--set", f"data.source={rows}", "--config", file)["source"] == str(rows)
    row = ("mask", "--instruction", "a", "--output", "b", "--config", file)
    assert answer_of(*row, "--model", "tiny-random") == answer_of(*row, "--set", "model=tiny-random")


def test_a_value_is_json_and_a_bare_word_is_a_text(answer_of, tmp_path):
    run_id = answer_of(
        "train", "--preset", "smoke", "--set", "train.lr_scheduler_type=constant", "--set", "train.max_steps=2",
        "--set", 'lora.target_modules=["q_proj"]', "--set", "train.weight_decay=1e-3", "--set", "train.bf16=false",
        "--set", 'template={"without_input": "{instruction}=", "with_input": "{instruction}{input}="}',
        "--set", "data.filters=[]", "--set", "train.save_minutes=null",
    )["run_id"]  # fmt: skip
    config = answer_of("runs", "show", run_id)["config"]
    assert config["lora"]["target_modules"] == ["q_proj"]
    assert config["template"] == {"without_input": "{instruction}=", "with_input": "{instruction}{input}="}
    assert config["data"]["filters"] == []
    train = config["train"]
    assert (train["lr_scheduler_type"], train["max_steps"], train["weight_decay"]) == ("constant", 2, 1e-3)
    assert (train["bf16"], train["save_minutes"]) == (False, None)


def test_every_setting_that_is_wrong_is_named_in_one_line(refused, tmp_path):
    message = refused(
        "train", "--set", "lora.r=0", "--set", "train.learning_rate=-1", "--set", "data.test_size=2",
        "--set", "train.epochs=3", "--set", "generation.num_beams=many",
    )  # fmt: skip
    for name in ("lora.r", "train.learning_rate", "data.test_size", "train.epochs", "generation.num_beams"):
        assert name in message
    assert not any((tmp_path / "data" / "runs").iterdir())


@pytest.mark.parametrize("text", ["nonsense", "=5", "model.name=x", "data=5", "lora.r", ".=1", "..=1"])
def test_a_setting_that_is_none_is_refused(refused, text):
    assert refused("data", "--set", text)


@pytest.mark.parametrize("content", [None, "", "[1]", "{", "5", '{"data": null}', '{"nope": 1}', b"\xff\xfe"])
def test_a_configuration_file_that_is_none_is_refused(refused, tmp_path, content):
    file = tmp_path / "config.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused("data", "--config", file, "--set", "data.limit=5")


# mask


def test_mask_shows_a_row_as_the_trainer_gets_it(answer_of):
    row = answer_of("mask", "--model", "tiny-random", "--instruction", "Sort", "--input", "3 1 2", "--output", "1 2 3")
    assert set(row) >= {"input_ids", "tokens", "labels", "prompt_length", "supervised", "truncated"}
    prompt = "### Instruction:\nSort\n\n### Input:\n3 1 2\n\n### Response:\n"
    assert row["prompt_length"] == len(prompt)
    assert row["supervised"] == len("1 2 3") + 1
    assert row["labels"] == [-100] * len(prompt) + row["input_ids"][len(prompt) :]
    assert row["tokens"][-1] == "<|im_end|>"
    assert row["truncated"] == 0


def test_mask_counts_the_answer_tokens_that_were_cut_and_then_there_is_no_end(answer_of):
    whole = answer_of("mask", "--model", "tiny-random", "--instruction", "a", "--output", "abcdef")
    length = len(whole["input_ids"]) - 3
    cut = answer_of(
        "mask", "--preset", "smoke", "--instruction", "a", "--output", "abcdef", "--set", f"train.max_length={length}"
    )
    assert (cut["truncated"], cut["supervised"]) == (3, whole["supervised"] - 3)
    assert cut["input_ids"] == whole["input_ids"][:-3]
    assert "<|im_end|>" not in cut["tokens"]


# train


def test_train_tells_the_run(answer_of, tmp_path):
    done = answer_of("train", "--preset", "smoke", "--name", "my run", "--data-dir", tmp_path / "elsewhere")
    assert set(done) >= TRAIN
    assert (done["status"], done["steps"]) == ("finished", 4)
    assert done["tokens"] > 1000
    assert done["tokens_per_second"] > 0
    assert done["adapter"] == str(tmp_path / "elsewhere" / "runs" / done["run_id"] / "adapter")
    assert Path(done["model_path"], "model.safetensors").is_file()
    assert not (tmp_path / "data").exists()
    shown = answer_of("runs", "show", done["run_id"], "--data-dir", tmp_path / "elsewhere")
    assert shown["name"] == "my run"
    losses = [metric["loss"] for metric in shown["metrics"] if metric["kind"] == "train"]
    assert done["train_loss"] == pytest.approx(sum(losses) / 4)


def test_train_goes_on_with_a_run(run, answer_of, monkeypatch):
    pace = Pace(monkeypatch)
    pace.at[2] = press_ctrl_c
    status, before = run("train", "--preset", "smoke")
    assert (status, before["status"], before["steps"]) == (130, "stopped", 2)
    after = answer_of("train", "--resume", before["run_id"])
    assert (after["run_id"], after["status"], after["steps"]) == (before["run_id"], "finished", 4)
    assert after["tokens"] > before["tokens"]


def test_the_first_ctrl_c_keeps_the_adapter_and_the_object(run, monkeypatch):
    pace = Pace(monkeypatch)
    pace.at[2] = press_ctrl_c
    before = signal.getsignal(signal.SIGINT)
    status, done = run("train", "--preset", "smoke")
    assert status == 130
    assert set(done) >= TRAIN
    assert (done["status"], done["steps"]) == ("stopped", 2)
    assert Path(done["adapter"], "adapter_model.safetensors").is_file()
    assert "press Ctrl-C again" in run.stderr
    assert signal.getsignal(signal.SIGINT) is before


def test_a_lesson_that_was_stopped_is_not_evaluated(run, monkeypatch):
    pace = Pace(monkeypatch)
    pace.at[2] = press_ctrl_c
    status, done = run("lesson", "--preset", "smoke")
    assert status == 130
    assert done["train"]["status"] == "stopped"
    assert done["run_id"] == done["train"]["run_id"]
    assert done["evaluation"] is None


def test_a_run_that_fails_is_a_persons_problem(refused, tmp_path):
    assert "no module named nope" in refused("train", "--preset", "smoke", "--set", 'lora.target_modules=["nope"]')
    assert "There is no file" in refused("train", "--preset", "smoke", "--dataset", tmp_path / "missing.json")
    assert "neither a folder" in refused("train", "--preset", "smoke", "--model", "/nowhere/model")
    assert "No row fits" in refused("train", "--preset", "smoke", "--set", "train.max_length=8")


def test_only_a_run_that_ended_early_can_be_resumed(refused, trained):
    folder, run_id = trained
    assert "is finished" in refused("train", "--resume", run_id, "--data-dir", folder)
    assert "There is no run 'nope'" in refused("train", "--resume", "nope", "--data-dir", folder)


# generate, evaluate, score, lesson


def test_generate_answers_each_row(answer_of, trained, tmp_path):
    folder, run_id = trained
    rows = [{"instruction": "Sort", "input": "3 1"}, {"instruction": "Say hi"}, {"instruction": "x", "input": ""}]
    prompts = write_lines(tmp_path / "prompts.jsonl", rows)
    tuned = answer_of("generate", "--run", run_id, "--prompts", prompts, "--data-dir", folder)
    base = answer_of("generate", "--run", "base", "--prompts", prompts, "--preset", "smoke")
    assert set(tuned) == set(base) == {"texts"}
    assert len(tuned["texts"]) == len(base["texts"]) == 3
    assert tuned["texts"] != base["texts"]
    short = answer_of(
        "generate", "--run", run_id, "--prompts", prompts, "--data-dir", folder, "--set", "generation.max_new_tokens=2"
    )
    assert all(
        long.startswith(text) and len(text) < len(long)
        for text, long in zip(short["texts"], tuned["texts"], strict=True)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "holds no prompts"),
        ("\n\n", "holds no prompts"),
        ('{"instruction": "a"}\n{"instr', "is not valid JSON at line 2"),
        ('{"instruction": "a"}\n\n"text"\n', "Prompt 2"),
        ('{"input": "a"}', "Prompt 1"),
        (b"\xff", "is not UTF-8 text (byte 1 is"),
    ],
)
def test_prompts_that_are_none_are_refused(refused, trained, tmp_path, content, message):
    folder, run_id = trained
    file = tmp_path / "prompts.jsonl"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused("generate", "--run", run_id, "--prompts", file, "--data-dir", folder)


@pytest.mark.slow
def test_evaluate_scores_both_sides(answer_of, tmp_path):
    run_id = answer_of("train", "--preset", "smoke", "--set", "evaluation_rows=6")["run_id"]
    whole = answer_of("evaluate", "--run", run_id)
    assert set(whole) >= EVALUATION
    assert set(whole["base"]) >= REPORT
    assert set(whole["tuned"]) >= REPORT
    assert (whole["run_id"], whole["rows"]) == (run_id, 6)
    assert whole["delta"] == whole["tuned"]["bleu"] - whole["base"]["bleu"]
    part = answer_of("evaluate", "--run", run_id, "--limit", 3, "--to", tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8-sig").startswith("instruction,input,reference,base,tuned")
    lines = [json.loads(line) for line in Path(part["predictions"]).read_text(encoding="utf-8").splitlines()]
    assert len(lines) == part["rows"] == 3
    assert all(set(line) >= {"instruction", "input", "reference", "base", "tuned"} for line in lines)
    # The scores are those of the texts in the file.
    references = write_lines(tmp_path / "references.jsonl", [line["reference"] for line in lines])
    for side in ("base", "tuned"):
        predictions = write_lines(tmp_path / f"{side}.jsonl", [line[side] for line in lines])
        assert answer_of("score", "--predictions", predictions, "--references", references) == part[side]


def test_score_is_corpus_bleu(answer_of, tmp_path):
    references = ["the cat sat on the mat today", "print(x) and then return y + 1"]
    files = [write_lines(tmp_path / "a.jsonl", references), write_lines(tmp_path / "b.jsonl", references)]
    report = answer_of("score", "--predictions", files[0], "--references", files[1])
    assert set(report) >= REPORT
    assert report["bleu"] == pytest.approx(100)
    assert report["bp"] == 1
    assert report["precisions"] == pytest.approx([100] * 4)
    assert "tok:13a" in report["signature"]


def test_what_cannot_be_scored_is_refused(refused, tmp_path):
    two, three = write_lines(tmp_path / "2.jsonl", ["a", "b"]), write_lines(tmp_path / "3.jsonl", ["a", "b", "c"])
    odd = write_lines(tmp_path / "odd.jsonl", ["a", 5])
    assert "2" in refused("score", "--predictions", two, "--references", three)
    assert "Line 2" in refused("score", "--predictions", odd, "--references", two)
    assert "cannot be read (No such" in refused("score", "--predictions", tmp_path / "none", "--references", two)


def test_the_lesson_is_data_training_and_evaluation(answer_of):
    whole = answer_of("lesson", "--preset", "smoke", "--name", "lesson one")
    assert set(whole) >= {"run_id", "train", "evaluation"}
    assert set(whole["train"]) >= TRAIN
    assert set(whole["evaluation"]) >= EVALUATION
    assert whole["run_id"] == whole["train"]["run_id"] == whole["evaluation"]["run_id"]
    shown = answer_of("runs", "show", whole["run_id"])
    assert shown["name"] == "lesson one"
    assert len(shown["evaluations"]) == 1


def test_the_lesson_without_a_preset_is_the_lesson(monkeypatch, capsys):
    configs = []
    monkeypatch.setattr(Training, "start", lambda self, viewer, config, name: configs.append(config) or exit(7))
    with pytest.raises(SystemExit, match="7"):
        main(["lesson"])
    with pytest.raises(SystemExit, match="7"):
        main(["lesson", "--preset", "quick"])
    with pytest.raises(SystemExit, match="7"):
        main(["train"])
    assert configs == [PRESETS["lesson"], PRESETS["quick"], PRESETS["quick"]]


# runs


def test_runs_list_is_newest_first(answer_of, tmp_path):
    assert answer_of("runs", "list") == {"runs": []}
    store = RunStore(tmp_path / "data")
    config = smoke().to_dict()
    for number, name in enumerate(("old", "middle", "new")):
        store.update(store.create(name, config).id, created=1e9 + number, status="finished")
    store.close()
    runs = answer_of("runs", "list")["runs"]
    assert [run["name"] for run in runs] == ["new", "middle", "old"]
    assert all(set(run) >= {"id", "name", "status"} for run in runs)


def test_runs_show_has_configuration_and_metrics(answer_of, trained):
    folder, run_id = trained
    shown = answer_of("runs", "show", run_id, "--data-dir", folder)
    assert (shown["id"], shown["status"], shown["name"]) == (run_id, "finished", "tulip")
    assert shown["config"] == smoke().to_dict()
    steps = [metric for metric in shown["metrics"] if metric["kind"] == "train"]
    assert [metric["step"] for metric in steps] == [1, 2, 3, 4]
    assert all({"seq", "step", "epoch", "loss"} <= set(metric) for metric in steps)


def test_runs_export_writes_a_zip(answer_of, trained, tmp_path):
    folder, run_id = trained
    done = answer_of("runs", "export", run_id, "--to", tmp_path / "out.zip", "--data-dir", folder)
    assert done["file"] == str(tmp_path / "out.zip")
    assert "adapter_model.safetensors" in zipfile.ZipFile(tmp_path / "out.zip").namelist()


def test_runs_plot_writes_the_losses_and_the_scores(answer_of, refused, trained, tmp_path):
    folder, run_id = trained
    options = ("--data-dir", folder)
    for name, begins in (("loss.png", b"\x89PNG"), ("loss.svg", b"<?xml")):
        done = answer_of("runs", "plot", run_id, "--to", tmp_path / name, *options)
        assert Path(done["file"]).read_bytes().startswith(begins)
    assert "png or .svg" in refused("runs", "plot", run_id, "--to", tmp_path / "loss.gif", *options)
    assert "evaluate it first" in refused("runs", "plot", run_id, "--scores", "--to", tmp_path / "x.png", *options)


@pytest.mark.slow
def test_runs_export_to_where_nothing_can_be_written_is_refused(refused, trained, tmp_path):
    folder, run_id = trained
    assert "cannot be written" in refused(
        "runs", "export", run_id, "--to", tmp_path / "no" / "x.zip", "--data-dir", folder
    )
    assert "cannot be written" in refused("runs", "export", run_id, "--to", tmp_path, "--data-dir", folder)


def test_runs_delete_takes_a_run_away(answer_of, refused, tmp_path):
    run_id = answer_of("train", "--preset", "smoke")["run_id"]
    assert answer_of("runs", "delete", run_id)["run_id"] == run_id
    assert answer_of("runs", "list") == {"runs": []}
    assert not (tmp_path / "data" / "runs" / run_id).exists()
    assert "There is no run" in refused("runs", "show", run_id)


@pytest.mark.parametrize("odd", ["nope", "../runs", "", "%s"])
def test_a_run_that_there_is_not_is_refused_by_every_command(refused, trained, odd, tmp_path):
    folder, _ = trained
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"instruction": "a"}])
    for arguments in (
        ["runs", "show", odd],
        ["runs", "delete", odd],
        ["runs", "export", odd, "--to", tmp_path / "x.zip"],
        ["train", "--resume=" + odd],
        ["evaluate", "--run", odd],
        ["generate", "--run", odd, "--prompts", prompts],
    ):
        if odd or arguments[0] != "train":
            assert "There is no run" in refused(*arguments, "--data-dir", folder)


# Beside another process


@contextlib.contextmanager
def held(folder):
    lock = DataLock(folder)
    try:
        yield
    finally:
        lock.release()


def test_a_second_process_that_would_write_reads_who_is_first(refused, tmp_path):
    with held(tmp_path / "data"):
        for arguments in (
            ["train", "--preset", "smoke"],
            ["lesson", "--preset", "smoke"],
            ["runs", "delete", "x"],
            ["evaluate", "--run", "x"],
        ):
            message = refused(*arguments)
            assert f"pid {os.getpid()}" in message
            assert str(tmp_path / "data") in message


def dump(folder):
    with contextlib.closing(sqlite3.connect(folder / "lab.sqlite")) as db:
        return list(db.iterdump())


def test_reading_beside_a_live_lab_changes_nothing(answer_of, tmp_path):
    with opened(tmp_path / "data") as lab:
        run = lab.store.create("at work", smoke().to_dict())
        lab.store.update(run.id, status="running", phase="training", step=3, total_steps=9)
        lab.store.add_metric(run.id, "train", 3, 0.5, {"loss": 1.0})
        before = dump(tmp_path / "data")
        (listed,) = answer_of("runs", "list")["runs"]
        shown = answer_of("runs", "show", run.id)
        answer_of("data")
        assert dump(tmp_path / "data") == before
        assert (listed["status"], shown["status"], shown["step"]) == ("running", "running", 3)
        assert shown["metrics"][0]["loss"] == 1.0
        # The lab can still write.
        lab.store.update(run.id, status="finished")
    (listed,) = answer_of("runs", "list")["runs"]
    assert listed["status"] == "finished"


def test_a_data_folder_that_cannot_be_one_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for arguments in (["runs", "list"], ["train", "--preset", "smoke"], ["data"]):
            assert str(tmp_path / "file") in refused(*arguments, "--data-dir", folder)


def test_a_history_that_is_none_is_refused_to_who_reads_and_put_aside_by_who_writes(refused, answer_of, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lab.sqlite").write_text("this is no database, and it is longer than a header " * 100)
    assert "lab.sqlite" in refused("runs", "list")
    trained = answer_of("train", "--preset", "smoke")
    assert [run["id"] for run in answer_of("runs", "list")["runs"]] == [trained["run_id"]]


# Wrong usage


@pytest.mark.parametrize(
    "line",
    [
        "", "dance", "train --preset slow", "train --fast", "runs", "runs show", "runs burn x", "runs export x",
        "evaluate", "evaluate --run x --limit 0", "evaluate --run x --limit many", "generate --run x",
        "score --predictions x", "mask --instruction x", "data --rows -1", "data --set",
    ],
)  # fmt: skip
def test_wrong_usage_ends_with_2(line, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*line.split(), "--json"])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage:" in err


@pytest.mark.parametrize("command", ["data", "mask", "train", "generate", "evaluate", "score", "lesson"])
def test_every_command_says_what_it_takes(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert "--data-dir" in output
    assert "--json" in output


def test_without_json_it_is_written_for_people(capsys):
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") > 5
    assert json.loads(out)["source"] == "bundled"


@pytest.mark.slow
def test_a_run_goes_on_from_another(answer_of, refused):
    first = answer_of("train", "--preset", "smoke", "--name", "tulip")["run_id"]
    second = answer_of("train", "--continue", first, "--set", "train.max_steps=2")
    assert second["steps"] == 2
    shown = answer_of("runs", "show", second["run_id"])
    assert (shown["parent"], shown["parent_name"], shown["config"]["model"]) == (first, "tulip", "tiny-random")
    assert "lora.r is 3 and not 16" in refused("train", "--continue", first, "--set", "lora.r=3")
    assert "nothing-there" in refused("train", "--continue", "nothing-there")
    with pytest.raises(SystemExit):
        main(["train", "--continue", first, "--resume", first])
