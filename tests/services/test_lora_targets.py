"""Target modules as PEFT reads them: names, path suffixes, whole paths, and regular expressions with a time limit."""

from __future__ import annotations

import re

import pytest
from adapters import adapted, one_sentence
from at_night import at_night_after
from labs import PATIENCE, cache_for, opened, smoke
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from tiny_lab import RUN, tiny, tiny_with, toy

from instruct_tune.config.run_config import LoraSettings, RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, LabError, ModelError, SettingsError
from instruct_tune.models import lora
from instruct_tune.models.lora_targets import adapted_width, layer_names, linear_paths, names_of, resolve_targets
from instruct_tune.text import regex_search
from instruct_tune.ui.form import _modules

SOME = ["q_proj", "self_attn.q_proj", "1.mlp.up_proj", "model.layers.0.mlp.down_proj", "proj", "elf_attn.q_proj"]
PATTERN = r".*\.1\.(self_attn\.(q|v)|mlp\.down)_proj"


def linear(base):
    return linear_paths(base)


@pytest.mark.parametrize("name", SOME)
def test_a_name_stands_for_what_it_stands_for_in_peft(name):
    config = LoraConfig(target_modules=[name])
    for path in linear(tiny().base):
        assert (name in set(names_of(path))) == bool(check_target_module_exists(config, path))


@pytest.mark.parametrize(
    "targets",
    [
        ("self_attn.q_proj",), ("0.mlp.up_proj", "v_proj"), "model.layers.1.self_attn.k_proj",
        PATTERN, ".*_proj", ".*q_pro.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("beside_another", [False, True])
def test_the_adapter_sits_where_the_targets_say(targets, beside_another):
    loaded = tiny_with() if beside_another else tiny()
    lora.attach(loaded, "wanted", LoraSettings(r=4, target_modules=targets), seed=1)
    paths = adapted(loaded.base, "wanted")
    if isinstance(targets, str):
        assert paths == [path for path in linear(tiny().base) if re.fullmatch(targets, path)]
    else:
        assert paths == [path for path in linear(tiny().base) if path.endswith(tuple(f".{name}" for name in targets))]
    trainable = sum(p.numel() for name, p in loaded.model.named_parameters() if ".wanted." in name)
    assert trainable == 4 * adapted_width(tiny().base, targets)


@pytest.mark.parametrize("kind", ["gpt2", "opt", "gpt_neox"])
def test_a_pattern_finds_the_layers_of_other_architectures(kind):
    loaded = toy(kind)
    first = next(path for path in linear(loaded.base))
    lora.attach(loaded, RUN, LoraSettings(r=4, target_modules=re.escape(first)), seed=1)
    assert adapted(loaded.base, RUN) == [first]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (".*nothing", "The model has no module named .*nothing that LoRA can adapt"),
        (("mlp.q_proj",), "The model has no module named mlp.q_proj that LoRA can adapt"),
        (("proj",), "The model has no module named proj that LoRA can adapt"),
        (".*", "also matches model, which LoRA cannot adapt here"),
        (".*(q_proj|head)", "also matches lm_head, which"),
        (".*(q_proj|embed_tokens)", "also matches model.embed_tokens, which"),
        (".*layernorm", "also matches model.layers.0.input_layernorm, which"),
    ],
)
def test_targets_that_name_nothing_or_too_much_are_refused_in_a_sentence(targets, words):
    loaded = tiny()
    with pytest.raises(ModelError) as caught:
        lora.attach(loaded, RUN, LoraSettings(target_modules=targets), seed=1)
    assert words in one_sentence(caught.value)
    assert lora.names(loaded) == []


def test_a_hostile_pattern_is_given_up(monkeypatch):
    monkeypatch.setattr(regex_search, "SECONDS", 1.0)
    with pytest.raises(DataError, match="was given up after 1 seconds"):
        resolve_targets(tiny().base, r"(([\w.])+)+!")


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ("(", "is no regular expression"),
        ("a" * 501, "at most 500 characters"),
        (["x"] * 10_001, "at most 10,000 are allowed"),
    ],
)
def test_settings_refuse_what_is_no_pattern(targets, words):
    with pytest.raises(SettingsError, match=words):
        RunConfig.from_dict({"lora": {"target_modules": targets}})


@pytest.mark.parametrize(
    ("shown", "read"),
    [
        ("auto", "auto"),
        ("all-linear", "all-linear"),
        ("q_proj, self_attn.v_proj", ["q_proj", "self_attn.v_proj"]),
        (r".*\.\d{1,2}\.q_proj", r".*\.\d{1,2}\.q_proj"),
        (" (q|v)_proj ", "(q|v)_proj"),
    ],
)
def test_the_form_reads_a_pattern_as_one(shown, read):
    assert _modules(shown) == read


def test_targets_of_single_layers_are_timed_on_all():
    paths = ("model.layers.7.self_attn.q_proj", "model.layers.9.mlp.up_proj")
    assert layer_names(paths, paths) == layer_names(".*x", paths) == ("q_proj", "up_proj")
    assert [layer_names(each, paths) for each in ("auto", "all-linear", ("k_proj",))] == [
        "auto",
        "all-linear",
        ("k_proj",),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("targets", at_night_after(1, [PATTERN, ["model.layers.1.mlp.up_proj"], ["self_attn.o_proj"]]))
def test_a_run_on_some_layers_can_be_priced_trained_and_continued(tmp_path, tmp_path_factory, monkeypatch, targets):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    config = smoke(lora={"target_modules": targets, "r": 2, "use_rslora": True}, train={"max_steps": 2})
    with opened(tmp_path) as lab:
        cost = lab.estimates.cost(HOST, config)
        parent = lab.training.start(HOST, config)
        assert lab.training.wait(parent, PATIENCE).status == "finished", lab.store.get(parent).message
        details = lab.runs.details(HOST, parent)
        assert cost["trainable_parameters"] == details["facts"]["trainable_parameters"] > 0
        assert cost["seconds"]["total"] > 0
        child = lab.training.start(HOST, {"train": {"max_steps": 1}}, parent=parent)
        assert lab.training.wait(child, PATIENCE).status == "finished", lab.store.get(child).message
        last = [m["probe_loss"] for m in details["metrics"] if m["kind"] == "probe"][-1]
        assert lab.runs.metrics(HOST, child)[0]["probe_loss"] == pytest.approx(last, rel=1e-6)
        with pytest.raises(LabError, match=r"lora\.use_rslora is False and not True"):
            lab.training.start(HOST, {"lora": {"use_rslora": False}}, parent=parent)
