"""What a training records so that it can be scrubbed through, and who may read it."""

from __future__ import annotations

import contextlib
import json
import zipfile

import pytest
from at_night import at_night_after
from labs import PATIENCE, Pace, cache_for, curve, finished, opened, smoke, stop_at, texts
from pyproject import PYPROJECT, ROOT

from instruct_tune.compute.training_work import Session
from instruct_tune.config.viewer import ANONYMOUS, HOST, known_by
from instruct_tune.data.splits import examples
from instruct_tune.services.training_job import TrainingJob
from instruct_tune.store.run import Run
from instruct_tune.util.assets import asset

pytestmark = pytest.mark.usefixtures("cache")

ANN, BOB = known_by("ann's own secret"), known_by("bob's own secret")
SECRET = "Tell nobody about the hidden harbour"
ANSWER = "It lies behind the third cape"
SIX = smoke(train={"max_steps": 6, "num_train_epochs": 2, "probes": 3, "eval_strategy": "steps", "eval_steps": 2,
                   "save_strategy": "steps", "save_steps": 2, "save_minutes": None, "bleu_rows": 3,
                   "own_prompts": [SECRET, "Say hello"]})  # fmt: skip
SILENT = {"sample_tokens": 0, "general_loss": False, "bleu_rows": 0, "own_prompts": []}


def silent(config):
    """The same training, with nothing recorded besides."""
    fields = config.to_dict()
    return smoke(**{**fields, "train": {**fields["train"], **SILENT}})


