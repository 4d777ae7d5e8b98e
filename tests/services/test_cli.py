"""The commands that train, answer and score, as scripts use them, and wrong usage."""

import json
import signal
from pathlib import Path

import pytest
from commands import EVALUATION, REPORT, TRAIN, _folders, answer_of, refused, run, trained, write_lines
from labs import Pace, press_ctrl_c

from instruct_tune.cli.commands import main
from instruct_tune.config.presets import PRESETS
from instruct_tune.services.evaluations import Evaluations
from instruct_tune.services.training import Training

pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert done["status"] == done["train"]["status"] == "stopped"
    assert done["run_id"] == done["train"]["run_id"]
    assert done["evaluation"] is None


def test_a_run_that_fails_is_a_persons_problem(refused, tmp_path):
    assert "no module named nope" in refused("train", "--preset", "smoke", "--set", 'lora.target_modules=["nope"]')
    assert "There is no file" in refused("train", "--preset", "smoke", "--dataset", tmp_path / "missing.json")
    assert "neither a folder" in refused("train", "--preset", "smoke", "--model", "/nowhere/model")
    assert "No row fits" in refused("train", "--preset", "smoke", "--set", "train.max_length=8")


@pytest.mark.parametrize("more", [["--set", "train.learning_rate=1"], ["--preset", "smoke"], ["--name", "other"]])
def test_a_resume_takes_no_other_settings(refused, more):
    assert "keeps its own settings" in refused("train", "--resume", "any", *more)


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
    assert whole["status"] == "finished"
    assert set(whole["train"]) >= TRAIN
    assert set(whole["evaluation"]) >= EVALUATION
    assert whole["run_id"] == whole["train"]["run_id"] == whole["evaluation"]["run_id"]
    shown = answer_of("runs", "show", whole["run_id"])
    assert shown["name"] == "lesson one"
    assert len(shown["evaluations"]) == 1


def test_a_lesson_that_is_stopped_while_it_is_evaluated_says_so(run, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Evaluations, "stream", stopped)
    status, done = run("lesson", "--preset", "smoke")
    assert (status, done["status"], done["train"]["status"]) == (130, "stopped", "finished")
    assert done["evaluation"] is None


def test_the_lesson_without_a_preset_is_the_lesson(monkeypatch):
    configs = []
    monkeypatch.setattr(Training, "start", lambda self, viewer, config, name: configs.append(config) or exit(7))
    with pytest.raises(SystemExit, match="7"):
        main(["lesson"])
    with pytest.raises(SystemExit, match="7"):
        main(["lesson", "--preset", "quick"])
    with pytest.raises(SystemExit, match="7"):
        main(["train"])
    assert configs == [PRESETS["lesson"], PRESETS["quick"], PRESETS["quick"]]


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
