"""Data, the mask and the configuration, through the lab."""

import dataclasses
import functools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from labs import PATIENCE, opened, smoke, write_rows

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, HubError, ModelError, SettingsError

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


def test_data_tells_counts_that_add_up(lab):
    summary = lab.datasets.summary(HOST, smoke(), rows=3, model="tiny-random")
    assert set(summary) >= {"source", "rows_loaded", "ledger", "train_rows", "test_rows", "fingerprint", "licence"}
    left = summary["rows_loaded"]
    for entry in summary["ledger"]:
        assert entry["kept"] + entry["dropped"] == left
        left = entry["kept"]
    assert summary["train_rows_before_limit"] + summary["test_rows"] == left
    assert summary["train_rows"] == 16
    assert (len(summary["train"]), len(summary["test"])) == (3, 3)
    assert summary["train"][0] == dataclasses.asdict(lab.datasets.training_row(HOST, smoke(), 0))
    assert summary["test"][2] == dataclasses.asdict(lab.datasets.held_out_row(HOST, smoke(), 2))
    assert json.loads(json.dumps(summary)) == summary


def test_token_lengths_are_those_of_the_rows(lab):
    lengths = lab.datasets.summary(HOST, smoke(), model="tiny-random")["token_lengths"]
    rows = [lab.datasets.training_row(HOST, smoke(), index) for index in range(16)]
    masks = [
        lab.datasets.mask(HOST, smoke(train={"max_length": 5000}), row.instruction, row.input, row.output)
        for row in rows
    ]
    counts = [len(mask["input_ids"]) for mask in masks]
    assert (lengths["total"], lengths["max"], lengths["mean"]) == (sum(counts), max(counts), sum(counts) / 16)
    assert lengths["prompt_mean"] == sum(mask["prompt_length"] for mask in masks) / 16


def test_a_tokenizer_on_its_way_keeps_nobody_waiting_whose_own_is_here(lab, monkeypatch):
    from instruct_tune.pretrained import tokenizer_files

    requested, arrived = threading.Event(), threading.Event()

    def slowly(model, loading):
        requested.set()
        assert arrived.wait(PATIENCE)
        raise ModelError("it never came")

    expected = lab.datasets.mask(HOST, smoke(), "Say it", "", "yes")
    monkeypatch.setattr(tokenizer_files, "tokenizer_folder", slowly)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(lab.tokenizers.get, "somebody/large")
        assert requested.wait(PATIENCE)
        try:
            assert pool.submit(lab.datasets.mask, HOST, smoke(), "Say it", "", "yes").result(PATIENCE) == expected
            assert not waiting.done()
        finally:
            arrived.set()
        with pytest.raises(ModelError, match="never came"):
            waiting.result(PATIENCE)


def test_a_page_of_rows(lab):
    config = smoke()
    whole = lab.datasets.preview(HOST, config, rows=16)["rows"]
    assert lab.datasets.preview(HOST, config, rows=5, offset=10)["rows"] == whole[10:15]
    assert lab.datasets.preview(HOST, config, rows=5, offset=14)["rows"] == whole[14:]
    assert lab.datasets.preview(HOST, config, rows=5, offset=100)["rows"] == []
    assert lab.datasets.preview(HOST, config, rows=1, part="test")["rows"] == [
        dataclasses.asdict(lab.datasets.held_out_row(HOST, config, 0))
    ]
    assert lab.datasets.preview(HOST, config)["fingerprint"] == lab.datasets.summary(HOST, config)["fingerprint"]
    for rows, offset in ((-1, 0), (201, 0), (5, -1), ("5", 0), (5, None), (1.5, 0)):
        with pytest.raises(DataError, match="rows must be"):
            lab.datasets.preview(HOST, config, rows, offset)


@pytest.mark.parametrize("index", [-1, 16, 10_000])
def test_a_row_beyond_the_last_is_an_error(lab, index):
    with pytest.raises(DataError, match="from 1 to 16"):
        lab.datasets.training_row(HOST, smoke(), index)
    with pytest.raises(DataError, match="held-out"):
        lab.datasets.held_out_row(HOST, smoke(), -1)


def test_a_file_that_changed_is_read_again(lab, tmp_path):
    rows = [{"instruction": f"Do {n}", "output": "x"} for n in range(10)]
    config = smoke(data={"source": write_rows(tmp_path / "rows.json", rows)})
    first = lab.datasets.summary(HOST, config)
    assert lab.datasets.splits(config.data) is lab.datasets.splits(config.data)
    os.utime(write_rows(tmp_path / "rows.json", rows * 2), (1, 1))
    second = lab.datasets.summary(HOST, config)
    assert (first["rows_loaded"], second["rows_loaded"]) == (10, 20)
    assert first["fingerprint"] != second["fingerprint"]


def test_the_mask_is_what_the_trainer_gets(lab):
    mask = lab.datasets.mask(HOST, smoke(), "Say hi", "", "hi")
    prompt = "### Instruction:\nSay hi\n\n### Response:\n"
    assert mask["prompt_length"] == len(prompt)
    assert (mask["supervised"], mask["truncated"]) == (3, 0)
    assert mask["labels"] == [-100] * len(prompt) + mask["input_ids"][-3:]
    assert mask["tokens"][-3:] == ["h", "i", "<|im_end|>"]
    cut = lab.datasets.mask(HOST, smoke(train={"max_length": len(prompt) + 1}), "Say hi", "", "hi")
    assert (cut["supervised"], cut["truncated"], cut["tokens"][-1]) == (1, 2, "h")
    with pytest.raises(DataError, match="input must be"):
        lab.datasets.mask(HOST, smoke(), "Say hi", None, "hi")


WRONG = {"lora": {"r": 0}, "train": {"learning_rate": "fast", "epochs": 3}, "data": {"test_size": 2}}


def test_every_problem_of_a_configuration_is_named_at_once(lab):
    for call in (
        lab.configs.read,
        lab.training.start,
        lab.datasets.summary,
        lab.datasets.preview,
        functools.partial(lab.datasets.mask, instruction="a"),
    ):
        with pytest.raises(SettingsError) as caught:
            call(HOST, WRONG)
        for name in ("lora.r", "train.learning_rate", "train.epochs", "data.test_size"):
            assert name in str(caught.value)
    assert lab.runs.summaries(HOST) == []


@pytest.mark.parametrize(
    "given", [[], "quick", 5, {"data": []}, {"template": "nope"}, {"template": {"without_input": "x"}}]
)
def test_what_is_no_configuration_is_refused(lab, given):
    with pytest.raises(SettingsError):
        lab.training.start(HOST, given)
    assert lab.runs.summaries(HOST) == []


@pytest.mark.parametrize("source", ["x" * 300, "a\0b", "/", "~", "hub:", "hub:x", "..", "\ud800"])
@pytest.mark.parametrize("local", [True, False])
def test_an_odd_source_is_refused_in_a_sentence(tmp_path, source, local):
    with opened(tmp_path, local_paths=local) as lab, pytest.raises((DataError, SettingsError)):
        lab.datasets.summary(HOST, {"data": {"source": source}})


@pytest.mark.parametrize("model", ["x" * 300, "a\0b", "/", "..", "a/b/c", "", "\ud800"])
@pytest.mark.parametrize("local", [True, False])
def test_an_odd_model_is_refused_in_a_sentence(tmp_path, model, local):
    with opened(tmp_path, local_paths=local) as lab, pytest.raises((ModelError, SettingsError, HubError)):
        lab.datasets.mask(HOST, {"model": model}, "a", "", "b")
