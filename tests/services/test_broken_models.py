"""A model folder with a fault: the same one-sentence error in training, in the cost estimate and in the mask."""

import json
import math
import re
import shutil

import pytest
import torch
from at_night import at_night_after
from labs import PATIENCE, opened, smoke
from safetensors.torch import load_file, save_file

from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, LabError, ModelError
from instruct_tune.models.base_model import load_model
from instruct_tune.pretrained.context_length import context_of
from instruct_tune.pretrained.locate import locate

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer_config.json", "model.safetensors"
GENERATION = "generation_config.json"
EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"


@pytest.fixture
def folder(tmp_path):
    """A local copy of the tiny model."""
    return shutil.copytree(locate("tiny-random", print).path, tmp_path / "model")


def edited(name, **values):
    def spoil(folder):
        fields = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**fields, **values}))

    return spoil


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def recast(dtype):
    def spoil(folder):
        save_file({key: value.to(dtype) for key, value in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)

    return spoil


def indexed(content):
    def spoil(folder):
        (folder / WEIGHTS).unlink()
        (folder / f"{WEIGHTS}.index.json").write_text(content)

    return spoil


def other_shape(folder):
    save_file(load_file(folder / WEIGHTS) | {"model.norm.weight": torch.ones(3)}, folder / WEIGHTS, {"format": "pt"})


def without_vocabulary(folder):
    (folder / "tokenizer.json").unlink()


def needs_a_package(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    edited(TOKENIZER, tokenizer_class="LlamaTokenizer")(folder)


def cut_short(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def number_in_weights(key, value):
    """Set one number of the weight ``key`` to ``value``."""

    def spoil(folder):
        weights = load_file(folder / WEIGHTS)
        weights[key].view(-1)[-1] = value
        save_file(weights, folder / WEIGHTS, {"format": "pt"})

    return spoil


def as_pickle(spoil):
    """The same fault in a pytorch_model.bin, which the lab converts."""

    def spoil_pickle(folder):
        spoil(folder)
        torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
        (folder / WEIGHTS).unlink()

    return spoil_pickle


def quantised(method):
    return edited(CONFIG, quantization_config={"quant_method": method, "bits": 4})


TOKENIZERS = {
    "tokenizer config is a list": (written(TOKENIZER, "[]"), "holds no JSON object"),
    "tokenizer of another library": (edited(TOKENIZER, eos_token=5), "The tokenizer of .* cannot be loaded"),
    "tokenizer wants code": (
        edited(TOKENIZER, tokenizer_class="Q", auto_map={"AutoTokenizer": ["x.Q", None]}),
        "needs Python code from its repository",
    ),
    "no vocabulary": (without_vocabulary, "The tokenizer of .* cannot be loaded"),
    "a package is missing": (needs_a_package, "pip install tiktoken"),
    "a pointer for a tokenizer": (written("tokenizer.json", POINTER), "tokenizer.json of .* is a Git LFS pointer"),
    "config is a list": (written(CONFIG, "[]"), "config.json of .* holds no JSON object"),
    "config is cut": (written(CONFIG, "{"), "config.json of .* is damaged"),
    "config is nested too deeply": (written(CONFIG, "[" * 100_000), "config.json of .* is damaged"),
    "no heads": (edited(CONFIG, num_attention_heads=0, head_dim=None), "ZeroDivisionError"),
    "a text for a number": (edited(CONFIG, hidden_size="64"), "hidden_size"),
    "a type that is a list": (edited(CONFIG, model_type=["llama"]), "not what transformers expects"),
}
"""Faults that loading the tokenizer finds."""
MODELS = {
    "an unknown type": (edited(CONFIG, model_type="unheard-of"), "unheard-of"),
    "a model wants code": (
        edited(CONFIG, model_type="own", auto_map={"AutoConfig": "x.C", "AutoModelForCausalLM": "x.M"}),
        "needs Python code from its repository",
    ),
    "an encoder and a decoder": (edited(CONFIG, model_type="t5"), "Unrecognized configuration class"),
    "an unknown activation": (edited(CONFIG, hidden_act="unheard-of"), "unheard-of"),
    "a pad token beyond the embedding": (edited(CONFIG, pad_token_id=10_000), "Padding_idx"),
    "bitsandbytes": (quantised("bitsandbytes"), r"quantised \(bitsandbytes\)"),
    "gptq": (quantised("gptq"), r"quantised \(gptq\)"),
    "awq": (quantised("awq"), r"quantised \(awq\)"),
    "fp8, which transformers loads": (quantised("fp8"), r"quantised \(fp8\)"),
    "weights are fp8": (recast(torch.float8_e4m3fn), "as F8_E4M3"),
    "weights are int8": (recast(torch.int8), "as I8"),
    "the file is cut": (cut_short, "model.safetensors of .* is damaged"),
    "the header is garbage": (written(WEIGHTS, b"\xff" * 50), "model.safetensors of .* is damaged"),
    "the index is a list": (indexed("[]"), "holds no JSON object"),
    "the index names nothing": (indexed("{}"), "names no weights"),
    "a shard is missing": (
        indexed('{"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}'),
        "lacks model-00001-of-00001.safetensors",
    ),
    "no layers": (edited(CONFIG, num_hidden_layers=0), "has 0 layers, and a model has 1 to 1,000"),
    "fewer layers than none": (edited(CONFIG, num_hidden_layers=-1), "has -1 layers, and a model has 1 to 1,000"),
    "layers for minutes": (edited(CONFIG, num_hidden_layers=100_000), "has 100000 layers"),
    "no vocabulary in the model": (edited(CONFIG, vocab_size=0), "Padding_idx"),
    "less than no vocabulary": (edited(CONFIG, vocab_size=-1, pad_token_id=None), "negative dimension"),
    "a pointer for weights": (written(WEIGHTS, POINTER), "model.safetensors of .* is a Git LFS pointer"),
}
"""Faults that the cost estimate finds: it must not promise a run on such a model."""
ONLY_WHEN_LOADED = {
    "a weight of another shape": (other_shape, "has shape 3, and config.json makes it 64"),
    "a weight is NaN": (number_in_weights(NORM, math.nan), rf"not finite numbers \({NORM}\)"),
    "a weight is infinite": (number_in_weights(EMBEDDING, math.inf), rf"not finite numbers \({EMBEDDING}\)"),
    "a weight is minus infinity": (number_in_weights(EMBEDDING, -math.inf), rf"not finite numbers \({EMBEDDING}\)"),
    "a weight in a pickle is NaN": (as_pickle(number_in_weights(NORM, math.nan)), "not finite numbers"),
    "a number of the configuration is NaN": (edited(CONFIG, rms_norm_eps=math.nan), "computes numbers that are not"),
    "a root of a negative number": (edited(CONFIG, rms_norm_eps=-1e9), "computes numbers that are not finite"),
    "EOS is a text": (edited(GENERATION, eos_token_id="</s>"), "as eos_token_id, not '</s>'"),
    "EOS is a list with a text": (edited(GENERATION, eos_token_id=[2, "x"]), "as eos_token_id, not"),
    "EOS is true": (edited(GENERATION, eos_token_id=True), "as eos_token_id, not 'True'"),
    "a forced token beyond the vocabulary": (
        edited(GENERATION, forced_eos_token_id=10**6),
        "allows no answer: .*bounds",
    ),
    "forbidden words are a text": (edited(GENERATION, bad_words_ids="x"), "allows no answer: `bad_words_ids`"),
    "decoding by code": (edited(GENERATION, penalty_alpha=0.6, top_k=4), "needs Python code"),
    "an embedding of another shape": (edited(CONFIG, vocab_size=100), "has shape 259 × 64, and config.json makes"),
}


def sentence(error):
    text = str(error)
    assert "\n" not in text
    assert len(text) < 500
    return text


FAULTS = {**TOKENIZERS, **MODELS, **ONLY_WHEN_LOADED}


@pytest.mark.parametrize("fault", at_night_after(len(FAULTS) // 2, [*list(FAULTS)[::2], *list(FAULTS)[1::2]]))
def test_a_fault_is_one_sentence_wherever_it_shows(folder, tmp_path, fault):
    spoil, words = FAULTS[fault]
    spoil(folder)
    config = smoke(model=str(folder))
    with pytest.raises(ModelError, match=words) as caught:
        load_model(str(folder), print)
    message = sentence(caught.value)
    with opened(tmp_path / "lab") as lab:
        ways = [] if fault in ONLY_WHEN_LOADED else [lambda: lab.estimates.cost(HOST, config)]
        if fault in TOKENIZERS:
            ways.append(lambda: lab.datasets.mask(HOST, config, "a", "", "b"))
        for way in ways:
            with pytest.raises(ModelError) as caught:
                way()
            sentence(caught.value)
        ended = lab.training.wait(lab.training.start(HOST, config), PATIENCE)
        assert (ended.status, ended.error_kind, ended.message) == ("failed", "model", message)


@pytest.mark.parametrize("fault", ["gptq", "no heads", "the file is cut", "a pointer for a tokenizer"])
def test_the_command_line_says_it_in_a_line(folder, tmp_path, monkeypatch, capsys, fault):
    monkeypatch.setenv("LAB_DATA_DIR", str(tmp_path / "data"))
    spoil, words = {**TOKENIZERS, **MODELS}[fault]
    spoil(folder)
    for command in ("train", "cost"):
        assert main([command, "--preset", "smoke", "--model", str(folder), "--json"]) == 1
        out, err = capsys.readouterr()
        output = json.loads(out)
        assert output["kind"] == "model"
        assert re.search(words, output["error"])
        assert f"{command}: {output['error']}\n" in err
        assert "Traceback" not in err


def test_buffers_may_be_integers(folder):
    """Older checkpoints of GPT-2 carry their attention masks, as bytes or booleans."""
    mask = {"model.layers.0.self_attn.bias": torch.ones((1, 1, 4, 4), dtype=torch.bool)}
    save_file(load_file(folder / WEIGHTS) | mask, folder / WEIGHTS, {"format": "pt"})
    load_model(str(folder), print)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet"])
def test_a_pointer_for_a_dataset_is_called_that(tmp_path, name):
    (tmp_path / name).write_text(POINTER)
    with opened(tmp_path / "lab") as lab, pytest.raises(DataError, match=f"{name} is a Git LFS pointer") as caught:
        lab.datasets.summary(HOST, smoke(data={"source": str(tmp_path / name)}))
    assert "git lfs pull" in sentence(caught.value)


@pytest.mark.parametrize(("context", "binds"), [(8, "the model's context of 8 tokens"), (2048, "train.max_length 9")])
def test_rows_that_do_not_fit_name_the_limit_that_binds(folder, tmp_path, context, binds):
    edited(CONFIG, max_position_embeddings=context)(folder)
    config = smoke(model=str(folder), train={"max_length": 9})
    with opened(tmp_path / "lab") as lab:
        ended = lab.training.wait(lab.training.start(HOST, config), PATIENCE)
        assert (ended.status, ended.error_kind) == ("failed", "data")
        assert binds in ended.message
        for way in (lab.estimates.cost, lab.estimates.step_view):
            with pytest.raises(LabError) as caught:
                way(HOST, config)
            assert str(caught.value) == ended.message


@pytest.mark.slow
def test_the_cost_counts_the_rows_that_fit_into_the_context(folder, tmp_path):
    edited(CONFIG, max_position_embeddings=180)(folder)
    with opened(tmp_path / "lab") as lab:
        cost = lab.estimates.cost(HOST, smoke(model=str(folder)))
        run_id = lab.training.start(HOST, smoke(model=str(folder)))
        lab.training.wait(run_id, PATIENCE)
        result = lab.runs.result(HOST, run_id)
    assert cost["dropped"] > 0
    assert (cost["steps"], cost["tokens"]) == (result["steps"], result["tokens"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", at_night_after(3, ["mamba", "bloom", "gpt_neo", "rwkv", "recurrent_gemma"]))
def test_the_cost_is_known_of_architectures_with_other_layers(folder, tmp_path, kind):
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {
        "rwkv": {"num_hidden_layers": 2, "attention_hidden_size": 64, "intermediate_size": 128},
        "recurrent_gemma": {"num_hidden_layers": 3, "num_attention_heads": 4, "lru_width": 64, "intermediate_size": 64},
        "mamba": {"num_hidden_layers": 2, "state_size": 4},
        "bloom": {"n_layer": 2, "n_head": 4},
        "gpt_neo": {"num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]]},
    }[kind]
    tokens = {"vocab_size": 259, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    config = AutoConfig.for_model(kind, hidden_size=64, **small, **tokens)
    for file in (*folder.glob("*.safetensors"), folder / "generation_config.json"):
        file.unlink(missing_ok=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    targets = ["x_proj"] if kind == "mamba" else "all-linear"
    with opened(tmp_path / "lab") as lab:
        cost = lab.estimates.cost(HOST, smoke(model=str(folder), lora={"target_modules": targets}))
    assert cost["seconds"]["total"] > 0
    assert cost["memory"]["total"] > cost["parameters"]


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [("xlnet", 2**31), ("bloom", 2**31), ("opt", 2048), ("gpt2", 1024), ("mpt", 2048), ("gemma3", 131_072)],
)
def test_a_context_that_has_no_end_is_no_limit(kind, tokens):
    """XLNet's configuration holds -1, Bloom's no value, MPT's another key, Gemma 3's a value for its text part."""
    from transformers import AutoConfig

    assert context_of(AutoConfig.for_model(kind)) == tokens


@pytest.mark.parametrize(
    ("rope", "tokens"),
    [
        ({"rope_type": "default", "rope_theta": 1e4}, 131_072),
        ({"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}, 4096),
    ],
)
def test_longrope_counts_up_to_where_all_rows_of_a_pass_have_the_same_frequencies(rope, tokens):
    from transformers import AutoConfig

    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 131_072}
    config = AutoConfig.for_model(
        "phi3", **sizes, original_max_position_embeddings=4096, rope_parameters={"rope_theta": 1e4, **rope}
    )
    assert context_of(config) == tokens


@pytest.mark.parametrize(
    "values",
    at_night_after(
        5,
        [
            {"temperature": -1.0, "do_sample": True},
            {"num_beams": 0},
            {"num_beams": "x"},
            {"eos_token_id": 10**6},
            {"eos_token_id": [2, -1]},
            {"eos_token_id": []},
            {"num_return_sequences": 0},
            {"num_beam_groups": 2, "num_beams": 4},
            {"return_dict_in_generate": True},
            {"repetition_penalty": 0.0},
            {"stop_strings": ["never"]},
        ],
    ),
    ids=str,
)
def test_generation_defaults_that_the_lab_sets_itself_change_no_answer(folder, tmp_path, values):
    rows = [{"instruction": "Add 2 and 3."}]
    ways = [{}, {"do_sample": True}, {"num_beams": 2}]
    with opened(tmp_path / "lab") as lab:
        plain = [lab.inference.generate(HOST, "base", rows, smoke(model=str(folder)), way) for way in ways]
        edited(GENERATION, **values)(folder)
        lab.queue.submit_short(lambda: lab.models.__init__()).result(PATIENCE)
        assert [lab.inference.generate(HOST, "base", rows, smoke(model=str(folder)), way) for way in ways] == plain


def test_a_model_with_its_context_under_another_name_trains_and_answers(folder, tmp_path):
    """MPT raises on every input longer than its ``max_seq_len``."""
    from transformers import MptConfig, MptForCausalLM

    tokens = {"vocab_size": 259, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    for file in (*folder.glob("*.safetensors"), folder / GENERATION):
        file.unlink()
    config = MptConfig(d_model=32, n_heads=4, n_layers=2, expansion_ratio=2, max_seq_len=256, **tokens)
    MptForCausalLM(config).save_pretrained(folder)
    with opened(tmp_path / "lab") as lab:
        run_id = lab.training.start(HOST, smoke(model=str(folder), lora={"target_modules": "all-linear"}))
        run = lab.training.wait(run_id, PATIENCE)
        assert (run.status, run.message) == ("finished", f"Finished {run.total_steps} steps.")
        assert lab.runs.samples(HOST, run_id)
        with pytest.raises(DataError, match="does not fit into the model's context of 256"):
            lab.inference.generate(HOST, run_id, [{"instruction": "a" * 300}])
