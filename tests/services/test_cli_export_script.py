"""``python -m instruct_tune export-script``: a run or a configuration becomes a file, or one sentence says why not."""

import ast
import json

import pytest
from commands import _folders, answer_of, refused, run, trained

from instruct_tune.config.presets import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_becomes_a_script(answer_of, tmp_path, preset):
    file = tmp_path / f"{preset}.py"
    answer = answer_of("export-script", "--preset", preset, "--set", "lora.r=3", "--to", file)
    assert answer == {"run_id": None, "file": str(file)}
    ast.parse(file.read_text())
    assert "    r=3,\n" in file.read_text()


def test_a_run_becomes_a_script_and_a_notebook_with_its_numbers(answer_of, trained, tmp_path):
    folder, run_id = trained
    for name in ("run.py", "run.ipynb"):
        answer = answer_of("export-script", run_id, "--to", tmp_path / name, "--data-dir", folder)
        assert answer == {"run_id": run_id, "file": str(tmp_path / name)}
    text = (tmp_path / "run.py").read_text()
    assert "# Run: tulip\n" in text
    fingerprint = answer_of("runs", "show", run_id, "--data-dir", folder)["facts"]["data_fingerprint"]
    assert f'LAB_FINGERPRINT = "{fingerprint}"' in text
    assert "\nLAB_LOSSES = {" in text
    assert str(folder) not in text
    assert json.loads((tmp_path / "run.ipynb").read_text())["nbformat"] == 4


def test_what_cannot_be_written_gets_one_sentence(refused, trained, tmp_path):
    folder, run_id = trained
    there = tmp_path / "there.py"
    there.write_text("mine")
    for message, *arguments in (
        ("run.txt: a script is saved as .py or .ipynb", run_id, "--to", tmp_path / "run.txt"),
        ("no-such-run", "no-such-run", "--to", tmp_path / "run.py"),
        ("there.py is there already", run_id, "--to", there),
        ("run.py cannot be written", run_id, "--to", tmp_path / "nowhere" / "run.py"),
        ("a run has its own settings", run_id, "--preset", "quick", "--to", tmp_path / "run.py"),
        ("there is nothing to write", "--to", tmp_path / "run.py"),
        ("lora.rank is not a setting", "--set", "lora.rank=3", "--to", tmp_path / "run.py"),
    ):
        assert message in refused("export-script", *arguments, "--data-dir", folder)
    assert there.read_text() == "mine"
    assert not (tmp_path / "run.py").exists()
