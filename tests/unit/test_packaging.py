"""What an installation contains: the pinned dependencies, the lab's files, the command."""

import re
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement
from pyproject import PROJECT, ROOT

TORCH, *PINS = PROJECT["dependencies"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def usual_torch():
    """The release that the Makefile installs."""
    return re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]


def test_requirements_are_those_of_the_project():
    assert requirements() == [f"torch=={usual_torch()}", *PINS]


@pytest.mark.parametrize("release", ["2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0", usual_torch()])
def test_the_project_takes_each_torch_of_the_promised_range(release):
    assert Requirement(TORCH).specifier.contains(release)


@pytest.mark.parametrize("release", ["2.7.1", "2.14.0"])
def test_the_project_takes_no_other_torch(release):
    assert not Requirement(TORCH).specifier.contains(release)


@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_has_one_exact_pin_of_every_dependency(python):
    pins = [Requirement(pin) for pin in [*requirements(), *PROJECT["optional-dependencies"]["dev"]]]
    here = [pin for pin in pins if not pin.marker or pin.marker.evaluate({"python_version": python})]
    needless = set() if python == "3.10" else {"tomli"}
    assert sorted(pin.name for pin in here) == sorted({pin.name for pin in pins} - needless)
    assert [str(pin) for pin in here if [each.operator for each in pin.specifier] != ["=="]] == []


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
        f"instruct_tune/assets/{name}"
        for name in ("experiments.json", "first_content.json", "instructions.jsonl", "why_04.json")
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
