"""The trainer restores everything that it changes on the shared model, however the run ends."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from tiny_lab import (
    SIX_STEPS,
    Recorder,
    go,
    light,  # noqa: F401
    tiny_with,
)

from instruct_tune.errors import DivergedError
from instruct_tune.models import lora


def state_of(loaded) -> dict:
    """All state that a trainer may change on the shared model."""
    base, tokenizer = loaded.base, loaded.tokenizer
    return copy.deepcopy(
        {
            "config": base.config.to_dict(),
            "configured": {k: v for k, v in vars(base.config).items() if isinstance(v, int | str | bool | None)},
            "use_cache": base.config.use_cache,
            "generation": base.generation_config.to_dict(),
            "tokenizer": (tokenizer.padding_side, tokenizer.special_tokens_map, len(tokenizer), tokenizer.eos_token_id),
            "own forwards": [name for name, module in base.named_modules() if "forward" in vars(module)],
            "hooks": [name for name, module in base.named_modules() if module._forward_pre_hooks],
            "training": [name for name, module in loaded.model.named_modules() if module.training],
            "gradients": [name for name, p in loaded.model.named_parameters() if p.grad is not None],
            "threads": torch.get_num_threads(),
            "gradients are kept": torch.is_grad_enabled(),
        }
    )


@pytest.mark.parametrize("how", ["finished", "stopped", "diverged", "failed"])
def test_the_trainer_gives_back_what_it_borrows(tmp_path, monkeypatch, how):
    loaded = tiny_with()
    # Ids that differ from the tokenizer's, which the trainer would align.
    loaded.base.config.pad_token_id = None
    loaded.base.config.eos_token_id = 7
    loaded.base.generation_config.pad_token_id = 9
    loaded.base.generation_config.eos_token_id = [2, 7]
    loaded.base.generation_config.bos_token_id = None
    loaded.model.eval()
    before = state_of(loaded)
    seen = []
    watcher = Recorder(stop_after=2 if how == "stopped" else None, between=lambda step: seen.append(state_of(loaded)))
    settings = replace(SIX_STEPS, learning_rate=3e37) if how == "diverged" else SIX_STEPS
    if how == "failed":
        monkeypatch.setattr(lora, "save", lambda *args: 1 / 0)
    try:
        _, result = go(loaded, tmp_path, settings, watcher)
        assert how == ("stopped" if result.stopped else "finished")
    except DivergedError:
        assert how == "diverged"
    except ZeroDivisionError:
        assert how == "failed"
    assert state_of(loaded) == before
    # The trainer did change them; otherwise this test could not fail.
    assert seen[0]["own forwards"] != before["own forwards"]
    assert seen[0]["generation"] != before["generation"]
    assert seen[0]["configured"] != before["configured"]
    assert seen[-1]["training"] != before["training"]
