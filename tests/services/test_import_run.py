"""Import: an exported run answers as before, and no claim in a zip is trusted."""

import json
import zipfile

import numpy as np
import pytest
from labs import finished, opened, smoke, trained
from safetensors.numpy import save

from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import ANONYMOUS, HOST, known_by
from instruct_tune.errors import BusyError, DataError, LabError, NotFoundError, SettingsError
from instruct_tune.export import import_run
from instruct_tune.export.hub_repository import repository_files
from instruct_tune.ui.run_page.page import run_page

MINE, OTHER = known_by("a secret that is mine"), known_by("a secret of another")
PLAIN = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
    "base_model_name_or_path": "tiny-random",
}  # fmt: skip
MATRICES = {f"base_model.model.q_proj.lora_{which}.weight": np.zeros((2, 2), np.float32) for which in "AB"}


def zipped(path, weights=None, folder="", **files):
    """A zip that holds an adapter. ``files``: contents by name, with ``__`` for ``.``; None leaves a file out."""
    contents = {"adapter_config.json": json.dumps(PLAIN), "adapter_model.safetensors": weights or save(MATRICES)}
    contents |= {name.replace("__", "."): text for name, text in files.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(folder + name, content)
    return path


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("incoming") / "data", local_paths=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def exported(lab, tmp_path_factory):
    run_id = finished(lab, smoke(train={"learning_rate": 0.1}), "tulip")
    return run_id, lab.transfers.export(HOST, run_id, tmp_path_factory.mktemp("out") / "tulip.zip")


def run_folders(lab):
    return sorted(path.name for path in (lab.data_dir / "runs").iterdir())


def test_a_run_that_names_a_folder_and_no_weights_stops_no_later_import(lab, tmp_path):
    claims = json.dumps({"weights_source": "local folder"})
    base = json.dumps({**PLAIN, "base_model_name_or_path": str(tmp_path)})
    lab.transfers.import_run(HOST, zipped(tmp_path / "a.zip", adapter_config__json=base, facts__json=claims))
    assert lab.transfers.import_run(HOST, zipped(tmp_path / "b.zip"))


@pytest.mark.slow
def test_a_run_that_went_out_and_came_back_answers_the_same(lab, exported):
    run_id, file = exported
    again = lab.transfers.import_run(HOST, file, "came back")
    rows = [{"instruction": "Reverse a string."}, {"instruction": "Add 2 and 3."}]
    assert (
        lab.inference.generate(HOST, again, rows)
        == lab.inference.generate(HOST, run_id, rows)
        != lab.inference.generate(HOST, "base", rows, smoke())
    )
    imported, before = lab.runs.details(HOST, again), lab.runs.details(HOST, run_id)
    assert (imported["status"], imported["imported"], imported["name"], imported["private"]) == (
        "finished",
        True,
        "came back",
        False,
    )
    assert imported["config"] == before["config"]
    assert [m["loss"] for m in imported["metrics"] if m["kind"] == "train"] == [
        m["loss"] for m in before["metrics"] if m["kind"] == "train"
    ]
    assert imported["facts"]["weights_sha256"] == before["facts"]["weights_sha256"]
    *_, evaluation = lab.evaluations.stream(HOST, again, 2)
    assert evaluation["rows"] == 2


def card_of(lab, run_id, to):
    with zipfile.ZipFile(lab.transfers.export(HOST, run_id, to)) as archive:
        return archive.read("README.md").decode()


@pytest.mark.parametrize(
    ("status", "how"),
    [("stopped", "was stopped"), ("failed", "failed"), ("interrupted", "was interrupted"), ("running", "was running")],
)
def test_how_a_training_ended_comes_along_now_and_after_another_import(lab, tmp_path, status, how):
    run_id = trained(lab, smoke())
    lab.store.update(run_id, status=status, total_steps=100, provenance={"kept_step": 2})
    file = lab.transfers.export(HOST, run_id, tmp_path / "0.zip")
    lab.store.update(run_id, status="stopped")
    for number in (1, 2):
        again = lab.transfers.import_run(HOST, file)
        details = lab.runs.details(HOST, again)
        assert (details["status"], details["step"], details["total_steps"]) == ("finished", 4, 100)
        assert details["message"] == f"Imported. Its training {how} at step 4 of 100."
        assert details["facts"]["versions"] == lab.runs.details(HOST, run_id)["facts"]["versions"]
        with pytest.raises(BusyError, match="only one that ended early"):
            lab.training.resume(HOST, again)
        assert f"{status} at step 4 of 100" in lab.scripts.of_run(HOST, again, "py")
        page = run_page(lab.run_pages, HOST, again)
        assert f"{status.capitalize()} at step 4 of 100. Its adapter is that of step 2." in page
        file = tmp_path / f"{number}.zip"
        assert f"Status: {status}, step 4 of 100; the adapter is that of step 2." in card_of(lab, again, file)


def test_a_run_that_ended_early_because_its_loss_fell_no_more_comes_back_as_finished(lab, tmp_path):
    run_id = trained(lab, smoke())
    lab.store.update(run_id, total_steps=100)
    again = lab.transfers.import_run(HOST, lab.transfers.export(HOST, run_id, tmp_path / "0.zip"))
    details = lab.runs.details(HOST, again)
    assert (details["message"], details["step"], details["total_steps"]) == ("Imported.", 4, 100)
    assert "status" not in details["facts"]
    assert "Status: finished, step 4 of 100." in card_of(lab, again, tmp_path / "1.zip")


@pytest.mark.parametrize(
    ("claims", "ended"),
    [
        # What labs wrote before.
        ({}, ("finished", 2, 2)),
        ({"status": "stopped", "step": 3, "total_steps": 9}, ("stopped", 3, 9)),
        ({"status": "stopped", "step": 1, "total_steps": 1}, ("stopped", 2, 2)),
        ({"status": ["stopped"], "step": 3, "total_steps": 9}, ("finished", 2, 2)),
        ({"status": "<b>", "step": 3, "total_steps": 9}, ("finished", 2, 2)),
        ({"status": "stopped", "step": -1, "total_steps": 9}, ("finished", 2, 2)),
        ({"status": "stopped", "step": 3, "total_steps": 9.5}, ("finished", 2, 2)),
        ({"status": "stopped", "step": 3, "total_steps": 10**30}, ("finished", 2, 2)),
    ],
)
def test_steps_are_those_of_the_zip_or_of_its_last_measurement(lab, tmp_path, claims, ended):
    files = {
        "run_config__json": json.dumps({"model": "tiny-random", "data": {"source": "bundled"}}),
        "metrics__jsonl": json.dumps({"kind": "probe", "step": 2, "epoch": 1, "time": 1, "probe_loss": 2.0}),
        "facts__json": json.dumps(claims),
    }
    run = lab.runs.get(HOST, lab.transfers.import_run(HOST, zipped(tmp_path / "x.zip", **files)))
    assert run.status == "finished"
    assert (run.provenance.get("status", "finished"), run.step, run.total_steps) == ended


@pytest.mark.parametrize(
    "versions", [[], {"torch": 2}, {"torch": "2" * 10_000}, {f"l{n}": "1.0" for n in range(51)}, {"\ud800": "1.0"}]
)
def test_versions_that_are_none_are_left_out(lab, tmp_path, versions):
    file = zipped(tmp_path / "x.zip", facts__json=json.dumps({"versions": versions}))
    assert "versions" not in lab.runs.details(HOST, lab.transfers.import_run(HOST, file))["facts"]


def test_a_card_without_measurements_names_no_step_and_no_number_of_rows_as_seen(lab, tmp_path):
    own = json.dumps({"model": "tiny-random", "data": {"source": "bundled"}})
    file = zipped(tmp_path / "x.zip", run_config__json=own, facts__json=json.dumps({"train_rows": 9}))
    card = card_of(lab, lab.transfers.import_run(HOST, file), tmp_path / "out.zip")
    assert "on at most 9 rows of bundled. Status: finished." in card
    assert "It has seen at most 9 rows:" in card


def test_an_adapter_from_elsewhere_in_a_folder_of_its_zip(lab, exported, tmp_path):
    with zipfile.ZipFile(exported[1]) as archive:
        weights, config = archive.read("adapter_model.safetensors"), archive.read("adapter_config.json")
    file = zipped(tmp_path / "a.zip", weights, "mine/lora/", adapter_config__json=config, tokenizer__json="{}")
    run_id = lab.transfers.import_run(HOST, file)
    details = lab.runs.details(HOST, run_id)
    assert "template lesson" in details["message"]
    assert (details["config"]["model"], details["config"]["data"]["source"], details["metrics"]) == (
        "tiny-random",
        "bundled",
        [],
    )
    assert lab.inference.generate(HOST, run_id, [{"instruction": "Add."}], generation={"max_new_tokens": 4})
    saved = {path.name for path in (lab.data_dir / "runs" / run_id / "adapter").iterdir()}
    assert saved == {"adapter_config.json", "adapter_model.safetensors", "manifest.json"}


def config(**changed):
    return {"adapter_config__json": json.dumps(PLAIN | changed)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"adapter_model__safetensors": None, "adapter_model__bin": "x"}, "only safetensors"),
        ({"adapter_config__json": None}, "holds no adapter_config.json"),
        ({"adapter_config__json": "[" * 100_000}, "adapter_config.json in the zip has .* lists too deep"),
        ({"adapter_config__json": "3"}, "one JSON object"),
        ({"adapter_config__json": b"\xff"}, "adapter_config.json in the zip is not UTF-8"),
        (config(peft_type="IA3"), "Only LoRA"),
        (config(task_type="SEQ_CLS"), "causal"),
        (config(use_dora=True), "use_dora"),
        (config(modules_to_save=["lm_head"]), "modules_to_save"),
        (config(bias="all"), "a bias"),
        (config(target_modules=3), "must hold r, lora_alpha and target_modules"),
        (config(target_modules=[]), "must hold r, lora_alpha and target_modules"),
        (config(r=0), "must hold r"),
        (config(base_model_name_or_path=None), "names no base model"),
        ({"adapter_model__safetensors": b"pickle"}, "damaged"),
        ({"adapter_model__safetensors": save({"lm_head.weight": np.zeros((2, 2), np.float32)})}, "nothing else"),
        ({"adapter_model__safetensors": save({"x.lora_A": np.zeros((2, 2), np.int8)})}, "nothing else"),
        ({"metrics__jsonl": '{"kind": "train", "step": 1}'}, "not what a lab exports"),
        ({"metrics__jsonl": '{"kind": "evil", "step": 1, "epoch": 1, "time": 1}'}, "not what a lab exports"),
        ({"run_config__json": '{"model": 3}'}, "names no base model"),
    ],
)
def test_what_is_refused_is_reported_and_leaves_nothing(lab, tmp_path, files, message):
    before = run_folders(lab)
    with pytest.raises(DataError, match=message):
        lab.transfers.import_run(HOST, zipped(tmp_path / "x.zip", **files))
    assert run_folders(lab) == before