@pytest.fixture(scope="module")
def cache(one_thread, tmp_path_factory):
    """The tiny model's folder, for labs that last as long as the module."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        yield


@pytest.fixture
def lab(tmp_path, cache):
    with opened(tmp_path / "data") as lab:
        yield lab


@pytest.fixture
def pace(monkeypatch):
    return Pace(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """A lab with an uninterrupted run of ``SIX``."""
    with opened(tmp_path_factory.mktemp("whole") / "data") as lab:
        yield lab, finished(lab, SIX, "whole")


def adapter_of(lab, run_id):
    return (lab.store.folder(run_id) / "adapter" / "adapter_model.safetensors").read_bytes()


def training_of(lab, run_id):
    """The metrics of the training itself and of the held-out rows."""
    return {key: values for key, values in curve(lab, run_id).items() if key[0] not in ("general", "bleu")}


# What is recorded


@pytest.mark.slow
def test_six_prompts_are_answered_at_each_probe(whole):
    lab, run_id = whole
    scrub = lab.runs.scrub(HOST, run_id)
    assert [prompt["kind"] for prompt in scrub["prompts"]] == [*["held-out"] * 3, "training", "own", "own"]
    splits = lab.datasets.splits(SIX.data)
    held_out, training = examples(splits.test, SIX.evaluation_rows, 3), examples(splits.train, 0, 1)
    rows = [(prompt["instruction"], prompt["input"], prompt["expected"]) for prompt in scrub["prompts"]]
    assert rows[:4] == [(row.instruction, row.input, row.output) for row in (*held_out, *training)]
    assert rows[4:] == [(SECRET, "", None), ("Say hello", "", None)]
    assert [step["step"] for step in scrub["steps"]] == [0, 2, 4, 6]
    for step in scrub["steps"]:
        assert [answer["prompt"] for answer in step["answers"]] == list(range(6))
        assert all(isinstance(answer["text"], str) for answer in step["answers"])
    assert json.loads(json.dumps(scrub)) == scrub


def test_each_moment_has_its_losses_bleu_rate_and_tokens(whole):
    lab, run_id = whole
    points, steps = curve(lab, run_id), lab.runs.scrub(HOST, run_id)["steps"]
    for moment in steps:
        step = moment["step"]
        assert moment["held_out_loss"] == points["probe", step]["probe_loss"]
        assert moment["general_loss"] == points["general", step]["general_loss"]
        assert moment["tokens"] == sum(points["train", number]["tokens"] for number in range(1, step + 1))
        if step:
            assert moment["bleu"] == points["bleu", step]["bleu"]
            assert moment["learning_rate"] == points["train", step]["learning_rate"]
    assert (steps[0]["bleu"], steps[0]["learning_rate"], steps[0]["tokens"]) == (None, None, 0)


def entered(lab, metrics, samples=(), **provenance):
    """A run from elsewhere with these metrics, each (kind, step, values)."""
    run = Run(lab.store.new_id(), "far away", "finished", None, "", 4, 4, 1.0, 2.0, SIX.to_dict(), None, provenance)
    rows = [{"kind": kind, "step": step, "epoch": 0.0, "time": 1.0, **values} for kind, step, values in metrics]
    lab.store.enter(run, metrics=rows, samples=[{"time": 1.0, "ended": True, **sample} for sample in samples])
    return run.id


def test_the_best_steps_are_the_first_of_the_lowest_losses_and_of_the_highest_bleu(lab):
    probe = [("probe", step, {"probe_loss": loss}) for step, loss in ((0, 3.0), (2, 1.0), (4, 1.0))]
    general = [("general", step, {"general_loss": loss}) for step, loss in ((0, 2.0), (2, 2.5), (4, 2.5))]
    bleu = [("bleu", step, {"bleu": value}) for step, value in ((2, 7.0), (3, 9.0), (4, 9.0))]
    scrub = lab.runs.scrub(HOST, entered(lab, [*bleu, *general, *probe], base_bleu=4.0, bleu_rows=40))
    assert scrub["best"] == {"held_out_loss": 2, "general_loss": 0, "bleu": 3}
    assert [step["step"] for step in scrub["steps"]] == [0, 2, 3, 4]
    assert (scrub["base_bleu"], scrub["bleu_rows"]) == (4.0, 40)


def test_a_run_from_before_there_were_several_prompts_has_its_one(lab):
    fixed = {"instruction": "Say <b>", "input": "", "output": "b"}
    samples = [{"step": step, "text": f"answer {step}"} for step in (0, 4)]
    run_id = entered(lab, [("eval", 4, {"eval_loss": 2.0})], samples, fixed_prompt=fixed)
    scrub = lab.runs.scrub(HOST, run_id)
    assert scrub["prompts"] == [{"kind": "held-out", "instruction": "Say <b>", "input": "", "expected": "b"}]
    assert [[answer["text"] for answer in step["answers"]] for step in scrub["steps"]] == [["answer 0"], ["answer 4"]]
    assert scrub["steps"][1]["held_out_loss"] == 2.0
    assert scrub["best"] == {"held_out_loss": 4, "general_loss": None, "bleu": None}


def test_nothing_is_recorded_where_all_of_it_is_switched_off(lab):
    run_id = finished(lab, silent(SIX))
    scrub = lab.runs.scrub(HOST, run_id)
    assert scrub["prompts"] == []
    assert lab.store.samples(run_id) == []
    assert {kind for kind, _ in curve(lab, run_id)} == {"train", "probe", "eval"}
    assert {"prompts", "fixed_prompt", "base_bleu"}.isdisjoint(lab.store.get(run_id).provenance)


def test_a_prompt_that_does_not_fit_is_left_out_and_that_is_reported(lab):
    run_id = finished(lab, smoke(train={"own_prompts": ["é" * 2000, SECRET]}, data={"limit": 4}))
    prompts = lab.runs.scrub(HOST, run_id)["prompts"]
    assert [prompt["instruction"] for prompt in prompts if prompt["kind"] == "own"] == [SECRET]
    messages = [text for text in texts(lab.runs.events(HOST, run_id)) if "own prompt" in text]
    assert messages == ["An own prompt does not fit into the model's context, so it is not answered: shorten it."]


def test_a_training_row_that_was_left_out_for_its_length_is_no_prompt(lab):
    splits = lab.datasets.splits(smoke().data)
    lengths = sorted(len(row.instruction + row.output) for row in examples(splits.train))
    run_id = finished(lab, smoke(train={"max_length": lengths[len(lengths) // 2] + 110, "training_prompts": 2}))
    provenance = lab.store.get(run_id).provenance
    assert provenance["rows_dropped"]
    questions = [prompt["instruction"] for prompt in provenance["prompts"] if prompt["kind"] == "training"]
    order = [row.instruction for row in examples(splits.train)]
    assert len(questions) == 2
    assert set(questions) < set(order)


@pytest.mark.slow
def test_several_answers_have_at_most_48_tokens_and_one_as_many_as_it_may(lab):
    settings = {"sample_tokens": 60, "probes": 1, "general_loss": False, "training_prompts": 0}
    several = finished(lab, smoke(train=settings))
    alone = finished(lab, smoke(train={**settings, "held_out_prompts": 1}))
    assert [lab.store.get(run_id).provenance["sample_tokens"] for run_id in (several, alone)] == [48, 60]


# The training stays the same, and each probe is recorded once


def test_no_bit_of_the_training_changes(whole, lab):
    recording, recorded = whole
    plain = finished(lab, silent(SIX))
    assert SIX.lora.lora_dropout > 0
    assert training_of(recording, recorded) == curve(lab, plain)
    assert adapter_of(recording, recorded) == adapter_of(lab, plain)


@pytest.mark.slow
@pytest.mark.parametrize("moment", at_night_after(1, ["answers", "general loss", "BLEU"]))
def test_a_stop_meanwhile_is_made_up_for_by_the_resume(whole, lab, monkeypatch, moment):
    """The stop comes within a token or a pass; resumed, the run has every moment once."""
    owner, method = {
        "answers": (Session, "probed"),
        "general loss": (TrainingJob, "part"),
        "BLEU": (Session, "evaluated"),
    }[moment]
    original, calls = getattr(owner, method), []

    def stop_at_step_4(listener, *args):
        run_id = lab.store.all()[0].id
        step = lab.store.get(run_id).step
        general = moment == "general loss" and ("general", 4) not in curve(lab, run_id)
        here = general and ("probe", 4) in curve(lab, run_id) if moment == "general loss" else step == 4
        if here and not calls:
            calls.append(step)
            lab.training.stop(HOST, run_id)
        return original(listener, *args)

    with monkeypatch.context() as patched:
        patched.setattr(owner, method, stop_at_step_4)
        run_id = lab.training.start(HOST, SIX)
        assert lab.training.wait(run_id, PATIENCE).message == "Stopped at step 4 of 6; the adapter is kept."
    assert calls == [4]
    before = lab.runs.scrub(HOST, run_id)["steps"]
    missing = before[-1]["bleu"] if moment == "BLEU" else None if before[-1]["step"] == 2 else before[-1]["answers"]
    assert not missing
    lab.training.resume(HOST, run_id)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    uninterrupted, other = whole
    assert curve(lab, run_id) == curve(uninterrupted, other)
    assert lab.runs.scrub(HOST, run_id) == uninterrupted.runs.scrub(HOST, other)
    assert adapter_of(lab, run_id) == adapter_of(uninterrupted, other)


@pytest.mark.slow
def test_a_paused_run_has_base_bleu_once_and_each_moment_once(whole, lab, pace):
    run_id = stop_at(lab, pace, 3, SIX)
    lab.training.resume(HOST, run_id)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    assert sum("Base: BLEU" in text for text in texts(lab.runs.events(HOST, run_id))) == 1
    uninterrupted, other = whole
    assert lab.runs.scrub(HOST, run_id) == uninterrupted.runs.scrub(HOST, other)


def test_a_stop_in_bases_bleu_ends_the_run_before_its_first_step(lab, monkeypatch):
    phase = TrainingJob.phase

    def stop_at_the_first_evaluation(runner, name):
        phase(runner, name)
        if name == "evaluating":
            lab.training.stop(HOST, runner.run.id)

    monkeypatch.setattr(TrainingJob, "phase", stop_at_the_first_evaluation)
    run_id = lab.training.start(HOST, SIX)
    assert lab.training.wait(run_id, PATIENCE).message == "Stopped before the first step was done."
    assert "base_bleu" not in lab.store.get(run_id).provenance
    assert lab.runs.metrics(HOST, run_id) == []


# BLEU


@pytest.mark.slow
def test_the_last_bleu_is_the_evaluations_to_the_digit(tmp_path):
    config = smoke(**{**SIX.to_dict(), "generation": {"max_new_tokens": 24}, "evaluation_rows": 8})
    config = smoke(**{**config.to_dict(), "train": {**config.to_dict()["train"], "bleu_rows": 8}})
    with opened(tmp_path / "data") as lab:
        run_id = finished(lab, config)
        scrub = lab.runs.scrub(HOST, run_id)
        *_, evaluation = lab.evaluations.stream(HOST, run_id, 8)
        assert scrub["steps"][-1]["step"] == 6
        assert scrub["steps"][-1]["bleu"] == evaluation["tuned"]["bleu"]
        assert (scrub["base_bleu"], scrub["bleu_rows"]) == (evaluation["base"]["bleu"], evaluation["rows"])
        assert evaluation["base_remembered"] == 8, "base's answers are kept for the evaluation"
        assert lab.store.get(run_id).provenance["bleu_signature"] == evaluation["tuned"]["signature"]


def test_without_evaluations_bleu_is_refused():
    from instruct_tune.errors import SettingsError

    with pytest.raises(SettingsError, match=r"train\.bleu_rows needs evaluations: set train\.eval_strategy"):
        smoke(train={"bleu_rows": 4, "eval_strategy": "no"})


# Own prompts are their writer's


def leaks(value):
    """Whether the text of Ann's prompt, or an answer to it, is in a value."""
    text = json.dumps(value, default=str)
    return SECRET in text or ANSWER in text


