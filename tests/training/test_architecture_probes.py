"""Probes of an architecture: which models are causal, and whose answers can share a batch."""

from __future__ import annotations

import time

import pytest
import torch
from architectures import architecture
from tiny_lab import quiet, toy
from toys import toy_config
from transformers import AutoConfig, AutoModelForCausalLM

from instruct_tune.batching import packing_trial
from instruct_tune.batching.packing_mode import Packing
from instruct_tune.batching.packing_trial import detect_packing, is_causal, is_exact, small_random
from instruct_tune.compute.answer_work import stream_answers
from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.errors import ModelError
from instruct_tune.generation.generate import Request, generate, one_by_one
from instruct_tune.models import decoding_support as decoding_probe
from instruct_tune.models.base_model import load_model
from instruct_tune.models.decoding_support import DecodingSupport, beams_can_use_cache, detect_decoding_support
from instruct_tune.models.lora import BASE
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.services.answer_stream import AnswerStream

pytestmark = pytest.mark.usefixtures("one_thread", "no_deprecated_calls")

POSITIONS, MASK, PADDED = Packing.POSITIONS, Packing.MASK, Packing.PADDED

CAUSAL = {
    "llama": POSITIONS, "qwen3": POSITIONS, "olmo2": POSITIONS, "granite": POSITIONS, "starcoder2": POSITIONS,
    "cohere": POSITIONS, "phi": POSITIONS, "gemma3_text": POSITIONS, "gpt2": POSITIONS, "gpt_neox": POSITIONS,
    "gptj": POSITIONS, "codegen": POSITIONS, "stablelm": POSITIONS, "mixtral": POSITIONS, "opt": POSITIONS,
    "modernbert-decoder": POSITIONS, "biogpt": MASK, "falcon": MASK, "xglm": PADDED, "mpt": PADDED, "bart": PADDED,
    "openai-gpt": PADDED, "rwkv": PADDED, "falcon_mamba": PADDED, "recurrent_gemma": PADDED, "lfm2": PADDED,
    # It refuses an explicit mask.
    "bloom": PADDED,
    # The configuration derives its layer kinds from other fields, and they cannot be set.
    "mamba": PADDED,
    # One of its fields is infinite, which JSON cannot hold.
    "mamba2": PADDED,
}  # fmt: skip
"""Architectures that can be trained, and how their rows are packed."""

