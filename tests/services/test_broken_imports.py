"""Broken zips are refused with a message that names the fault; the runs folder matches the history."""

import threading
import zipfile

import numpy as np
import pytest
from imported_runs import changed, imported, imported_run, is_tidy, sentence, use
from labs import PATIENCE, opened
from mutations import METRICS, RUN, members, zipped
from safetensors.numpy import save

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, LabError
from instruct_tune.export import import_run
from instruct_tune.store import snapshot

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("imports") / "data", local_paths=True) as lab:
        yield lab


@pytest.fixture
def run_id(lab, tmp_path):
    with imported_run(lab, tmp_path) as run_id:
        yield run_id


# Faults that random mutations may miss, with the message that refuses each.
BROKEN = {
    "packed with lzma": (zipped(members(), zipfile.ZIP_LZMA), "packed with method 14"),
    "packed with bzip2": (zipped(members(), zipfile.ZIP_BZIP2), "packed with method 12"),
    "a measurement twice": (changed(metrics=[METRICS[0], METRICS[0]]), r"not what a lab exports \(line 2\)"),
    "a step below 0": (changed(metrics=[{**METRICS[0], "step": -1}]), "not what a lab exports"),
    "a time without a date": (changed(metrics=[{**METRICS[0], "time": 1e17}]), "not what a lab exports"),
    "a long line": (changed(metrics=[{**METRICS[0], "x": "y" * 10_000}]), "not what a lab exports"),
    "half a character around a message": (changed(provenance={"chat_before": "\ud800"}), "chat_before holds half"),
    "half a character in another fact": (changed(provenance={"device": "\udfff"}), "device holds half a character"),
    "a fact too long": (changed(provenance={"chat_after": "x" * 100_001}), "chat_after has 100,001 .* 100,000"),
    "another fact too long": (changed(provenance={"weights_source": "x" * 201}), "has 201 .* at most 200"),
    "a template too long": (
        changed(run={**RUN, "template": {**RUN["template"], "with_input": "x" * 100_001}}),
        "template.with_input has 100,001 characters, and at most 100,000",
    ),
    "half a character in a template": (
        changed(run={**RUN, "template": {**RUN["template"], "name": "\ud800"}}),
        "template.name holds half a character",
    ),
    "a model too long": (changed(run={**RUN, "model": "x" * 1001}), "model has 1,001 characters, and at most 1,000"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_broken_is_named(lab, tmp_path, fault):
    content, words = BROKEN[fault]
    with pytest.raises(LabError, match=words) as caught:
        imported(lab, tmp_path, content)
    sentence(caught.value)
    assert is_tidy(lab)


def test_measurements_have_a_most(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(import_run, "MAX_METRICS", 3)
    lab.training.delete(HOST, imported(lab, tmp_path, changed(metrics=METRICS[:3])))
    with pytest.raises(DataError, match=r"metrics.jsonl in the zip holds more than 3 measurements: leave it out"):
        imported(lab, tmp_path, changed())


@pytest.mark.parametrize("fact", ["adapter_norm", "train_rows", "weights_sha256", "packing"])
@pytest.mark.parametrize("value", ["a text", 1.5, 48, -1, True, float("nan"), 10**400, None, [], {}])
def test_a_fact_of_another_type_is_left_out(lab, tmp_path, fact, value):
    right = {"adapter_norm": (1.5, 48, -1), "train_rows": (48,)}.get(fact, ("a text",))
    run_id = imported(lab, tmp_path, changed(provenance={fact: value}))
    kept = value in right
    assert lab.runs.details(HOST, run_id)["facts"] == ({fact: value} if kept else {}) | {"imported": True}
    use(lab, run_id, tmp_path / "out.zip", exports=kept)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        *[("parent", each) for each in ("x", [], {}, {"id": "a", "name": "b"}, {"id": "a", "name": "b", "step": -1})],
        *[("parent", {"id": "a", "name": name, "step": 1}) for name in (None, "x" * 201, "\ud800")],
        *[("earlier_splits", each) for each in (None, "x", {}, 3, [{}] * 101)],
    ],
)
def test_a_beginning_that_no_lab_exports_is_left_out(lab, tmp_path, fact, value):
    run_id = imported(lab, tmp_path, changed(provenance={fact: value}))
    assert lab.runs.details(HOST, run_id)["facts"] == {"imported": True}


@pytest.mark.parametrize("split", [3, {"seed": "x"}, {"source": 5}, {"path": "rows.json"}])
def test_a_split_that_is_none_is_named(lab, tmp_path, split):
    with pytest.raises(LabError, match="data") as caught:
        imported(lab, tmp_path, changed(provenance={"earlier_splits": [split]}))
    sentence(caught.value)
    assert is_tidy(lab)


@pytest.mark.parametrize("name", ["gone.zip", "", "\udcff.zip", "x" * 300])
def test_a_file_that_cannot_be_opened_is_a_sentence(lab, tmp_path, name):
    with pytest.raises(DataError, match="cannot be unpacked") as caught:
        lab.transfers.import_run(HOST, tmp_path / name)
    sentence(caught.value)
    assert is_tidy(lab)


def test_a_run_called_after_a_file_whose_name_is_no_text(lab, tmp_path):
    file = tmp_path / "\udcff.zip"
    file.write_bytes(zipped(members()))
    run_id = lab.transfers.import_run(HOST, file)
    assert lab.runs.details(HOST, run_id)["name"] == "Imported: a file"
    lab.training.delete(HOST, run_id)


def test_weights_of_very_many_modules_are_refused_by_their_names_alone(lab, tmp_path):
    matrix = np.zeros((2, 1), np.float32)
    weights = save({f"base_model.model.m{number}.lora_A.weight": matrix for number in range(20_001)})
    with pytest.raises(DataError, match="adapts more than 10,000 modules"):
        imported(lab, tmp_path, changed(weights=weights))


def test_the_history_is_read_while_a_run_is_put_into_words(lab, run_id, monkeypatch):
    written, looked = threading.Event(), threading.Event()
    write = snapshot.write

    def slowly(*args):
        written.set()
        assert looked.wait(PATIENCE)
        write(*args)

    monkeypatch.setattr(snapshot, "write", slowly)
    renaming = threading.Thread(target=lab.runs.rename, args=(HOST, run_id, "slowly"))
    renaming.start()
    assert written.wait(PATIENCE)
    listing = threading.Thread(target=lambda: looked.set() if lab.runs.summaries(HOST) else None)
    listing.start()
    renaming.join(PATIENCE)
    assert looked.is_set()


def test_a_full_disk_is_no_fault_of_the_zip(lab, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(import_run, "_unpack", full)
    with pytest.raises(LabError, match=r"disk .* is full"):
        imported(lab, tmp_path, zipped(members()))
    assert is_tidy(lab)
