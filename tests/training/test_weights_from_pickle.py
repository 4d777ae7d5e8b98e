"""A pickle of weights is converted once to safetensors; code in it is never run."""

import os
import pickle
import signal
import subprocess
import sys

import model_folders
import pytest
import torch
from model_folders import left_in, quiet, save_pickled, spoil_cut, spoil_empty, spoil_text, tiny_opt

from instruct_tune.errors import MemoryLimitError, ModelError
from instruct_tune.models.base_model import load_model
from instruct_tune.pretrained import locate as weights
from instruct_tune.pretrained.locate import locate
from instruct_tune.util import memory

pytestmark = pytest.mark.usefixtures("one_thread")

cache, reports = model_folders.cache, model_folders.reports


def test_a_pickle_is_converted_once_and_says_the_same(tmp_path, cache, reports):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    loaded = load_model(name, reports.append)
    assert "converting pytorch_model.bin to safetensors, once" in reports
    located = loaded.weights
    assert (located.model, located.source) == (name, "local folder")
    assert located.path.parent == cache
    assert list(located.path.glob("*.safetensors"))
    assert not list(located.path.glob("*.bin"))
    ids = torch.tensor([[5, 9, 200, 7, 7, 31]])
    with torch.no_grad():
        # The lab's linear layers may round otherwise than torch's own.
        assert torch.allclose(loaded.model(input_ids=ids).logits, model(input_ids=ids).logits, rtol=0, atol=1e-6)
    reports.clear()
    assert load_model(name, reports.append).weights == located
    assert not any("converting" in text for text in reports)
    assert not list((tmp_path / "opt").glob("*.safetensors")), "somebody's own folder is only read"


def test_a_pickle_that_changed_is_converted_again(tmp_path):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    first = locate(name, quiet)
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight += 1
    save_pickled(tmp_path / "opt", model.state_dict(), model)
    os.utime(tmp_path / "opt" / "pytorch_model.bin", (1, 1))
    second = locate(name, quiet)
    assert second.path != first.path
    assert second.sha256 != first.sha256


def test_a_pickle_whose_tokenizer_changed_is_converted_again(tmp_path):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    first = locate(name, quiet)
    (tmp_path / "opt" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    second = locate(name, quiet)
    assert second.path != first.path
    assert (second.path / "chat_template.jinja").is_file()
    assert locate(name, quiet) == second


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(tmp_path, cache, how):
    model, target = tiny_opt(), tmp_path / "owned"
    name = save_pickled(tmp_path / "opt", {**model.state_dict(), "extra": Evil(target)}, model)
    if how == "pickle":
        (tmp_path / "opt" / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(target)))
    try:
        locate(name, quiet)
    except ModelError as error:
        refusal = error
    else:
        pytest.fail("it was taken")
    finally:
        assert not target.exists()
        assert left_in(cache) == []
    assert "opt" in str(refusal)
    assert "\n" not in str(refusal)


@pytest.mark.parametrize("spoil", [spoil_cut, spoil_empty, spoil_text])
def test_a_damaged_pickle_is_refused_in_a_sentence(tmp_path, cache, spoil):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    spoil(tmp_path / "opt" / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        locate(name, quiet)
    assert "\n" not in str(caught.value)
    assert left_in(cache) == []


def test_a_pickle_that_lacks_weights_is_refused_and_names_one(tmp_path, cache):
    model = tiny_opt()
    state = model.state_dict()
    del state["model.decoder.layers.1.self_attn.q_proj.weight"]
    with pytest.raises(ModelError, match=r"lacks weights.*layers\.1\.self_attn\.q_proj\.weight"):
        locate(save_pickled(tmp_path / "opt", state, model), quiet)
    assert left_in(cache) == []


def short_of_memory(monkeypatch, bytes_free):
    monkeypatch.setattr(memory, "available_memory", lambda: bytes_free)


def test_a_pickle_that_does_not_fit_is_not_converted(tmp_path, cache, monkeypatch):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    size = (tmp_path / "opt" / "pytorch_model.bin").stat().st_size
    monkeypatch.setattr(weights, "read_model", lambda *a, **k: pytest.fail("it was loaded"))
    short_of_memory(monkeypatch, size - 1)
    with pytest.raises(MemoryLimitError, match="smaller model"):
        load_model(name, quiet)
    assert left_in(cache) == []


# Interrupted conversions


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError("disk full"), ModelError("no")])
def test_an_interrupted_conversion_leaves_nothing(cache, fault):
    def interrupted(target):
        (target / "config.json").write_text("{}")
        raise fault

    with pytest.raises(type(fault) if isinstance(fault, Exception) else fault):
        weights._converted("thing", interrupted)
    assert left_in(cache) == []
    assert weights._converted("thing", lambda target: (target / "whole").touch()) == cache / "thing"
    assert left_in(cache) == ["thing"]


KILLED = """
import os, signal
from instruct_tune.pretrained.locate import _converted

def make(target):
    (target / "config.json").write_text("{}")
    (target / "model.safetensors").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

_converted("tiny-random", make)
"""


def test_what_a_killed_conversion_left_is_not_taken_for_the_model(cache):
    done = subprocess.run([sys.executable, "-c", KILLED], check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert left_in(cache) != [], "or there is nothing to be mistaken about"
    assert not (cache / "tiny-random").exists()
    load_model("tiny-random", quiet)


def test_who_converts_at_the_same_time_uses_what_the_faster_one_made(cache):
    def slower(target):
        (target / "mine").touch()
        (cache / "thing").mkdir()
        (cache / "thing" / "theirs").touch()

    made = weights._converted("thing", slower)
    assert [path.name for path in made.iterdir()] == ["theirs"]
    assert left_in(cache) == ["thing"]