def test_settings_that_are_none_are_named(lab, tmp_path):
    wrong = json.dumps({"model": "tiny-random", "train": {"learning_rate": "much"}, "data": {"source": "bundled"}})
    with pytest.raises(SettingsError, match="learning_rate"):
        lab.transfers.import_run(HOST, zipped(tmp_path / "x.zip", run_config__json=wrong))


def test_what_is_no_zip_is_an_error(lab, tmp_path):
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(DataError, match="cannot be unpacked"):
        lab.transfers.import_run(HOST, tmp_path / "x.zip")


def test_no_path_in_a_zip_leads_out_of_the_runs_folder(lab, tmp_path):
    file = zipped(tmp_path / "x.zip", folder="../../../../evil/")
    run_id = lab.transfers.import_run(HOST, file)
    assert (lab.data_dir / "runs" / run_id / "adapter" / "adapter_model.safetensors").is_file()
    assert not list(tmp_path.rglob("evil"))


def test_a_bomb_is_stopped_at_the_limit(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(import_run, "MAX_WEIGHTS", 1000)
    monkeypatch.setattr(import_run, "MAX_TEXT", 1000)
    for files in ({"adapter_model__safetensors": bytes(5000)}, {"facts__json": " " * 5000}):
        with pytest.raises(DataError, match="too large"):
            lab.transfers.import_run(HOST, zipped(tmp_path / "x.zip", **files))


def test_no_file_of_this_machine_becomes_its_data_and_no_claim_is_believed(lab, tmp_path):
    run_config = json.dumps({"model": "tiny-random", "data": {"source": "/etc/passwd"}})
    provenance = json.dumps({"recorded": {"machine": "x", "date": "y"}, "train_rows": 9, "weights_sha256": {"x": 1}})
    details = lab.runs.details(
        HOST,
        lab.transfers.import_run(HOST, zipped(tmp_path / "x.zip", run_config__json=run_config, facts__json=provenance)),
    )
    assert details["config"]["data"]["source"] == "bundled"
    assert "did not come along" in details["message"]
    assert (details["recorded"], details["facts"]) == (
        None,
        {"train_rows": 9, "imported": True, "not_imported": "rows"},
    )


@pytest.mark.parametrize("own", [None, {"source": "/gone/rows.json"}, {"source": "bundled", "seed": 3}])
def test_held_out_rows_come_from_the_data_that_is_given_where_it_brings_none(lab, exported, tmp_path, own):
    rows = [{"instruction": f"Say {n}", "output": f"{n} it is"} for n in range(30)]
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    data = {"source": str(tmp_path / "mine.json"), "seed": 7}
    with zipfile.ZipFile(exported[1]) as archive:
        weights, peft = archive.read("adapter_model.safetensors"), archive.read("adapter_config.json")
    files = {"run_config__json": own and json.dumps({"model": "tiny-random", "data": own})}
    file = zipped(tmp_path / "x.zip", weights, adapter_config__json=peft, **files)
    run_id = lab.transfers.import_run(HOST, file, data=data)
    details = lab.runs.details(HOST, run_id)
    if own and own["source"] == "bundled":
        assert (details["config"]["data"]["source"], details["config"]["data"]["seed"]) == ("bundled", 3)
        return
    assert (details["config"]["data"]["source"], details["config"]["data"]["seed"]) == (data["source"], 7)
    assert "take the held-out rows of" in details["message"]
    assert "the held-out rows of mine.json" in details["message"]
    *_, evaluation = lab.evaluations.stream(HOST, run_id, 2, {"max_new_tokens": 2})
    assert evaluation["rows"] == 2
    assert lab.evaluations.predictions(HOST, run_id)[0]["reference"].endswith("it is")


@pytest.mark.parametrize(
    ("own", "known", "not_known"),
    [
        (None, "trained elsewhere", ("rows of", "bundled", "learning_rate", "only the answer")),
        ({"source": "mine.json"}, "did not come along", ("bundled",)),
    ],
)
def test_a_card_claims_nothing_that_did_not_come_along_now_or_after_another_import(
    lab, exported, tmp_path, own, known, not_known
):
    with zipfile.ZipFile(exported[1]) as archive:
        weights, peft = archive.read("adapter_model.safetensors"), archive.read("adapter_config.json")
    files = {"run_config__json": own and json.dumps({"model": "tiny-random", "data": own})}
    file = zipped(tmp_path / "0.zip", weights, adapter_config__json=peft, **files)
    for step in (1, 2):
        run_id = lab.transfers.import_run(HOST, file)
        assert lab.runs.details(HOST, run_id)["message"] != "Imported."
        missing = lab.run_pages.contents(HOST, run_id, losses=False).missing
        assert "did not come along" in missing["tokens"]
        assert missing["step"] == missing["tokens"]
        file = lab.transfers.export(HOST, run_id, tmp_path / f"{step}.zip")
        with zipfile.ZipFile(file) as archive:
            card = archive.read("README.md").decode()
        assert known in card
        assert [claim for claim in (*not_known, "from None", "`None`") if claim in card] == []


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (None, "`run.py` trains another adapter of this shape with today's libraries, since this one's own rows and"),
        ({"source": "mine.json"}, "`run.py` trains with the same settings on other rows with today's libraries, since"),
        ({"source": "bundled"}, "`run.py` does the same training with today's libraries, from the base model and not"),
    ],
)
def test_a_repository_says_what_its_script_trains(lab, exported, tmp_path, own, says):
    with zipfile.ZipFile(exported[1]) as archive:
        weights, peft = archive.read("adapter_model.safetensors"), archive.read("adapter_config.json")
    files = {"run_config__json": own and json.dumps({"model": "tiny-random", "data": own})}
    if own:
        files["facts__json"] = json.dumps({"parent": {"id": "1", "name": "tulip", "step": 2}})
    file = zipped(tmp_path / "x.zip", weights, adapter_config__json=peft, **files)
    run = lab.store.get(lab.transfers.import_run(HOST, file))
    assert ("parent" in run.provenance) == bool(own)
    card = repository_files(lab.store, run, "ann/tulip", "")["README.md"].decode()
    assert says in card
    assert ("not from the adapter that this one goes on from" in card) == bool(own)


