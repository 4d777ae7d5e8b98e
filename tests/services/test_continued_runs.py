"""A run that continues from another run's adapter: its start, its parent's unchanged files, and refusals."""

import shutil

import pytest
import torch
from labs import PATIENCE, Pace, curve, finished, smoke

from instruct_tune.config.viewer import HOST, Viewer
from instruct_tune.errors import BusyError, LabError, ModelError, NotFoundError, SettingsError
from instruct_tune.runs import continuation

pytestmark = pytest.mark.usefixtures("one_thread")
FURTHER = {"train": {"num_train_epochs": 2, "learning_rate": 3e-3, "seed": 7}}


@pytest.fixture
def parent(lab):
    return finished(lab, smoke(), "first")


def go_on(lab, parent, settings=FURTHER):
    run_id = lab.training.start(HOST, settings, "second", parent=parent)
    assert lab.training.wait(run_id, PATIENCE).status == "finished", lab.store.get(run_id).message
    return run_id


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def base_logits(lab):
    def compute():
        loaded = lab.models.base("tiny-random", "auto", print)
        with torch.no_grad():
            return loaded.base(torch.arange(3, 13)[None]).logits

    return lab.queue.submit_short(compute).result(PATIENCE)


@pytest.mark.slow
def test_a_child_begins_where_its_parent_ended_with_a_schedule_of_its_own(lab, parent):
    before, logits = files(lab.store.folder(parent) / "adapter"), base_logits(lab)
    child = go_on(lab, parent)
    assert files(lab.store.folder(parent) / "adapter") == before
    lab.models.forget(child)
    assert torch.equal(base_logits(lab), logits)

    first, second = curve(lab, parent), curve(lab, child)
    assert second["probe", 0]["probe_loss"] == pytest.approx(first["probe", 4]["probe_loss"], rel=1e-6)
    assert second["probe", 0]["probe_loss"] != pytest.approx(first["probe", 0]["probe_loss"], rel=1e-4)
    rates = [second["train", step]["learning_rate"] for step in range(1, 9)]
    assert rates == pytest.approx([3e-3 * (8 - done) / 8 for done in range(8)])

    details, config = lab.runs.details(HOST, child), lab.runs.config(HOST, child)
    assert (details["parent"], details["parent_name"]) == (parent, "first")
    assert details["facts"]["parent"] == {"id": parent, "name": "first", "step": 4}
    assert details["changes"][0]["reason"] == "Accepted; it goes on from first."
    assert details["facts"]["data_fingerprint"] == lab.runs.details(HOST, parent)["facts"]["data_fingerprint"]
    assert (config.model, config.lora) == (lab.runs.config(HOST, parent).model, lab.runs.config(HOST, parent).lora)
    assert lab.runs.details(HOST, parent)["parent"] is lab.runs.details(HOST, parent)["parent_name"] is None


@pytest.mark.slow
def test_a_child_outlives_its_parent_and_resumes_from_what_is_its_own(lab, parent, monkeypatch):
    whole = curve(lab, go_on(lab, parent))
    pace = Pace(monkeypatch)
    pace.at[3] = lambda runner: lab.training.stop(HOST, runner.run.id)
    child = lab.training.start(HOST, FURTHER, parent=parent)
    assert lab.training.wait(child, PATIENCE).status == "stopped"
    lab.training.delete(HOST, parent)
    lab.training.resume(HOST, child)
    assert lab.training.wait(child, PATIENCE).status == "finished"
    assert curve(lab, child) == whole
    assert lab.runs.details(HOST, child)["parent_name"] == "first"

    # Without a checkpoint it starts again from the parent's adapter.
    lab.store.update(child, status="interrupted")
    for checkpoint in lab.store.folder(child).glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    lab.training.resume(HOST, child)
    assert lab.training.wait(child, PATIENCE).status == "finished"
    assert curve(lab, child) == whole


def test_where_a_child_holds_out_other_rows_its_scores_say_so(lab, parent, tmp_path):
    def split_warnings(run_id):
        return [event["text"] for event in lab.runs.events(HOST, run_id) if "in another way" in event["text"]]

    same = go_on(lab, parent, {"data": {"limit": 8}, "train": {"num_train_epochs": 1}})
    other = go_on(lab, parent, {"data": {"seed": 7}, "train": {"num_train_epochs": 1}})
    # Its own rows are its parent's, which went on from others.
    grandchild = go_on(lab, other, {"train": {"num_train_epochs": 1}})
    assert [len(split_warnings(run_id)) for run_id in (parent, same, other, grandchild)] == [0, 0, 1, 1]
    came_back = lab.transfers.import_run(HOST, lab.transfers.export(HOST, grandchild, tmp_path / "grandchild.zip"))
    assert lab.runs.details(HOST, came_back)["parent_name"] == "second"
    for run_id, warned in ((same, False), (other, True), (grandchild, True), (came_back, True)):
        *_, evaluation = lab.evaluations.stream(HOST, run_id, 2)
        assert any("in another way" in warning for warning in evaluation["warnings"]) is warned


def test_a_preset_keeps_what_belongs_to_the_adapter(lab):
    run = lab.store.create("a", smoke(lora={"r": 4}, template="alpaca").to_dict())
    config = continuation.config_after(run, {"train": {"seed": 3}}, "quick")
    assert (config.model, config.lora.r, config.template) == ("tiny-random", 4, "alpaca")
    assert (config.train.seed, config.train.learning_rate, config.data.limit) == (3, 5e-4, 200)


def test_another_model_or_shape_is_refused_in_a_sentence(lab, parent):
    for given, words in (
        ({"lora": {"r": 4}}, "lora.r is 4 and not"),
        ({"lora": {"lora_alpha": 1}}, "lora.lora_alpha is 1"),
        ({"lora": {"target_modules": "all-linear"}}, "lora.target_modules is all-linear"),
        ({"model": "facebook/opt-350m"}, "model is facebook/opt-350m"),
    ):
        with pytest.raises(SettingsError, match=words):
            lab.training.start(HOST, given, parent=parent)
    assert [run["id"] for run in lab.runs.summaries(HOST)] == [parent]


def test_a_parent_without_a_whole_adapter_or_that_is_not_there_is_refused(lab, parent):
    def refused(error, words, run_id=parent):
        with pytest.raises(error, match=words) as raised:
            lab.training.start(HOST, FURTHER, parent=run_id)
        assert isinstance(raised.value, LabError)

    refused(NotFoundError, "20200101", "20200101-000000-dead")
    adapter = lab.store.folder(parent) / "adapter"
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    refused(ModelError, "damaged")
    shutil.rmtree(adapter)
    refused(ModelError, "no adapter to go on from")
    lab.store.update(parent, status="queued")
    refused(BusyError, "when it has ended")
    lab.store.update(parent, status="finished")


@pytest.mark.slow
def test_a_private_parent_is_its_owners_and_so_is_what_goes_on_from_it(lab, parent):
    owner, other = Viewer("owner" * 5), Viewer("other" * 5)
    lab.store.update(parent, owner=owner.id)
    with pytest.raises(NotFoundError):
        lab.training.start(other, FURTHER, parent=parent)
    child = lab.training.start(owner, FURTHER, parent=parent)
    assert lab.store.get(child).owner == owner.id
    assert not lab.runs.is_visible(other, child)
    lab.training.wait(child, PATIENCE)
    lab.runs.share(owner, child, True)
    assert lab.runs.is_visible(other, child)
