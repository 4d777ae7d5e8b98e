"""What the tests of the command line share: commands in this process and in one of their own, and what they tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from labs import cache_for, finished, opened, smoke

from instruct_tune.cli.commands import main

CODE_ALPACA = Path(__file__).parents[3] / "shared" / "data" / "code_alpaca_2k.json"
ROOT = Path(__file__).parents[2]
REPORT = {"bleu", "precisions", "bp", "sys_len", "ref_len", "signature", "ci", "chrf"}
TRAIN = {
    "run_id", "status", "steps", "tokens", "train_loss", "eval_loss", "tokens_per_second", "trainable_parameters",
    "adapter", "model_path",
}  # fmt: skip
EVALUATION = {"run_id", "rows", "generation", "base", "tuned", "delta", "p_value", "predictions"}


@pytest.fixture(autouse=True)
def _folders(monkeypatch, tmp_path, tmp_path_factory):
    """A cache that is shared, a data folder that is not, and a working folder that holds neither."""
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    monkeypatch.setenv("LAB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data folder with one finished run. Tests only read it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(folder) as lab:
            return folder, finished(lab, smoke(), "tulip")


@pytest.fixture
def run(capsys):
    """Runs a command with ``--json`` and returns its status and its one object."""

    def run(*arguments):
        status = main([*map(str, arguments), "--json"])
        out, run.stderr = capsys.readouterr()
        assert out.endswith("\n")
        assert out.count("\n") == 1, "stdout is exactly one line"
        told = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert isinstance(told, dict)
        return status, told

    return run


@pytest.fixture
def told(run):
    """Runs a command that succeeds and returns its object."""

    def told(*arguments):
        status, told = run(*arguments)
        assert status == 0, told
        return told

    return told


@pytest.fixture
def refused(capsys):
    """Runs a command that a person got wrong, with and without ``--json``, and returns what is said."""

    def refused(*arguments):
        assert main(list(map(str, arguments))) == 1
        out, plain = capsys.readouterr()
        assert out == ""
        assert main([*map(str, arguments), "--json"]) == 1
        out, said = capsys.readouterr()
        assert out.count("\n") == 1
        assert isinstance(json.loads(out), dict)
        # A command that had begun may have told its progress first.
        last = said.splitlines()[-1]
        assert last == plain.splitlines()[-1] or "run 20" in said
        assert "Traceback" not in said + plain
        assert last.startswith(f"{arguments[0]}: ")
        if "run 20" not in said:
            assert said.count("\n") == 1
        return last

    return refused


def write_json(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_lines(path, values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def command(*arguments):
    return [sys.executable, "-m", "instruct_tune", *map(str, arguments)]


def ran(*arguments, **environment):
    """The command as a process of its own: (status, stdout, stderr)."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, timeout=300
    )
    return done.returncode, done.stdout, done.stderr
