"""A merged model answers like the adapter, and merging leaves the loaded model unchanged."""

import json
import zipfile
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from labs import cache_for, opened, smoke, trained
from transformers import AutoModelForCausalLM, AutoTokenizer

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, DiskFullError, MemoryLimitError, ModelError
from instruct_tune.export import merged_model
from instruct_tune.models.lora import BASE, answering_as

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.tensor([[5, 9, 200, 7, 7, 31]])


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("merged")) as lab:
            yield lab


@pytest.fixture(scope="module")
def run_id(lab):
    return trained(lab, smoke(), "tulip")


def logits(lab, run_id, adapter):
    """Logits of base or an adapter on the lab's own shared weights."""

    @torch.no_grad()
    def job():
        loaded = lab.models.base("tiny-random", "auto", lambda text: None)
        lab.models.with_adapter(loaded, run_id, lab.store.folder(run_id) / "adapter")
        with answering_as(loaded, [adapter]) as how:
            return loaded.model(input_ids=IDS, **how).logits

    return lab.queue.submit_short(job).result(30)


def test_it_says_what_the_adapter_says_and_base_is_untouched(lab, run_id, tmp_path):
    base, tuned = logits(lab, run_id, BASE), logits(lab, run_id, run_id)
    messages = []
    drawn = torch.get_rng_state()
    zipfile.ZipFile(lab.transfers.export_merged(HOST, run_id, tmp_path / "out.zip", messages.append)).extractall(
        tmp_path / "out"
    )
    assert torch.equal(torch.get_rng_state(), drawn)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    with torch.no_grad():
        alone = model(input_ids=IDS).logits
    assert (alone - tuned).abs().max() < 1e-5
    assert not torch.allclose(alone, base, atol=1e-3)
    assert torch.equal(logits(lab, run_id, BASE), base)
    assert torch.equal(logits(lab, run_id, run_id), tuned)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token
    assert [message.split()[0] for message in messages] == ["merging", "packing"]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert ModelCard(card).data.library_name == "transformers"
    assert "All of it is in `run_config.json`" in card
    assert json.loads((tmp_path / "out" / "run_config.json").read_text()) == lab.runs.details(HOST, run_id)["config"]
    assert "peft import" not in card
    for file in (tmp_path / "out").iterdir():
        assert lab.runs.result(HOST, run_id)["model_path"].encode() not in file.read_bytes()
    assert [file.name for file in tmp_path.iterdir() if file.name not in ("out", "out.zip")] == []


def test_what_does_not_fit_is_refused_before_it_is_begun(lab, run_id, tmp_path, monkeypatch):
    monkeypatch.setattr(merged_model, "free", lambda device: 1000)
    with pytest.raises(MemoryLimitError, match=r"second copy of the model: .* Export the adapter instead"):
        lab.transfers.export_merged(HOST, run_id, tmp_path / "out.zip")
    monkeypatch.setattr(merged_model, "free", lambda device: None)
    monkeypatch.setattr(merged_model.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(DiskFullError, match="make room"):
        lab.transfers.export_merged(HOST, run_id, tmp_path / "out.zip")
    assert list(tmp_path.iterdir()) == []


def test_other_weights_of_the_same_name_are_not_merged_into(lab, run_id, tmp_path):
    provenance = lab.runs.get(HOST, run_id).provenance
    lab.store.update(run_id, provenance={"weights_sha256": "other"})
    try:
        with pytest.raises(ModelError, match="trained on other weights of tiny-random"):
            lab.transfers.export_merged(HOST, run_id, tmp_path / "out.zip")
    finally:
        lab.store.update(run_id, provenance={"weights_sha256": provenance["weights_sha256"]})


def test_a_run_that_does_not_say_what_it_was_trained_on_is_merged(lab, run_id, tmp_path):
    lab.transfers.export(HOST, run_id, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as out, zipfile.ZipFile(tmp_path / "in.zip", "w") as arriving:
        for name in ("adapter_config.json", "adapter_model.safetensors", "run_config.json"):
            arriving.writestr(name, out.read(name))
    plain = lab.transfers.import_run(HOST, tmp_path / "in.zip")
    assert lab.transfers.export_merged(HOST, plain, tmp_path / "merged.zip").is_file()


@pytest.mark.parametrize(("own", "ends"), [(None, [2]), (5, [5, 2]), ([5, 6], [5, 6, 2]), ([2, 5], [2, 5]), (2, 2)])
def test_a_merged_model_ends_where_the_rows_do(tmp_path, own, ends):
    file = tmp_path / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": own, "temperature": 0.6}))
    merged_model._end_at(2, tmp_path)
    assert json.loads(file.read_text()) == {"eos_token_id": ends, "temperature": 0.6}


def test_where_nothing_can_be_written_it_is_an_error(lab, run_id, tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        lab.transfers.export_merged(HOST, run_id, tmp_path / "missing" / "x.zip")


def test_an_import_that_brought_no_count_of_parameters_is_merged_like_its_original(lab, run_id, tmp_path):
    lab.transfers.export(HOST, run_id, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as out, zipfile.ZipFile(tmp_path / "in.zip", "w") as arriving:
        for name in ("adapter_config.json", "adapter_model.safetensors", "run_config.json"):
            arriving.writestr(name, out.read(name))
        provenance = json.loads(out.read("facts.json"))
        arriving.writestr("facts.json", json.dumps({"weights_sha256": provenance["weights_sha256"]}))
    again = lab.transfers.import_run(HOST, tmp_path / "in.zip")
    weights = []
    for number, each in enumerate((run_id, again)):
        with zipfile.ZipFile(lab.transfers.export_merged(HOST, each, tmp_path / f"{number}.zip")) as merged_zip:
            weights.append(merged_zip.read("model.safetensors"))
    assert weights[0] == weights[1]
