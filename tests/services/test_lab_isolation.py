"""Cost estimates, tokenizers, reports, conversions and token views of other models change no bit of a run."""

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from labs import PATIENCE, cache_for, curve, finished, opened, smoke
from toys import toy_config
from transformers import AutoModelForCausalLM

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import LabError
from instruct_tune.pretrained.locate import locate
from instruct_tune.pretrained.tiny_random import byte_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
EIGHT_STEPS = smoke(
    lora={"lora_dropout": 0.1},
    train={"num_train_epochs": 4, "per_device_train_batch_size": 8, "probes": 2, "eval_strategy": "steps",
           "eval_steps": 3, "save_strategy": "no", "save_minutes": None},
)  # fmt: skip
THREADS = 8


def save(folder, name, dtype, binary, **changed):
    """Save a toy model with its tokenizer; ``binary``: as pytorch_model.bin, which must be converted to be used."""
    tokenizer = byte_tokenizer()
    config = toy_config(name, vocab_size=len(tokenizer), **changed)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if binary:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, "dtype": str(dtype).removeprefix("torch.")}))
    return str(folder)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    return (
        save(folder / "tied", "llama", torch.float32, True, tie_word_embeddings=True, max_position_embeddings=1024),
        save(folder / "half", "gpt2", torch.bfloat16, False, n_positions=1024),
        save(folder / "opt", "opt", torch.float32, True, max_position_embeddings=1024),
        save(folder / "neo", "gpt_neox", torch.float16, False, max_position_embeddings=1024),
    )


def questions(lab, others):
    """Endless page requests about the other models, one model after another."""
    for number, model in zip(itertools.count(), itertools.cycle(others)):
        targets = ("all-linear", "auto")[number % 2]
        config = smoke(model=model, lora={"target_modules": targets, "r": 1 + number % 7})
        yield lambda config=config: lab.estimates.cost(HOST, config)
        yield lambda config=config: lab.datasets.mask(HOST, config, "Say <|im_end|>", "", "Hello.")
        yield lambda config=config: lab.datasets.report(HOST, config)
        yield lambda config=config: lab.datasets.token_view(HOST, config, 0)
        yield lambda config=config: lab.estimates.step_view(HOST, config)
        length = {"step": "length", "unit": "tokens", "min": number % 3}
        yield lambda model=model, length=length: lab.datasets.summary(
            HOST, smoke(model=model, data={"filters": [length]})
        )
        yield lambda model=model: lab.queue.run(lambda: locate(model, lambda text: None))


def elsewhere(monkeypatch):
    """Record (thread, call) where a model is built or torch's global state is set outside the queue's thread."""
    seen = []

    def watch(owner, name):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            if threading.current_thread().name != "job-queue":
                seen.append((threading.current_thread().name, name))
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    watch(torch, "set_default_dtype")
    watch(torch, "manual_seed")
    watch(AutoModelForCausalLM, "from_config")
    watch(AutoModelForCausalLM, "from_pretrained")
    return seen


def disturbed(lab, others):
    """Train while eight threads send requests; return the run's curve and the number of answered requests."""
    requests, stop, lock = questions(lab, others), threading.Event(), threading.Lock()
    answered = []

    def ask():
        while not stop.is_set():
            with lock:
                request = next(requests)
            request()
            answered.append(1)

    run_id = lab.training.start(HOST, EIGHT_STEPS)
    with ThreadPoolExecutor(THREADS) as visitors:
        futures = [visitors.submit(ask) for _ in range(THREADS)]
        run = lab.training.wait(run_id, PATIENCE)
        stop.set()
    assert run.status == "finished", run.message
    for future in futures:
        future.result(PATIENCE)
    return curve(lab, run_id), len(answered)


@pytest.fixture
def quiet_lab(tmp_path, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    with opened(tmp_path / "data") as lab:
        yield lab, curve(lab, finished(lab, EIGHT_STEPS))


@pytest.mark.slow
def test_questions_about_other_models_change_no_bit_of_a_run(quiet_lab, others, monkeypatch):
    lab, alone = quiet_lab
    seen = elsewhere(monkeypatch)
    metrics, count = disturbed(lab, others)
    assert metrics == alone
    assert count >= THREADS
    assert seen == []
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.slow
def test_a_question_that_needs_the_engine_is_answered_beside_one_that_holds_the_tokenizer(quiet_lab, others):
    """The queue's thread never waits for a thread that waits for the queue."""
    lab, _ = quiet_lab
    begun, go_on = threading.Event(), threading.Event()
    load = lab.tokenizers._load

    def slow(model, loading):
        begun.set()
        assert go_on.wait(PATIENCE)
        return load(model, loading)

    lab.tokenizers._load = slow
    with ThreadPoolExecutor(1) as visitors:
        first = visitors.submit(lab.tokenizers.get, others[0])
        assert begun.wait(PATIENCE)
        del lab.tokenizers._load
        assert lab.queue.run(lambda: lab.tokenizers.get(others[0])).eos_token == "<|im_end|>"
        go_on.set()
        assert first.result(PATIENCE).eos_token == "<|im_end|>"


@pytest.mark.slow
def test_what_fails_on_the_engine_fails_where_it_was_requested(quiet_lab, tmp_path):
    lab, _ = quiet_lab
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(LabError):
        lab.estimates.cost(HOST, smoke(model=str(tmp_path)))
