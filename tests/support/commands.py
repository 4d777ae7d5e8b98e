"""Helpers for the tests of the command line: they run commands in this process or a new one, and check the output."""

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
    """A shared cache, a data folder of the test's own, and a working folder that holds neither."""
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
    """Runs a command with ``--json``; returns its exit status and its JSON object."""

    def run(*arguments):
        status = main([*map(str, arguments), "--json"])
        out, run.stderr = capsys.readouterr()
        assert out.endswith("\n")
        assert out.count("\n") == 1, "stdout is exactly one line"
        result = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert isinstance(result, dict)
        return status, result

    return run


@pytest.fixture
def answer_of(run):
    """Runs a command that must succeed; returns its JSON object."""

    def succeed(*arguments):
        status, result = run(*arguments)
        assert status == 0, result
        return result

    return succeed


@pytest.fixture
def refused(capsys):
    """Runs a wrong command with and without ``--json``; returns the last line of stderr."""

    def refused(*arguments):
        assert main(list(map(str, arguments))) == 1
        out, plain = capsys.readouterr()
        assert out == ""
        assert main([*map(str, arguments), "--json"]) == 1
        out, err = capsys.readouterr()
        assert out.count("\n") == 1
        assert isinstance(json.loads(out), dict)
        # A command that had begun may have printed progress first.
        last = err.splitlines()[-1]
        assert last == plain.splitlines()[-1] or "run 20" in err
        assert "Traceback" not in err + plain
        assert last.startswith(f"{arguments[0]}: ")
        if "run 20" not in err:
            assert err.count("\n") == 1
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
    """Run the command in a process of its own; return (status, stdout, stderr)."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, timeout=300
    )
    return done.returncode, done.stdout, done.stderr
