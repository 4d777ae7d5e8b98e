"""Mistakes that show only once a run is under way: one sentence, and the lab keeps working."""

import json

import pytest
from at_night import at_night_after
from labs import PATIENCE, cache_for, finished, smoke, write_rows

from instruct_tune.config.run_config import DataSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import load_splits
from instruct_tune.errors import SettingsError

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


def poisoned_model(folder):
    """The tiny model with an embedding that is not finite, for the byte "~" alone."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    from instruct_tune.pretrained.locate import locate

    source = locate("tiny-random", lambda text: None).path
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    # An LM head of its own: with the tied one, a logit of every position would be infinite.
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    tensors = load_file(folder / "model.safetensors")
    embedding = tensors["model.embed_tokens.weight"]
    tensors["lm_head.weight"] = embedding.clone()
    (token,) = AutoTokenizer.from_pretrained(folder)("~", add_special_tokens=False)["input_ids"]
    embedding[token] = float("inf")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def poisoned_rows(path, part, rows=30):
    """Rows of which one holds a "~"; the split puts it into ``part`` ("train" or "test")."""

    def made(poisoned):
        return [
            {"instruction": f"Do {n}" + "~" * (n == poisoned), "input": "", "output": f"Done {n}"} for n in range(rows)
        ]

    for poisoned in range(rows):
        source = write_rows(path, made(poisoned))
        splits = load_splits(DataSettings(source=source, limit=None))
        texts = {"train": splits.train, "test": splits.test}[part]["instruction"]
        if any("~" in text for text in (texts if part == "train" else texts[4:])):
            return source
    raise AssertionError("no row falls where it should")


def failing(tmp_path):
    """Mistakes that show only once a run is under way: name → (configuration, error kind, words)."""
    return {
        "no such modules": (smoke(lora={"target_modules": ["q_proj", "nope"]}), "model", "no module named nope"),
        "too long": (smoke(train={"max_length": 8}), "data", "No row fits into train.max_length 8"),
        "truncated to nothing": (smoke(train={"max_length": 8, "overlong": "truncate"}), "data", "No row fits"),
        "empty split": (
            smoke(data={"source": write_rows(tmp_path / "one.json", [{"instruction": "a", "output": "b"}])}),
            "data",
            "leaves none to train on",
        ),
        "missing file": (smoke(data={"source": "/nowhere/rows.json"}), "data", "There is no file /nowhere/rows.json"),
        "missing folder": (smoke(model="/nowhere/model"), "model", "neither a folder"),
        "odd Hub id": (smoke(model="foo..bar/x"), "model", "foo..bar/x"),
        "long Hub id": (smoke(model="x" * 300), "model", "xxx"),
        "not a model": (smoke(model=str(tmp_path)), "model", "no config.json"),
        "a loss that is not finite": (
            smoke(
                model=poisoned_model(tmp_path / "poisoned"),
                data={"source": poisoned_rows(tmp_path / "train.json", "train"), "limit": None},
            ),
            "diverged",
            "not a finite number at step",
        ),
        "a held-out loss that is not finite": (
            smoke(
                model=str(tmp_path / "poisoned"),
                data={"source": poisoned_rows(tmp_path / "test.json", "test"), "limit": None},
                evaluation_rows=None,
            ),
            "diverged",
            "finite",
        ),
    }


FAILURES = (
    "too long", "missing file", "not a model", "a loss that is not finite",
    "no such modules", "truncated to nothing", "empty split", "missing folder", "odd Hub id", "long Hub id",
    "a held-out loss that is not finite",
)  # fmt: skip


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        return failing(tmp_path_factory.mktemp("failures"))


def test_every_failure_is_looked_at(failures):
    assert set(failures) == set(FAILURES)


@pytest.fixture
def unchecked(monkeypatch):
    """Lets non-finite weights pass the check at load, so that the guards behind it are tested."""
    monkeypatch.setattr("instruct_tune.pretrained.read_model.is_within", lambda weight, largest: True)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("what", at_night_after(4, FAILURES))
def test_a_run_that_cannot_work_fails_in_one_sentence_and_the_lab_works_on(lab, failures, what):
    config, kind, words = failures[what]
    run_id = lab.training.start(HOST, config)
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind) == ("failed", kind), run.message
    assert words in run.message
    assert run.message.endswith(".")
    assert "\n" not in run.message
    assert len(run.message) < 600
    assert (run.phase, run.live) == (None, False)
    assert lab.runs.details(HOST, run_id)["events"][-1]["text"] == run.message
    json.dumps(lab.runs.details(HOST, run_id), allow_nan=False)
    finished(lab)


@pytest.mark.usefixtures("unchecked")
def test_what_was_measured_before_a_failure_is_kept(lab, failures):
    run_id = lab.training.start(HOST, failures["a loss that is not finite"][0])
    run = lab.training.wait(run_id, PATIENCE)
    steps = [metric["step"] for metric in lab.runs.metrics(HOST, run_id) if metric["kind"] == "train"]
    assert steps
    assert steps == list(range(1, run.step + 1)) or steps == list(range(1, run.step))
    assert lab.runs.result(HOST, run_id)["status"] == "failed"


def test_a_run_whose_configuration_is_unknown_stays_interrupted_and_can_be_deleted(lab):
    """Such as a run of another version of the lab."""
    run_id = lab.store.create("old", {**smoke().to_dict(), "of_old": 1}).id
    lab.store.update(run_id, status="interrupted")
    with pytest.raises(SettingsError):
        lab.training.resume(HOST, run_id)
    assert lab.store.get(run_id).status == "interrupted"
    lab.training.delete(HOST, run_id)
    finished(lab)


def test_a_model_that_fails_leaves_no_adapter_behind(lab, pace):
    """Otherwise the next run of the same model would find a foreign adapter on it."""

    def break_down(runner):
        raise RuntimeError

    pace.at[2] = break_down
    lab.training.wait(lab.training.start(HOST, smoke()), PATIENCE)
    on_model = lab.queue.submit_short(
        lambda: [name for name, _ in lab.models._loaded.model.named_parameters() if "lora" in name]
    )
    assert on_model.result(PATIENCE) == []
