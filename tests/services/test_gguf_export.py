"""The GGUF export of a run: what is in the zip, and runs that have none."""

from __future__ import annotations

import copy
import json
import re
import shutil
import zipfile

import gradio as gr
import pytest
from gguf import GGUFReader, GGUFWriter, SpecialVocab
from labs import cache_for, finished, opened, smoke
from test_modelfile import commands, rendered
from tokenizers import processors
from toys import llama

from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, LabError, ModelError
from instruct_tune.ui.runs.files import RunFiles

pytestmark = pytest.mark.usefixtures("one_thread")

NASTY = {
    "name": "mine",
    "without_input": 'Say """{{ .System }}""" {"a": 1}\r\n{instruction}\n"""\nFROM evil\n```\n',
    "with_input": "{instruction} {input}",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("gguf"), local_paths=True) as lab:
            yield lab


@pytest.fixture(scope="module")
def run_id(lab):
    return finished(lab, smoke(lora={"target_modules": "all-linear", "use_rslora": True}), "tulip")


def contents(lab, run_id, to):
    with zipfile.ZipFile(lab.transfers.export_gguf(HOST, run_id, to)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def edited(lab, run_id):
    """Change the run, until the end of the test."""
    before = lab.store.get(run_id)

    def edit(name="tulip", provenance=(), generation=(), **fields):
        config = before.config | fields | {"generation": before.config["generation"] | dict(generation)}
        lab.store.update(run_id, name=name, config=json.dumps(config), provenance=dict(provenance))

    yield edit
    edit(provenance={"chat_before": None, "chat_after": None})


def test_the_zip_holds_the_adapter_a_modelfile_and_how_to_use_them(lab, run_id, tmp_path):
    zipped = contents(lab, run_id, tmp_path / "out.zip")
    assert list(zipped) == ["adapter.gguf", "Modelfile", "HOW_TO.md"]
    (tmp_path / "adapter.gguf").write_bytes(zipped["adapter.gguf"])
    reader = GGUFReader(tmp_path / "adapter.gguf")
    run = lab.runs.get(HOST, run_id)
    settings, digest = run.config["lora"], run.provenance["weights_sha256"]
    alpha = reader.fields["adapter.lora.alpha"].contents()
    assert alpha / settings["r"] == pytest.approx(settings["lora_alpha"] / settings["r"] ** 0.5)
    assert len(reader.tensors) == 2 * 2 * 7, "A and B of seven layers in two blocks"
    assert digest in reader.fields["general.description"].contents()
    assert reader.fields["general.base_model.0.name"].contents() == "tiny-random"
    lines = commands(zipped["Modelfile"].decode())
    assert lines[0] == ("from", "./merged.gguf")
    assert rendered(dict(lines)["template"], "Hi") == "### Instruction:\nHi\n\n### Response:\n"
    assert ("stop", "<|im_end|>") in lines
    how_to = zipped["HOW_TO.md"].decode()
    for words in (digest, "llama-completion", "ollama create tulip -f Modelfile", "llama-export-lora", "vllm serve"):
        assert words in how_to
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".gguf"] == ["out.zip"]


def test_the_command_line_and_the_page_write_the_same(lab, run_id, tmp_path, capsys):
    to = tmp_path / "out.zip"
    words = ["runs", "export", run_id, "--gguf", "--to", str(to), "--data-dir", str(lab.data_dir), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {"run_id": run_id, "file": str(to)}
    with zipfile.ZipFile(to) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents(lab, run_id, tmp_path / "b.zip")
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--merged"])


def test_hostile_texts_stay_texts(lab, run_id, edited, tmp_path):
    edited('a\nFROM evil"""\n```', template=NASTY, generation={"stop": ['"""', '"\n', "###"]})
    zipped = contents(lab, run_id, tmp_path / "out.zip")
    lines = commands(zipped["Modelfile"].decode())
    assert [text for command, text in lines if command == "from"] == ["./merged.gguf"]
    assert rendered(dict(lines)["template"], "Hi") == NASTY["without_input"].replace("{instruction}", "Hi")
    assert [text for command, text in lines if command == "stop"] == ['"""', "###", "<|im_end|>"]
    how_to = zipped["HOW_TO.md"].decode()
    assert "A stop text of the run cannot be written" in how_to
    assert "ollama create a-from-evil -f" in how_to
    assert how_to.startswith("# a FROM evil")


def test_a_chat_template_is_the_one_that_the_run_was_trained_with(lab, run_id, edited, tmp_path):
    edited(template="chat", provenance={"chat_before": "<A>{", "chat_after": "}<B>"}, generation={"num_beams": 4})
    zipped = contents(lab, run_id, tmp_path / "out.zip")
    assert rendered(dict(commands(zipped["Modelfile"].decode()))["template"], "Hi") == "<A>{Hi}<B>"
    assert "answers with 4 beams" in zipped["HOW_TO.md"].decode()


FRONT_AND_END = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])


