"""Exports name no folder of the machine; an import finds its base model or says what to do."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile

import pytest
from huggingface_hub import ModelCard
from labs import PATIENCE, cache_for, opened, smoke, write_rows
from test_import_run import zipped

from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.data import ledger as ledger_file
from instruct_tune.errors import DataError
from instruct_tune.export import figures
from instruct_tune.pretrained.locate import locate
from instruct_tune.runs.machine_paths import (
    data_to_share,
    is_path,
    last_name,
    ledger_to_share,
    shared,
    short_paths,
    source_to_share,
)
from instruct_tune.runs.provenance import EARLIER_SPLITS
from instruct_tune.ui.data.filters import found_again

pytestmark = pytest.mark.usefixtures("one_thread")
SECRET = "a-secret-place"
VISITOR = known_by("a secret that is mine")
LENGTH = {"step": "length", "of": "output", "unit": "tokens", "min": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model and a dataset, whose name must never be shown."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        folder = tmp_path_factory.mktemp("x") / SECRET
        shutil.copytree(locate("tiny-random", print).path, folder / "my-model")
        rows = [{"instruction": f"Say {n}", "output": f"{n} it is"} for n in range(60)]
        write_rows(folder / "rows.json", rows)
        yield folder


@pytest.fixture(scope="module")
def lab(place):
    with opened(place / "data", local_paths=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def run_id(lab, place):
    data = {"source": str(place / "rows.json"), "filters": [LENGTH]}
    run_id = lab.training.start(HOST, smoke(model=str(place / "my-model"), data=data), "tulip")
    assert lab.training.wait(run_id, PATIENCE).status == "finished", lab.store.get(run_id).message
    list(lab.evaluations.stream(HOST, run_id))
    return run_id


def contents(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def exported(lab, run_id, place):
    return lab.transfers.export(HOST, run_id, place / "out.zip")


@pytest.mark.slow
def test_nothing_that_leaves_names_a_folder(lab, run_id, place, exported):
    merged = lab.transfers.export_merged(HOST, run_id, place / "merged.zip")
    everything = {f"zip {name}": text for name, text in contents(exported).items()}
    everything |= {f"merged {name}": text for name, text in contents(merged).items()}
    gguf = contents(lab.transfers.export_gguf(HOST, run_id, place / "gguf.zip"))
    everything |= {f"gguf {name}": text for name, text in gguf.items()}
    assert {"zip facts.json", "zip metrics.jsonl", "merged config.json", "merged tokenizer_config.json"} <= set(
        everything
    )
    assert [name for name, text in everything.items() if SECRET.encode() in text] == []
    for name in (
        "zip run_config.json", "zip adapter_config.json", "zip README.md", "merged README.md",
        "gguf adapter.gguf", "gguf Modelfile", "gguf HOW_TO.md",
    ):  # fmt: skip
        assert b"my-model" in everything[name].replace(b"\\", b"")


def test_a_plot_for_print_names_no_folder_either(lab, run_id, place, monkeypatch):
    about = []
    monkeypatch.setattr(figures, "_page", lambda subject, title: about.append(subject) or 1 / 0)
    for plot in (lab.transfers.plot_losses, lab.transfers.plot_scores):
        with pytest.raises(ZeroDivisionError):
            plot(HOST, run_id, place / "x.svg")
    assert [subject.model for subject in about] == ["my-model", "my-model"]
    assert all("of rows.json" in subject.measured and SECRET not in subject.measured for subject in about)


def test_the_card_names_the_folder_by_its_last_name_and_its_weights(lab, run_id, exported):
    card = contents(exported)["README.md"].decode()
    digest = lab.runs.details(HOST, run_id)["facts"]["weights_sha256"]
    assert ModelCard(card).data.base_model is None
    assert f"A LoRA adapter for my-model (a local folder, weights sha256 `{digest}`)" in card.replace("\\", "")
    assert 'name = "path/to/my-model"' in card
    assert "rows of rows.json" in card.replace("\\", "")


def test_visitors_read_no_folder_either(lab, run_id, place):
    lab.store.update(run_id, message=f"The disk with {place / 'data'} is full; {place / 'my-model'} was given.")
    lab.store.add_event(run_id, f"Read {place / 'rows.json'}.")
    shown = {"run": lab.runs.details(VISITOR, run_id), "status": lab.training.status(VISITOR, run_id)}
    shown |= {"list": lab.runs.summaries(VISITOR), "config": lab.runs.readable_config(VISITOR, run_id)}
    shown |= {"events": lab.runs.events(VISITOR, run_id)}
    assert SECRET not in json.dumps(shown)
    assert shown["run"]["message"] == "The disk with data is full; my-model was given."
    # The host sees all of it.
    assert SECRET in lab.runs.details(HOST, run_id)["message"]
    assert lab.runs.details(HOST, run_id)["config"]["model"] == str(place / "my-model")
    # The fixed prompt, which the page shows, stays as it is.
    assert shown["run"]["facts"]["fixed_prompt"] == lab.runs.details(HOST, run_id)["facts"]["fixed_prompt"]


def test_what_a_run_failed_of_names_no_folder_to_visitors(lab, run_id, place):
    message = f"The disk with {place / 'data'} is full."
    lab.store.update(run_id, status="failed", message=message)
    try:
        assert SECRET in lab.runs.details(HOST, run_id)["changes"][-1]["reason"]
        changes = lab.runs.details(VISITOR, run_id)["changes"]
        assert changes[-1]["reason"] == "The disk with data is full."
        assert SECRET not in json.dumps(changes)
    finally:
        lab.store.update(run_id, status="finished", message="")


def test_a_relative_folder_is_a_folder_too(lab, run_id, place, monkeypatch):
    monkeypatch.chdir(place.parent)
    config = lab.store.get(run_id).config
    data = {**config["data"], "source": f"{SECRET}/rows.json"}
    other = lab.store.create("relative", {**config, "model": f"{SECRET}/my-model", "data": data})
    lab.store.update(other.id, provenance={"weights_source": "local folder"})
    shown = lab.runs.readable_config(VISITOR, other.id)
    assert (shown["model"], shown["data"]["source"]) == ("my-model", "rows.json")


def test_it_comes_back_where_its_base_model_is_known_by_its_weights(lab, run_id, exported, place):
    again = lab.transfers.import_run(HOST, exported)
    assert lab.runs.details(HOST, again)["config"]["model"] == str(place / "my-model")
    rows = [{"instruction": "Reverse a string."}]
    assert lab.inference.generate(HOST, again, rows) == lab.inference.generate(HOST, run_id, rows)


def test_elsewhere_it_is_refused_in_a_sentence_that_says_what_to_do(exported, place, tmp_path):
    with opened(tmp_path / "data", local_paths=True) as other:
        with pytest.raises(DataError, match=r"folder of another machine, my-model \(weights sha256 .*Hub id") as raised:
            other.transfers.import_run(HOST, exported)
        assert "model of run_config.json" in str(raised.value)
        assert list((tmp_path / "data" / "runs").iterdir()) == []
        # Its advice works: set the model to the folder's path on this machine.
        files = contents(exported)
        config = json.loads(files["run_config.json"]) | {"model": str(place / "my-model")}
        with zipfile.ZipFile(tmp_path / "mended.zip", "w") as archive:
            for name, content in (files | {"run_config.json": json.dumps(config).encode()}).items():
                archive.writestr(name, content)
        imported = other.transfers.import_run(HOST, tmp_path / "mended.zip")
        assert other.inference.generate(HOST, imported, [{"instruction": "Say 3"}])


@pytest.mark.parametrize("base", ["/content/drive/llama", "./llama", "models/llama/7b", "~/llama", "C:\\models\\llama"])
def test_an_adapter_from_elsewhere_whose_base_is_a_path_is_refused(lab, tmp_path, base):
    config = {
        "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "base_model_name_or_path": base,
    }  # fmt: skip
    with pytest.raises(DataError, match="folder of another machine") as raised:
        lab.transfers.import_run(HOST, zipped(tmp_path / "x.zip", adapter_config__json=json.dumps(config)))
    assert "/content" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("There is no file /srv/lab/rows.json: give another.", "There is no file rows.json: give another."),
        ("(/root/.cache/hub/models--a--b)", "(models--a--b)"),
        ("see https://huggingface.co/a/b/c and OWNER/NAME/x, and/or 3/4/5", None),
        ("~/models/mine is gone", "mine is gone"),
        ("hub:a/b and a/b stay", None),
    ],
)
def test_absolute_paths_are_cut_to_their_last_name(text, short):
    assert short_paths(text) == (short or text)


def test_a_saved_list_of_filters_names_no_folder(lab, run_id, place):
    config = lab.runs.config(HOST, run_id)
    ledger = lab.datasets.summary(HOST, config)["ledger"]
    assert SECRET in json.dumps(ledger) + repr(config.data)
    text = ledger_file.to_text(data_to_share(config.data), ledger_to_share(ledger), "x")
    assert SECRET not in text
    saved = json.loads(text)
    assert saved["data"]["source"] == "rows.json"
    # The ledger records which tokenizer counted; the settings leave it open, so a reader's own model counts again.
    assert saved["data"]["filters"][0]["tokenizer"] is None
    assert saved["ledger"][0]["parameters"]["tokenizer"] == "my-model"


def test_a_saved_list_finds_its_file_in_the_form_or_says_what_to_do(place):
    saved = {"source": "rows.json", "seed": 3}
    assert found_again(saved, str(place / "rows.json")) == {"source": str(place / "rows.json"), "seed": 3}
    with pytest.raises(DataError, match=r"of the file rows\.json: choose or upload that file first"):
        found_again(saved, "bundled")
    for other in ({"source": "bundled"}, {"source": "hub:a/b"}, {"source": str(place / "rows.json")}, {"seed": 3}):
        assert found_again(other, "bundled") == other


def test_names_and_paths_are_distinguished():
    assert not any(map(is_path, ("gpt2", "facebook/opt-350m", "tiny-random", "a.b/c.d")))
    assert all(map(is_path, ("/a", "~/a", "./a", "../a", "a/b/c", "a\\b")))
    assert last_name("/a/b/") == "b"
    assert [source_to_share(each) for each in ("bundled", "codealpaca-20k", "hub:a/b", "/x/y.json", "x/y.csv")] == [
        "bundled", "codealpaca-20k", "hub:a/b", "y.json", "y.csv",
    ]  # fmt: skip


def test_a_run_that_goes_on_names_no_folder_of_the_data_before(lab, run_id, place):
    """The rows that its adapter was trained on may have been another file, or an upload."""
    run = lab.runs.get(HOST, run_id)
    before = [{"source": f"{place}/clinic/patients.jsonl", "seed": 1}, {"source": "bundled", "seed": 2}]
    continued = dataclasses.replace(run, provenance={**run.provenance, EARLIER_SPLITS: before})
    sent = shared(continued).provenance[EARLIER_SPLITS]
    assert [split["source"] for split in sent] == ["patients.jsonl", "bundled"]
