"""The commands data and mask, and how settings reach every command."""

import pytest
from commands import CODE_ALPACA, _folders, answer_of, refused, run, write_json, write_lines

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
