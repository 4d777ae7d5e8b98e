"""Where the lab cannot run, each start ends with one sentence and status 1, before any import fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instruct_tune.util.supported_platform import unsupported

ROOT = Path(__file__).parents[2]
STARTS = ["runpy.run_path('app.py', run_name='__main__')", "runpy.run_module('instruct_tune', run_name='__main__')"]


def test_linux_and_macos_are_supported():
    assert unsupported((3, 10), "linux", has_locks=True) is None
    assert unsupported((3, 13), "darwin", has_locks=True) is None


def test_windows_is_sent_to_wsl():
    sentence = unsupported((3, 12), "win32", has_locks=False)
    assert "Linux and macOS" in sentence
    assert "(win32)" in sentence
    assert "WSL" in sentence


def test_an_older_python_is_named():
    assert "needs Python 3.10 or newer, and this is 3.9" in unsupported((3, 9), "linux", has_locks=True)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("sys.modules['fcntl'] = None", "runs on Linux and macOS"),
        ("sys.version_info = (3, 9, 18, 'final', 0)", "needs Python 3.10 or newer"),
    ],
    ids=["no fcntl", "Python 3.9"],
)
def test_a_start_that_cannot_be_is_one_sentence(start, lacking, words):
    script = f"import runpy, sys; {lacking}; sys.argv = ['lab', 'runs', 'list']; {start}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_make_names_the_python_that_it_lacks(tmp_path):
    """``make`` and its shell are on the path, Python is not."""
    done = subprocess.run(
        ["make", "-C", ROOT, "PYTHON=", f"BIN={tmp_path}/bin", f"{tmp_path}/bin/python"],
        capture_output=True, text=True, env=os.environ, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Python 3.10 or newer is needed" in done.stderr


def test_what_is_required_is_the_same_everywhere():
    """The package's metadata, the linter and the type checker target the oldest Python that the lab starts on."""
    from instruct_tune.util.supported_platform import OLDEST_PYTHON

    text = (ROOT / "pyproject.toml").read_text()
    dotted = "{}.{}".format(*OLDEST_PYTHON)
    assert f'requires-python = ">={dotted}"' in text
    assert f'target-version = "py{dotted.replace(".", "")}"' in text
    assert f'python_version = "{dotted}"' in text