def mark_own_answers(lab, run_id):
    """Make the answers to the own prompt known by their text: the tiny model answers all prompts much alike."""
    samples = lab.store.samples(run_id)
    for step in {sample["step"] for sample in samples}:
        answers = [(sample["text"], sample["ended"]) for sample in samples if sample["step"] == step]
        lab.store.add_samples(run_id, step, [*answers[:-1], (ANSWER, True)])


def upload(lab, viewer):
    file = lab.data_dir.parent / "mine.json"
    file.write_text(json.dumps([{"instruction": f"Say {n}", "input": "", "output": str(n)} for n in range(40)]))
    return str(lab.uploads.keep(viewer, file))


@pytest.fixture(scope="module")
def hosted(tmp_path_factory, cache):
    """A hosted lab with two runs of Ann's that others see: one on public data, one on a shared upload."""
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("SPACE_ID", "somebody/lab")
            lab = stack.enter_context(opened(tmp_path_factory.mktemp("hosted") / "data"))
        runs = []
        for source in ("bundled", upload(lab, ANN)):
            config = smoke(data={"source": source}, train={"own_prompts": [SECRET]})
            runs.append(lab.training.start(ANN, config, "ann's"))
            assert lab.training.wait(runs[-1], PATIENCE).status == "finished"
            mark_own_answers(lab, runs[-1])
        lab.runs.share(ANN, runs[1], True)
        yield lab, runs


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1], ids=["public data", "shared upload"])
def test_others_see_neither_the_prompt_nor_its_answers(hosted, which):
    lab, runs = hosted
    run_id = runs[which]
    for viewer in (BOB, ANONYMOUS):
        scrub = lab.runs.scrub(viewer, run_id)
        assert [prompt["kind"] for prompt in scrub["prompts"]] == [*["held-out"] * 3, "training"]
        assert all(len(step["answers"]) == 4 for step in scrub["steps"])
        views = [scrub, lab.runs.details(viewer, run_id), lab.runs.readable_config(viewer, run_id)]
        views += [lab.runs.config(viewer, run_id), lab.runs.get(viewer, run_id), lab.runs.samples(viewer, run_id)]
        views += [lab.training.status(viewer, run_id), lab.runs.events(viewer, run_id), lab.runs.summaries(viewer)]
        assert not any(leaks(view) for view in views)