NOT_CAUSAL = [
    ("bert", {}), ("roberta", {}), ("xlm-roberta", {}), ("camembert", {}), ("electra", {}), ("ernie", {}),
    ("data2vec-text", {}), ("rembert", {}), ("roformer", {}), ("megatron-bert", {}), ("xlm", {}),
    ("llama", {"is_causal": False}), ("gpt2", {"is_causal": False}), ("qwen3", {"is_causal": False}),
    ("gemma3_text", {"use_bidirectional_attention": True}), ("gemma", {"use_bidirectional_attention": True}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def empty_caches():
    """Empty the probes' caches, so that each test probes anew and affects no other."""
    for cache in (packing_trial._SUPPORT, decoding_probe._SUPPORT, decoding_probe._CACHED_BEAM_SUPPORT):
        cache.clear()


# Causality


@pytest.mark.parametrize("model_type", CAUSAL)
def test_causal_architectures_pass_and_are_packed_as_before(model_type):
    traits = detect_packing(architecture(model_type))
    assert traits.causal is True
    assert traits.packing is CAUSAL[model_type]


@pytest.mark.parametrize(("model_type", "switches"), NOT_CAUSAL)
def test_a_model_that_sees_later_tokens_is_refused(model_type, switches):
    config = architecture(model_type, **switches)
    with pytest.raises(
        ModelError, match=rf"^This {model_type} model is not causal: .* choose a causal language model\.$"
    ):
        detect_packing(config)
    with pytest.raises(ModelError):  # the second time from the cache
        detect_packing(config)


@pytest.mark.parametrize("model_type", ["bert", "electra", "rembert"])
def test_an_encoder_configured_as_a_decoder_is_causal(model_type):
    config = architecture(model_type, is_decoder=True)
    assert detect_packing(config).causal is True
    assert detect_decoding_support(config).as_read


def test_a_window_that_looks_one_token_ahead_is_noticed(monkeypatch):
    model = small_random(architecture("llama"))
    plain = type(model).forward

    def ahead(self, input_ids, **kwargs):
        output = plain(self, input_ids=input_ids, **kwargs)
        output.logits = output.logits + output.logits.roll(-1, dims=1)
        return output

    assert is_causal(model)
    monkeypatch.setattr(type(model), "forward", ahead)
    assert not is_causal(model)


def test_a_roberta_folder_is_refused_when_it_is_loaded(tmp_path):
    folder = saved(tmp_path, "roberta")
    with pytest.raises(ModelError, match=r"^This roberta model is not causal"):
        load_model(str(folder), quiet)


def test_a_causal_folder_of_an_unlisted_architecture_is_loaded(tmp_path):
    assert load_model(str(saved(tmp_path, "stablelm")), quiet).packing is POSITIONS


@pytest.mark.parametrize(("model_type", "switches"), [("llama", {}), ("gpt2", {"is_causal": False})])
def test_where_no_small_model_can_be_made_the_model_itself_is_tried(tmp_path, monkeypatch, model_type, switches):
    def refused(config):
        raise ValueError("no such shape")

    monkeypatch.setattr(packing_trial, "small_random", refused)
    monkeypatch.setattr(decoding_probe, "small_random", refused)
    folder = saved(tmp_path, model_type, **switches)
    if switches:
        with pytest.raises(ModelError, match="not causal"):
            load_model(str(folder), quiet)
    else:
        loaded = load_model(str(folder), quiet)
        assert loaded.packing is PADDED
        assert one_by_one(loaded) is None


def test_a_model_that_does_not_run_is_refused_in_a_sentence(tmp_path):
    """X-MOD needs the language of each row."""
    with pytest.raises(ModelError, match=r"^This xmod model does not run on token ids alone \(.*\): choose"):
        load_model(str(saved(tmp_path, "xmod")), quiet)


def saved(folder, model_type, **switches):
    """A folder with a random model of the architecture and a tokenizer."""
    tokenizer = byte_tokenizer()
    config = architecture(model_type, vocab_size=len(tokenizer), **switches)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"


# Models whose rows in a batch affect each other


def test_a_model_whose_padded_rows_change_each_other_gets_one_row_a_pass(monkeypatch):
    model = small_random(architecture("bloom"))
    plain = type(model).forward

    def mixed(self, input_ids, **kwargs):
        output = plain(self, input_ids=input_ids, **kwargs)
        output.logits = output.logits + output.logits.mean(0, keepdim=True)
        return output

    assert packing_trial._exact_packing(model) is PADDED
    monkeypatch.setattr(type(model), "forward", mixed)
    assert not is_exact(model, PADDED)
    assert packing_trial._exact_packing(model) is Packing.ALONE
    assert detect_packing(architecture("bloom")).packing is Packing.ALONE


# Batched answers

ALONE = {"rwkv", "bart", "mbart", "pegasus", "trocr"}
BATCHED = {"llama", "gpt2", "opt", "mixtral", "bloom", "mpt", "xglm", "mamba", "falcon_mamba", "mamba2", "lfm2",
           "recurrent_gemma", "gptj", "openai-gpt"}  # fmt: skip
OWN_LOOP = {"llama", "gpt2", "opt", "mixtral", "lfm2", "recurrent_gemma"}
"""Architectures that the lab's own decoding loops run."""


@pytest.mark.parametrize("model_type", sorted(ALONE | BATCHED))
def test_whose_prompts_share_a_batch(model_type):
    expected = DecodingSupport(own_loop=model_type in OWN_LOOP, batches=model_type in BATCHED, as_read=True)
    assert detect_decoding_support(architecture(model_type)) == expected


def test_a_model_with_a_cache_of_its_own_is_decoded_by_the_library():
    assert detect_decoding_support(architecture("minimax")) == DecodingSupport(
        own_loop=False, batches=True, as_read=True
    )


@pytest.mark.parametrize(("model_type", "switches"), [("roberta", {"is_decoder": True}), ("xlm", {"causal": True})])
def test_a_model_that_answers_otherwise_than_it_reads_is_refused(model_type, switches):
    with pytest.raises(ModelError, match=f"^This {model_type} model computes other numbers when it answers"):
        detect_decoding_support(architecture(model_type, **switches))


PROMPTS = [(5, 6, 7, 8, 9, 10, 11), (40, 41, 42), (20, 21, 22, 23, 24)]


@pytest.mark.parametrize("model_type", ["rwkv", "bart", "llama", "mamba"])
@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_each_prompt_read_alone_without_a_cache(model_type, beams):
    loaded = loud(model_type)
    settings = GenerationSettings(max_new_tokens=8, num_beams=beams)
    answers = generate(loaded, [Request(prompt, BASE) for prompt in PROMPTS], settings)
    # The reference is the library alone: one prompt at a time, the whole text recomputed for each token.
    expected = [
        loaded.base.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            max_new_tokens=8,
            num_beams=beams,
            do_sample=False,
            use_cache=False,
            eos_token_id=loaded.tokenizer.eos_token_id,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )[0, len(prompt) :]
        for prompt in PROMPTS
    ]
    texts = [loaded.tokenizer.decode(ids, skip_special_tokens=True) for ids in expected]
    assert [answer.text for answer in answers] == texts
    assert len(set(texts)) > 1


def loud(model_type):
    """A toy model whose texts differ, with token logits further apart than rounding."""
    loaded = toy(model_type, **({"decoder_layers": 2, "d_model": 32} if model_type == "bart" else {}))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(7)
        for parameter in loaded.base.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.3)
    return loaded


