"""Scripts of toys of many architectures, run here: their losses and answers are those of the models themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from architectures import architecture
from script_runs import model_with, run_part
from transformers import AutoModelForCausalLM

from instruct_tune.config.run_config import RunConfig
from instruct_tune.pretrained.tiny_random import byte_tokenizer

pytestmark = pytest.mark.usefixtures("tiny_cache", "one_thread")


def trained(kind: str, tabs: tuple[str, ...], folder: Path, monkeypatch, generation=(), **fields) -> dict:
    """The names of a script that trains a toy of the architecture ``kind`` for one step, on all rows at once."""
    tokenizer = byte_tokenizer()
    model = model_with(tokenizer, folder / "model")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        made = AutoModelForCausalLM.from_config(architecture(kind, vocab_size=len(tokenizer), **fields))
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.dim() == 2:
                    parameter.normal_(std=0.3)
    made.save_pretrained(model)
    rows = [{"instruction": "Sum" + "?" * at, "input": "", "output": "a" * (1 + at % 5)} for at in range(10)]
    (folder / "rows.json").write_text(json.dumps(rows))
    config = RunConfig.from_dict({
        "model": str(model), "data": {"source": str(folder / "rows.json"), "filters": [], "test_size": 0.3},
        "template": {"without_input": "{instruction}:", "with_input": "{instruction}{input}"},
        "lora": {"lora_dropout": 0, "target_modules": "all-linear"},
        "train": {"max_steps": 1, "per_device_train_batch_size": 7, "save_strategy": "no", "recite_rows": 0},
        "generation": {"max_new_tokens": 8, **dict(generation)},
    })  # fmt: skip
    with torch.random.fork_rng():
        return run_part(config, ("data", "format", "train", *tabs), folder, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("mixtral", {"output_router_logits": True, "router_aux_loss_coef": 5.0}), ("recurrent_gemma", {}), ("llama", {})],
)
def test_the_loss_is_the_cross_entropy_of_the_models_own_logits(kind, fields, tmp_path, monkeypatch):
    here = trained(kind, (), tmp_path, monkeypatch, **fields)
    total, tokens = 0.0, 0
    with torch.no_grad(), here["model"].disable_adapter():
        for row in here["train_rows"]:
            logits = here["model"](input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
            labels = torch.tensor(row["labels"][1:])
            total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            tokens += (labels != -100).sum().item()
    # B is zero before the first step, so its loss is base's.
    assert here["losses"] == {1: pytest.approx(total / tokens, abs=1e-4)}


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(("kind", "together"), [("rwkv", 1), ("bart", 1), ("llama", 32)])
def test_prompts_are_answered_alone_where_a_batch_changes_answers(kind, together, beams, tmp_path, monkeypatch):
    here = trained(kind, ("compare",), tmp_path, monkeypatch, {"num_beams": beams})
    with torch.no_grad():
        expected = [
            here["model"]
            .generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
                max_new_tokens=8,
                num_beams=beams,
                early_stopping=False,
                do_sample=False,
                use_cache=False,
                eos_token_id=here["ENDS"],
                pad_token_id=here["tokenizer"].pad_token_id,
            )[0, len(prompt) :]
            .tolist()
            for prompt in here["prompts"]
        ]
    texts = [here["tokenizer"].decode(ids, skip_special_tokens=True) for ids in expected]
    assert [text for text, _ in here["tuned_answers"]] == texts
    assert len(set(texts)) > 1
    assert here["TOGETHER"] == together
    assert here.get("CACHED_BEAMS", True) == (kind != "rwkv" or beams == 1)
