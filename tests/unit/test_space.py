"""The block at the top of the README: how Hugging Face builds and starts the Space.

What the Hub accepts there was read in hub-docs of August 2026 (``spaces-config-reference.md``, ``spaces-oauth.md``,
``spaces-zerogpu.md``); 2.12.1 and 2.13.0 joined ZeroGPU's releases of PyTorch in September (hub-docs #2763).
"""

import re

import yaml
from huggingface_hub import SpaceHardware
from packaging.requirements import Requirement
from pyproject import ROOT

from instruct_tune.config.catalog import CODEALPACA_REPO, MODELS, TINY_MODEL
from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.pretrained.repository import is_text
from instruct_tune.pretrained.weight_files import SAFETENSORS

FRONT_MATTER = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
PINS = {
    pin.name: str(pin.specifier).removeprefix("==")
    for pin in map(Requirement, re.findall(r"^\w.*", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    if not pin.marker
}
KNOWN = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version", "suggested_hardware", "app_file",
    "app_build_command", "app_port", "base_path", "fullWidth", "header", "short_description", "models", "datasets",
    "tags", "thumbnail", "pinned", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes",
    "hf_oauth_authorized_org", "disable_embedding", "startup_duration_timeout", "custom_headers", "preload_from_hub",
    "license",
}  # fmt: skip
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
ZEROGPU_PYTHONS = {"3.10.13", "3.12.12"}
ZEROGPU_TORCHES = {"2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0"}


def test_the_hub_knows_every_key():
    assert set(FRONT_MATTER) <= KNOWN


def test_the_card_is_one_that_the_hub_takes():
    assert {FRONT_MATTER["colorFrom"], FRONT_MATTER["colorTo"]} <= COLOURS
    assert len(FRONT_MATTER["short_description"]) <= 60
    assert (ROOT / FRONT_MATTER["app_file"]).is_file()


def test_zerogpu_has_the_python_and_the_torch():
    """A YAML number would make 3.10 into 3.1."""
    assert isinstance(FRONT_MATTER["python_version"], str)
    assert FRONT_MATTER["python_version"] in ZEROGPU_PYTHONS
    assert PINS["torch"] in ZEROGPU_TORCHES
    assert FRONT_MATTER["suggested_hardware"] == SpaceHardware.ZERO_A10G.value


def test_the_sdk_is_the_pinned_gradio():
    """The Hub installs ``gradio`` by this key beside the requirements: another release would be a conflict."""
    assert (FRONT_MATTER["sdk"], FRONT_MATTER["sdk_version"]) == ("gradio", PINS["gradio"])


def test_the_hub_brings_what_it_manages_itself():
    """A pinned ``spaces`` would replace the platform's own."""
    assert PINS.keys().isdisjoint({"spaces", "huggingface_hub", "huggingface-hub"})


def test_the_default_model_is_there_before_the_start():
    """Its files by name, since the repository holds copies of the weights in other formats as well."""
    (entry,) = FRONT_MATTER["preload_from_hub"]
    repo, files = entry.split(" ")
    assert repo == DEFAULT_MODEL
    names = files.split(",")
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(names)
    assert [name for name in names if not is_text(name) and name not in SAFETENSORS] == []


def test_the_models_and_datasets_are_those_that_the_lab_offers():
    offered = [model.id for model in MODELS if model.id != TINY_MODEL]
    assert FRONT_MATTER["models"] == [name if "/" in name else f"openai-community/{name}" for name in offered]
    assert FRONT_MATTER["datasets"] == [CODEALPACA_REPO]


def test_signing_in_asks_for_reading_and_no_more():
    """``read-repos`` is the least with private repositories: ``gated-repos`` reads public ones only."""
    assert FRONT_MATTER["hf_oauth"] is True
    assert FRONT_MATTER["hf_oauth_scopes"] == ["read-repos"]


def test_the_time_to_start_is_a_duration():
    assert re.fullmatch(r"[1-9]\d*[mh]", FRONT_MATTER["startup_duration_timeout"])