@pytest.mark.parametrize(("model_type", "cached"), [("rwkv", False), ("mamba", True), ("bloom", True), ("llama", True)])
def test_beams_leave_out_a_cache_that_does_not_follow_them(model_type, cached):
    assert beams_can_use_cache(architecture(model_type)) is cached


def test_that_answers_are_decoded_alone_stands_beside_them():
    sentence = "In this architecture a batch changes the answers of its rows, so each answer is decoded alone."
    loaded = toy("rwkv")
    assert one_by_one(loaded) == sentence
    assert one_by_one(toy("llama")) is None
    stream = AnswerStream()
    stream.warn("First.")
    requests = [Request(PROMPTS[0], BASE), Request(PROMPTS[1], BASE)]
    stream_answers(loaded, requests, stream, GenerationSettings(max_new_tokens=2))
    news = []
    while not stream._news.empty():
        news.append(stream._news.get())
    assert {"warning": f"First. {sentence}"} in news


# Cost of the probes


def test_the_probes_of_a_toy_take_well_under_a_second():
    config = toy_config("llama")
    detect_packing(config), detect_decoding_support(config)
    packing_trial._SUPPORT.clear()
    decoding_probe._SUPPORT.clear()
    began = time.process_time()
    detect_packing(config), detect_decoding_support(config)
    assert time.process_time() - began < 0.6


def test_a_model_that_reads_images_too_is_shrunk_in_all_its_parts():
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    text = {**sizes, "num_key_value_heads": 2, "head_dim": 16, "num_hidden_layers": 12, "vocab_size": 600}
    config = AutoConfig.for_model(
        "gemma3", text_config=text, vision_config={**sizes, "num_hidden_layers": 9, "image_size": 28, "patch_size": 14}
    )
    small = small_random(config)
    read = small.config.get_text_config()
    assert (read.num_hidden_layers, read.vocab_size, read.sliding_window) == (2, 128, 6)
    assert small.config.vision_config.num_hidden_layers == 1
    assert set(read.layer_types) == {"sliding_attention", "full_attention"}
    assert (config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers) == (12, 9)
    assert detect_packing(config).packing is POSITIONS
