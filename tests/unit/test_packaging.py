"""What an installation contains: the pinned dependencies, the lab's files, the command."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_are_those_of_the_project():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == PROJECT["dependencies"]


def test_every_dependency_is_pinned():
    pins = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert [pin for pin in pins if pin.count("==") != 1] == []


@pytest.mark.slow
def test_the_wheel_holds_the_lab_and_its_files(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    kinds = ("*.py", "*.js", "*.css")
    sources = {str(file.relative_to(ROOT)) for kind in kinds for file in (ROOT / "instruct_tune").rglob(kind)}
    assert sources <= names
    assert {
        f"instruct_tune/assets/{name}" for name in ("first_content.json", "instructions.jsonl", "why_04.json")
    } <= names
    assert any(name.startswith("instruct_tune/assets/recorded/") for name in names)
    assert not any(name.startswith(("tests/", "assets/")) for name in names)
    # An installed copy finds them there too.
    script = (
        "from instruct_tune.config.run_config import DataSettings; from instruct_tune.data.splits import load_splits;"
        "from instruct_tune.runs.examples import ASSETS; from instruct_tune.evaluation.lesson_scores import measured;"
        "assert 'site' in str(ASSETS) and list(ASSETS.glob('*/run.json')) and measured();"
        "print(load_splits(DataSettings(limit=None)).rows_loaded)"
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500