def test_rows_that_a_visitor_may_not_use_are_refused_and_nothing_is_left(tmp_path):
    with opened(tmp_path / "data", local_paths=False) as hosted:
        with pytest.raises(DataError, match="hosted"):
            hosted.transfers.import_run(MINE, zipped(tmp_path / "x.zip"), data={"source": "/etc/passwd"})
        assert run_folders(hosted) == []


def test_it_is_the_visitors_until_they_share_it(lab, tmp_path):
    file = zipped(tmp_path / "x.zip")
    run_id = lab.transfers.import_run(MINE, file)
    with pytest.raises(NotFoundError):
        lab.runs.details(OTHER, run_id)
    assert (lab.runs.is_shared(MINE, run_id), lab.runs.is_shared(OTHER, run_id)) == (False, None)
    lab.runs.share(MINE, run_id, True)
    assert lab.runs.details(OTHER, run_id)["imported"]
    with pytest.raises(LabError, match="reload the page"):
        lab.transfers.import_run(ANONYMOUS, file)


def test_the_command_line_imports(exported, tmp_path, capsys):
    assert main(["runs", "import", str(exported[1]), "--name", "x", "--json", "--data-dir", str(tmp_path / "d")]) == 0
    output = json.loads(capsys.readouterr().out)
    assert main(["runs", "show", output["run_id"], "--json", "--data-dir", str(tmp_path / "d")]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "x"
    (tmp_path / "no.zip").write_text("x")
    assert main(["runs", "import", str(tmp_path / "no.zip"), "--json", "--data-dir", str(tmp_path / "d")]) == 1