def test_their_writer_and_the_host_see_both(hosted):
    lab, runs = hosted
    for viewer in (ANN, HOST):
        for run_id in runs:
            scrub = lab.runs.scrub(viewer, run_id)
            assert scrub["prompts"][4] == {"kind": "own", "instruction": SECRET, "input": "", "expected": None}
            assert all(len(step["answers"]) == 5 for step in scrub["steps"])
            assert lab.runs.config(viewer, run_id).train.own_prompts == (SECRET,)
            assert [step["answers"][4]["text"] for step in scrub["steps"]] == [ANSWER] * 3
            assert leaks(lab.runs.details(viewer, run_id)["config"])


@pytest.mark.parametrize("viewer", [BOB, ANN, HOST], ids=["another", "its writer", "the host"])
def test_no_export_holds_either(hosted, tmp_path, viewer):
    lab, runs = hosted
    file = lab.transfers.export(viewer, runs[0], tmp_path / "out.zip")
    merged = lab.transfers.export_merged(viewer, runs[0], tmp_path / "merged.zip")
    for path in (file, merged):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.endswith((".safetensors", ".png", "tokenizer.json")):
                    content = archive.read(name)
                    assert SECRET.encode() not in content, name
                    assert ANSWER.encode() not in content, name
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read("run_config.json"))["train"]["own_prompts"] == []


