"""Which device computes and in which precision; the tests replace torch's queries about the GPU."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from instruct_tune.config.run_config import TrainSettings
from instruct_tune.errors import SettingsError
from instruct_tune.models.base_model import best_device, weights_dtype
from instruct_tune.ui import first_preset
from instruct_tune.util import device

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that computes as the CPU does, or fails with an error; with bfloat16 units, or only emulating them."""
    ones = torch.ones

    def has(bf16: bool = True, error: Exception | None = None) -> None:
        def on_gpu(*shape, **options):
            if error:
                raise error
            return ones(*shape)

        monkeypatch.setattr(torch, "ones", on_gpu)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla K80")
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )

    monkeypatch.delenv("LAB_DEVICE", raising=False)
    device.gpu_computes.cache_clear()
    yield has
    device.gpu_computes.cache_clear()


def test_without_a_gpu_the_cpu_computes_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device() == "cpu"
    assert weights_dtype("auto") is torch.float32


def test_a_gpu_that_computes_is_used(gpu):
    gpu()
    assert best_device() == "cuda"


def test_a_gpu_without_kernels_is_found_out_once_and_logged(gpu, caplog):
    gpu(error=torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device\nCompile…"))
    with caplog.at_level(logging.WARNING, "instruct_tune"):
        assert [best_device(), best_device()] == ["cpu", "cpu"]
    (record,) = caplog.records
    assert "Tesla K80" in record.getMessage()
    assert "no kernel image is available for execution on the device." in record.getMessage()
    assert weights_dtype("auto") is torch.float32


def test_a_gpu_that_is_full_for_the_moment_is_still_used(gpu):
    gpu(error=torch.OutOfMemoryError("CUDA out of memory"))
    assert best_device() == "cuda"


def test_a_person_may_choose_the_cpu_and_no_trial_is_made(gpu, monkeypatch):
    gpu(error=AssertionError("tried"))
    monkeypatch.setenv("LAB_DEVICE", "cpu")
    assert best_device() == "cpu"
    assert weights_dtype("auto") is torch.float32


@pytest.mark.parametrize(
    ("bf16", "settings", "weights"),
    [
        (True, {}, torch.bfloat16),
        (True, {"fp16": False}, torch.bfloat16),
        (True, {"fp16": True}, torch.float32),
        (True, {"bf16": False}, torch.float32),
        (False, {}, torch.float32),
        (False, {"fp16": True}, torch.float32),
        (False, {"bf16": True}, torch.bfloat16),
    ],
)
def test_weights_are_bfloat16_where_the_gpu_computes_in_it_and_the_run_does_not_in_float16(
    gpu, bf16, settings, weights
):
    gpu(bf16)
    assert weights_dtype(TrainSettings(**settings).bf16_weights) is weights


def test_a_run_says_by_its_settings_which_weights_it_wants():
    assert TrainSettings().bf16_weights == "auto"
    assert TrainSettings(bf16=True).bf16_weights is True
    assert TrainSettings(bf16=False, fp16=True).bf16_weights is False


@pytest.mark.parametrize(("choice", "preset"), [("", "quick"), ("cpu", "minute")])
def test_the_page_begins_with_what_the_device_that_computes_can_do(monkeypatch, choice, preset):
    monkeypatch.setenv("LAB_DEVICE", choice)
    monkeypatch.setattr(Path, "exists", lambda path: True)
    assert first_preset.first_preset() == preset


@pytest.mark.parametrize("value", ["gpu", "CPU", "cuda:1"])
def test_a_device_that_is_none_is_refused(value):
    with pytest.raises(SettingsError, match="LAB_DEVICE must be cpu, or auto"):
        device.check_device_choice({"LAB_DEVICE": value})


@pytest.mark.parametrize("environ", [{}, {"LAB_DEVICE": ""}, {"LAB_DEVICE": "auto"}, {"LAB_DEVICE": "cpu"}])
def test_devices_that_are_taken(environ):
    device.check_device_choice(environ)


@pytest.mark.parametrize("command", [["-m", "instruct_tune", "runs", "list"], ["app.py"]])
def test_a_wrong_choice_is_one_sentence_at_the_start(command, tmp_path):
    done = subprocess.run(
        [sys.executable, *command, "--data-dir", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"LAB_DEVICE": "tpu"}, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "LAB_DEVICE must be cpu" in done.stderr


def test_only_one_place_asks_torch_whether_there_is_a_gpu():
    asking = [
        str(file.relative_to(ROOT))
        for folder in ("instruct_tune", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if "cuda.is_available" in file.read_text() or "is_bf16_supported" in file.read_text()
    ]
    # The second is text of the scripts that people take along.
    assert set(asking) == {"instruct_tune/util/device.py", "instruct_tune/script/training.py"}
