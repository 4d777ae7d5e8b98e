"""A tokenizer with more tokens than the model has embeddings: reported at load and per row, never an IndexError."""

import shutil

import pytest
from labs import PATIENCE, finished, smoke, write_rows
from tiny_lab import quiet, toy

from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import Example
from instruct_tune.errors import ModelError
from instruct_tune.models.base_model import load_model
from instruct_tune.pretrained.locate import locate
from instruct_tune.tokenization.vocabulary import check_rows, check_special_tokens, embedded_tokens

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")

TINY = 259
"""Tokens of the tiny model."""


@pytest.fixture
def changed(tmp_path):
    """The tiny model in a folder of its own, its tokenizer changed and its embedding not."""

    def make(change):
        from transformers import AutoTokenizer

        folder = tmp_path / "model"
        shutil.copytree(locate("tiny-random", quiet).path, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        change(tokenizer)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


def with_tool(tokenizer):
    tokenizer.add_tokens(["<tool>"])


ROWS = [{"instruction": f"Say {n}", "input": "", "output": f"<tool>{n}" if n % 4 == 3 else str(n)} for n in range(40)]


def test_rows_with_an_added_token_end_a_run_in_a_sentence_that_counts_them(lab, changed, tmp_path):
    data = {"source": write_rows(tmp_path / "rows.json", ROWS), "limit": None}
    run_id = lab.training.start(HOST, smoke(model=changed(with_tool), data=data))
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind) == ("failed", "model")
    train = lab.datasets.summary(HOST, smoke(data=data), rows=40)["train"]
    holding = [number for number, row in enumerate(train, 1) if "<tool>" in row["output"]]
    assert run.message.startswith(
        f"The tokenizer has tokens that the model does not know (<tool>; it knows {TINY}), and {len(holding)} of 32 "
        f"rows hold them, the first is row {holding[0]}: use the tokenizer that belongs to the model"
    )


def test_rows_without_the_token_train_and_a_prompt_with_it_is_refused(lab, changed):
    run_id = finished(lab, smoke(model=changed(with_tool), train={"max_steps": 1}))
    assert lab.inference.generate(HOST, run_id, [{"instruction": "Hi"}])
    with pytest.raises(
        ModelError, match=r"\(<tool>; it knows 259\), and 1 of 2 prompts hold them, the first is prompt 2"
    ):
        lab.inference.generate(HOST, run_id, [{"instruction": "Hi"}, {"instruction": "<tool>"}])
    with pytest.raises(ModelError, match="2 of 2 prompts"):
        list(lab.inference.compare(HOST, run_id, "<tool>"))
    with pytest.raises(ModelError, match="1 of 1 rows"):
        lab.inference.token_losses(HOST, run_id, Example("Hi", "", "<tool>"))


def test_an_eos_that_the_model_does_not_know_is_refused_at_load(changed):
    def other_eos(tokenizer):
        tokenizer.add_special_tokens({"eos_token": "<done>"})

    with pytest.raises(ModelError, match=r"token '<done>' is number 259, and the model knows 259 tokens"):
        load_model(changed(other_eos), quiet)


def test_padding_that_the_model_does_not_know_becomes_eos(changed):
    loaded = load_model(changed(lambda tokenizer: tokenizer.add_special_tokens({"pad_token": "<pad>"})), quiet)
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == 2


def test_a_chat_template_with_unknown_markup_is_reported_at_load(changed, lab):
    def other_markup(tokenizer):
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
        tokenizer.chat_template = "<|user|>{{ messages[0].content }}"

    messages = []
    folder = changed(other_markup)
    load_model(folder, messages.append)
    assert messages[-1] == ("The model has no embedding for <|user|> of its chat template: choose another template.")
    run = lab.training.wait(lab.training.start(HOST, smoke(model=folder, template="chat")), PATIENCE)
    assert "and 16 of 16 rows hold them, the first is row 1" in run.message
    finished(lab, smoke(model=folder, train={"max_steps": 1}))


@pytest.mark.parametrize("model_type", ["llama", "opt", "gpt2", "gpt_neox", "gemma3_text"])
def test_the_size_is_what_the_model_reads_and_predicts(model_type):
    loaded = toy(model_type)
    assert loaded.vocabulary == embedded_tokens(loaded.base) == loaded.base.config.vocab_size
    check_rows(loaded.tokenizer, loaded.vocabulary, [[0, loaded.vocabulary - 1]])
    with pytest.raises(ModelError, match="1 of 2 rows hold them, the first is row 2"):
        check_rows(loaded.tokenizer, loaded.vocabulary, [[0], [1, loaded.vocabulary]])


def test_an_embedding_that_is_larger_than_the_tokenizer_is_fine(changed):
    """Many models round the size of their embedding up."""
    larger = toy("llama", vocab_size=TINY + 61)
    assert larger.vocabulary == TINY + 61
    assert check_special_tokens("larger", larger.tokenizer, larger.vocabulary) is None