def test_a_run_that_goes_on_from_it_does_not_inherit_the_prompt(hosted):
    lab, runs = hosted
    child = lab.training.start(BOB, {"train": {"max_steps": 1}}, "", parent=runs[0])
    assert lab.training.wait(child, PATIENCE).status == "finished"
    assert not leaks(lab.store.get(child).config)


def test_a_run_with_nothing_but_own_prompts_shows_others_no_answer(hosted):
    lab, _ = hosted
    config = smoke(train={"own_prompts": [SECRET], "held_out_prompts": 0, "training_prompts": 0, "probes": 1})
    run_id = lab.training.start(ANN, config)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    assert lab.runs.samples(ANN, run_id)
    assert lab.runs.samples(BOB, run_id) == []
    assert [step["answers"] for step in lab.runs.scrub(BOB, run_id)["steps"]] == [[], []]
    assert "fixed_prompt" not in lab.store.get(run_id).provenance


def test_a_resume_by_somebody_else_keeps_the_prompt_for_its_writer(lab, pace):
    """On a lab of one user, every page may resume a run."""
    config = smoke(train={"own_prompts": [SECRET], "probes": 2})
    pace.at[2] = lambda runner: lab.training.stop(ANN, runner.run.id)
    run_id = lab.training.start(ANN, config)
    lab.training.wait(run_id, PATIENCE)
    lab.training.resume(BOB, run_id)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    assert all(len(step["answers"]) == 5 for step in lab.runs.scrub(ANN, run_id)["steps"])
    assert not leaks(lab.runs.scrub(BOB, run_id))


# The general text


def test_the_general_text_is_half_english_and_half_code_in_many_languages():
    rows = [json.loads(line) for line in asset("general.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = [row["kind"] for row in rows]
    assert len(rows) == 24
    assert kinds.count("english") == 12
    assert len(set(kinds)) == 13
    assert len({row["text"] for row in rows}) == 24
    assert all(row.keys() == {"kind", "text"} and 100 < len(row["text"]) < 400 for row in rows)


def test_the_wheel_has_the_general_text():
    packaged = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert packaged["assets/general.jsonl"] == "instruct_tune/assets/general.jsonl"
    assert (ROOT / "assets/general.jsonl").is_file()