@pytest.mark.parametrize(
    ("template", "before", "ends", "unwanted"),
    [
        ("chat", "<|user|>\n", False, ["bos"]),
        ("chat", "<s>[INST]", False, []),
        ("chat", "<|user|>\n", True, ["bos", "eos"]),
        ("lesson", None, True, ["eos"]),
        ("lesson", None, False, []),
    ],
)
def test_a_token_that_the_prompt_lacks_is_turned_off(lab, run_id, edited, tmp_path, template, before, ends, unwanted):
    folder, tokenizer = tmp_path / "base", copy.deepcopy(llama())
    shutil.copytree(lab.tokenizers.folder("tiny-random"), folder, ignore=shutil.ignore_patterns("tokenizer*"))
    if ends:
        tokenizer.backend_tokenizer.post_processor = FRONT_AND_END
    tokenizer.save_pretrained(folder)
    edited(model=str(folder), template=template, provenance={"chat_before": before, "chat_after": "</s>"})
    how_to = contents(lab, run_id, tmp_path / "out.zip")["HOW_TO.md"].decode()
    [line] = re.findall("^llama-completion .*", how_to, re.MULTILINE)
    assert re.findall(r"--override-kv tokenizer\.ggml\.add_(\w+)_token=bool:false", line) == unwanted
    assert re.findall(r'write `"add_(\w+)_token": false`', how_to) == unwanted
    assert "<s>" not in line, "llama.cpp adds it"
    # The conversion to GGUF reads what the how-to says to write.
    config = json.loads((folder / "tokenizer_config.json").read_text())
    added = SpecialVocab(folder).add_special_token
    assert [token for token in unwanted if not added[token]] == []
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | {f"add_{token}_token": False for token in unwanted})
    )
    added = SpecialVocab(folder).add_special_token
    assert [token for token in unwanted if added[token]] == []


def test_a_base_model_that_is_gone_or_unknown_is_a_sentence(lab, run_id, edited, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(lab.tokenizers.folder("tiny-random"), folder)
    config = json.loads((folder / "config.json").read_text())
    edited(model=str(folder))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "opt"}))
    with pytest.raises(ModelError, match="cannot write a GGUF adapter for a model of the architecture opt"):
        lab.transfers.export_gguf(HOST, run_id, tmp_path / "out.zip")
    shutil.rmtree(folder)
    edited(model=str(tmp_path / "gone"))
    with pytest.raises(ModelError, match="neither a folder on this machine nor a Hub id"):
        lab.transfers.export_gguf(HOST, run_id, tmp_path / "out.zip")
    assert list(tmp_path.iterdir()) == []


def no_page(*args):
    pytest.fail("only a GGUF was requested")


def test_the_page_hands_it_out_or_says_why_not(lab, run_id, edited, tmp_path):
    with gr.Blocks():
        files = RunFiles(
            configs=lab.configs, runs=lab.runs, transfers=lab.transfers, access=lab.access, write_page=no_page
        )
    with zipfile.ZipFile(files._gguf(run_id)) as archive:
        assert archive.namelist() == ["adapter.gguf", "Modelfile", "HOW_TO.md"]
    edited(model=str(tmp_path / "gone"))
    with pytest.raises(LabError, match="neither a folder on this machine nor a Hub id"):
        files._gguf(run_id)


def test_a_run_without_an_adapter_has_none(lab, tmp_path):
    run = lab.store.create("early", smoke().to_dict())
    lab.store.update(run.id, status="stopped")
    with pytest.raises(ModelError, match=r"Run early \(stopped\) has no adapter to export"):
        lab.transfers.export_gguf(HOST, run.id, tmp_path / "out.zip")
    (lab.store.folder(run.id) / "adapter").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"adapter_config\.json is missing or damaged"):
        lab.transfers.export_gguf(HOST, run.id, tmp_path / "out.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_imported_run_is_exported_like_its_original(lab, run_id, tmp_path):
    again = lab.transfers.import_run(HOST, lab.transfers.export(HOST, run_id, tmp_path / "out.zip"), "tulip")
    first, second = (contents(lab, each, tmp_path / "gguf.zip") for each in (run_id, again))
    assert first == second


@pytest.mark.parametrize("method", ["write_header_to_file", "write_tensors_to_file", "close"])
def test_a_full_disk_loses_nothing(lab, run_id, tmp_path, monkeypatch, method):
    target = lab.transfers.export_gguf(HOST, run_id, tmp_path / "out.zip")
    before = target.read_bytes()

    def disk_full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GGUFWriter, method, disk_full)
    with pytest.raises(DataError, match=r"out\.zip cannot be written: No space left on device\."):
        lab.transfers.export_gguf(HOST, run_id, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]
    with pytest.raises(DataError, match="cannot be written"):
        lab.transfers.export_gguf(HOST, run_id, tmp_path / "missing" / "x.zip")
