"""Loading a tokenizer: a fault of it is one sentence wherever it is used."""

import json
import shutil

import pytest
from labs import opened, smoke

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import ModelError
from instruct_tune.models.base_model import load_model
from instruct_tune.pretrained.locate import locate
from instruct_tune.pretrained.token_counts import count_tokens_of
from instruct_tune.pretrained.tokenizers import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.fixture
def folder(tmp_path):
    """A local copy of the tiny model."""
    return shutil.copytree(locate("tiny-random", print).path, tmp_path / "model")


def without_eos(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def edited(**values):
    def spoil(folder):
        spec = json.loads((folder / "tokenizer.json").read_text()) | values
        (folder / "tokenizer.json").write_text(json.dumps(spec))

    return spoil


def panicking(folder):
    """The Rust code of tokenizers panics on it, which is no ``Exception`` in Python."""
    special = {"SpecialToken": {"id": "absent", "type_id": 0}}
    edited(post_processor={"type": "TemplateProcessing", "single": [special], "pair": [], "special_tokens": {}})(folder)


SPOILED = {
    "no EOS": (without_eos, "no end-of-sequence token"),
    "not JSON": (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json of .* is damaged"),
    "a list": (lambda folder: (folder / "tokenizer.json").write_text("[]"), "tokenizer.json of .* holds no JSON"),
    "a bare Exception": (edited(model={"type": "unheard-of"}), "The tokenizer of .* cannot be loaded"),
    "a panic": (panicking, "The tokenizer of .* cannot be loaded"),
    "no unknown token": (
        edited(model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "absent"}),
        "The tokenizer of .* cannot be loaded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_every_way_to_a_tokenizer_refuses_it_in_one_sentence(folder, tmp_path, name):
    spoil, words = SPOILED[name]
    spoil(folder)
    config = smoke(model=str(folder))
    with opened(tmp_path / "lab") as lab:
        ways = (
            lambda: load_tokenizer(str(folder), folder),
            lambda: load_model(str(folder), print),
            lambda: count_tokens_of(str(folder), ["a"]),
            lambda: lab.datasets.mask(HOST, config, "a", "", "b"),
            lambda: lab.datasets.summary(HOST, config, model=str(folder)),
            lambda: lab.datasets.report(HOST, config),
            lambda: lab.estimates.cost(HOST, config),
        )
        for way in ways:
            with pytest.raises(ModelError, match=words) as caught:
                way()
            assert "\n" not in str(caught.value)


def test_a_tokenizer_without_padding_pads_with_eos_on_the_left(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"padding_side": "right"}))
    tokenizer = load_tokenizer("some/model", folder)
    assert (tokenizer.pad_token_id, tokenizer.padding_side) == (tokenizer.eos_token_id, "left")
