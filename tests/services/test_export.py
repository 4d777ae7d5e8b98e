"""Exports: they work without the lab, and a run's name in them is only text."""

import io
import json
import zipfile

import peft
import pytest
import torch
import yaml
from labs import cache_for, opened, smoke, trained
from PIL import Image
from transformers import AutoModelForCausalLM, AutoTokenizer

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, ModelError, NotFoundError
from instruct_tune.models.lora import answering_as

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPT = {"instruction": "Reverse a list"}
IDS = torch.tensor([[5, 9, 200, 7, 7, 31]])


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("export")) as lab:
            yield lab


@pytest.fixture(scope="module")
def run_id(lab):
    run_id = trained(lab, smoke(), "tulip")
    list(lab.evaluations.stream(HOST, run_id))
    return run_id


@pytest.fixture
def unpacked(lab, run_id, tmp_path):
    """The folder that the exported zip unpacks to."""
    zipfile.ZipFile(lab.transfers.export(HOST, run_id, tmp_path / "out.zip")).extractall(tmp_path / "out")
    return tmp_path / "out"


def base_model(lab, run_id):
    path = lab.runs.result(HOST, run_id)["model_path"]
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(path)


@torch.no_grad()
def logits(model, **options):
    return model(input_ids=IDS, **options).logits


def test_peft_alone_gives_the_logits_of_the_run(lab, run_id, unpacked):
    def in_the_lab():
        loaded = lab.models.base("tiny-random", "auto", lambda text: None)
        lab.models.with_adapter(loaded, run_id, lab.store.folder(run_id) / "adapter")
        with answering_as(loaded, [run_id]) as options:
            return logits(loaded.model, **options)

    base, _ = base_model(lab, run_id)
    untuned = logits(base)
    tuned = logits(peft.PeftModel.from_pretrained(base, str(unpacked)).eval())
    # The lab's linear layers may round otherwise than torch's own.
    assert torch.allclose(tuned, lab.queue.submit_short(in_the_lab).result(30), rtol=0, atol=1e-6)
    assert not torch.allclose(tuned, untuned, atol=1e-3)


def test_peft_alone_gives_the_answers_of_the_run(lab, run_id, unpacked):
    base, tokenizer = base_model(lab, run_id)
    model = peft.PeftModel.from_pretrained(base, str(unpacked)).eval()
    prompt = tokenizer(
        "### Instruction:\nReverse a list\n\n### Response:\n", return_tensors="pt", add_special_tokens=False
    )
    output = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    answer = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert lab.inference.generate(HOST, run_id, [PROMPT]) == [answer]


def test_it_names_the_model_and_no_folder_of_this_machine(lab, run_id, unpacked):
    assert json.loads((unpacked / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-random"
    card = (unpacked / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "tiny-random"
    folder = lab.runs.result(HOST, run_id)["model_path"]
    for file in ("README.md", "adapter_config.json", "run_config.json"):
        assert folder not in (unpacked / file).read_text(encoding="utf-8")


def test_it_holds_what_the_numbers_were_measured_with(lab, run_id, unpacked):
    shown = lab.runs.details(HOST, run_id)
    assert json.loads((unpacked / "run_config.json").read_text()) == shown["config"]
    assert json.loads((unpacked / "facts.json").read_text())["weights_sha256"] == shown["facts"]["weights_sha256"]
    metrics = [json.loads(line) for line in (unpacked / "metrics.jsonl").read_text().splitlines()]
    assert metrics == shown["metrics"]
    card = (unpacked / "README.md").read_text(encoding="utf-8")
    evaluation = shown["evaluations"][0]
    for words in (
        "tulip", "finished, step 4 of 4", shown["facts"]["weights_sha256"], shown["facts"]["data_fingerprint"],
        f"On {evaluation['rows']} held-out rows", evaluation["tuned"]["signature"], "from peft import PeftModel",
    ):  # fmt: skip
        assert words in card


def test_it_holds_no_row_of_the_dataset(lab, run_id, unpacked):
    row = lab.runs.details(HOST, run_id)["facts"]["fixed_prompt"]
    for file in unpacked.iterdir():
        assert row["instruction"].encode() not in file.read_bytes()
    assert "fixed_prompt" not in json.loads((unpacked / "facts.json").read_text())


def test_the_plot_is_a_png_of_a_readable_size(unpacked):
    content = (unpacked / "loss.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.width >= 1000
        assert image.height >= 500
        assert len(image.convert("L").getcolors(256)) > 20, "something is drawn on it"


def test_a_name_does_not_reach_the_names_of_the_files(lab, run_id, tmp_path):
    lab.store.update(run_id, name="../../evil/<script>$")
    try:
        names = zipfile.ZipFile(lab.transfers.export(HOST, run_id, tmp_path / "out.zip")).namelist()
    finally:
        lab.store.update(run_id, name="tulip")
    assert set(names) == {
        "adapter_model.safetensors", "adapter_config.json", "README.md",
        "run_config.json", "facts.json", "metrics.jsonl", "loss.png",
    }  # fmt: skip


def test_a_stopped_run_without_evaluations_can_be_exported(lab, tmp_path):
    run_id = trained(lab, smoke())
    lab.store.update(run_id, status="stopped", step=2)
    zipfile.ZipFile(lab.transfers.export(HOST, run_id, tmp_path / "out.zip")).extractall(tmp_path)
    assert "stopped, step 2 of 4" in (tmp_path / "README.md").read_text()


def test_where_nothing_can_be_written_it_is_an_error(lab, run_id, tmp_path):
    (tmp_path / "file").touch()
    for target in (tmp_path / "missing" / "x.zip", tmp_path, tmp_path / "file" / "x.zip", tmp_path / ("x" * 300)):
        with pytest.raises(DataError, match=r"cannot be written: .+\.") as caught:
            lab.transfers.export(HOST, run_id, target)
        assert "\n" not in str(caught.value)


def test_a_run_without_an_adapter_has_nothing_to_export_and_leaves_no_file(lab, tmp_path):
    run = lab.store.create("early", smoke().to_dict())
    lab.store.update(run.id, status="failed")
    with pytest.raises(ModelError, match=r"Run early \(failed\) has no adapter to export"):
        lab.transfers.export(HOST, run.id, tmp_path / "x.zip")
    with pytest.raises(NotFoundError):
        lab.transfers.export(HOST, "../x", tmp_path / "x.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_breaks_off_leaves_no_half_zip_in_place_of_a_whole_one(lab, run_id, tmp_path, monkeypatch):
    target = lab.transfers.export(HOST, run_id, tmp_path / "out.zip")
    before = target.read_bytes()

    def disk_full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("instruct_tune.export.adapter_zip.loss_plot", disk_full)
    with pytest.raises(DataError, match="No space left"):
        lab.transfers.export(HOST, run_id, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]
