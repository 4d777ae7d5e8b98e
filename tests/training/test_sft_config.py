"""TRL gets what suits the device where the settings leave it open."""

import pytest
import torch

from instruct_tune.config.run_config import TrainSettings
from instruct_tune.training import activation_checkpointing
from instruct_tune.training.sft_config import _optimizer, _precision, sft_config

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """A GPU as far as arguments go; with ``bf16`` or only emulating it. TRL's own queries still see a CPU."""

    def has(bf16: bool) -> None:
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )

    return has


@pytest.mark.parametrize(
    ("device", "supported", "requested", "wanted"),
    [
        (CPU, True, {}, (False, False)),
        (GPU, True, {}, (True, False)),
        (GPU, False, {}, (False, True)),
        (GPU, True, {"bf16": False}, (False, False)),
        (GPU, True, {"fp16": True}, (False, True)),
        (GPU, False, {"bf16": True}, (True, False)),
        (GPU, False, {"fp16": False}, (False, False)),
        (CPU, False, {"bf16": True}, (True, False)),
        (CPU, False, {"fp16": True}, (False, False)),
    ],
)
def test_precision(gpu, device, supported, requested, wanted):
    gpu(supported)
    assert _precision(TrainSettings(**requested), device) == wanted


@pytest.mark.parametrize(
    ("device", "requested", "used"),
    [(CPU, "adamw_torch", "adamw_torch"), (GPU, "adamw_torch", "adamw_torch_fused"), (GPU, "sgd", "sgd")],
)
def test_adamw_is_one_kernel_on_a_gpu(device, requested, used):
    assert _optimizer(TrainSettings(optim=requested), device) == used


def test_no_layer_is_computed_twice_and_no_nan_is_hidden(tmp_path):
    config = sft_config(TrainSettings(), tmp_path, CPU)
    assert not getattr(config, activation_checkpointing.NAME)
    assert not config.gradient_checkpointing
    assert not config.logging_nan_inf_filter
    assert config.dataset_kwargs == {"skip_prepare_dataset": True}
