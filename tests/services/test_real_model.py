"""The whole lesson with the real default model: real weights, real rows, the command line."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from instruct_tune.cli.commands import main

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def lab_process(data_dir: Path, *words: str) -> tuple[dict, str]:
    """Run a command of the lab in a process of its own, and return its JSON and its stderr."""
    command = [sys.executable, "-m", "instruct_tune", *words, "--data-dir", str(data_dir), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout), done.stderr


def lab_here(data_dir: Path, *words: str) -> dict:
    """Run a command of the lab in this process, which need not import everything anew, and return its JSON."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([*words, "--data-dir", str(data_dir), "--json"])
    assert status == 0, err.getvalue()[-2000:]
    assert "Traceback" not in err.getvalue()
    return json.loads(out.getvalue())


def assert_it_learned(data_dir: Path, result: dict, probes: int) -> None:
    """``probes``: how often the held-out loss was measured."""
    metrics = lab_here(data_dir, "runs", "show", result["run_id"])["metrics"]
    losses = [metric["probe_loss"] for metric in metrics if metric["kind"] == "probe"]
    assert len(losses) == probes
    assert losses[-1] < 0.97 * losses[0]
    # The first thing that a model learns is to stop.
    assert result["evaluation"]["tuned_ended"] > result["evaluation"]["base_ended"]


SHORT = {
    "data.limit": 16,
    "train.per_device_train_batch_size": 2,
    "train.probes": 1,
    "train.probe_rows": 4,
    "train.sample_tokens": 8,
    "evaluation_rows": 6,
    "generation.max_new_tokens": 40,
}
"""Few rows and short answers; still eight steps, after which the model ends most answers by itself."""


@pytest.fixture(scope="module")
def lesson(tmp_path_factory) -> tuple[Path, dict, str]:
    """A lesson's data folder, result and stderr."""
    data_dir = tmp_path_factory.mktemp("real") / "data"
    settings = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    return data_dir, *lab_process(data_dir, "lesson", "--preset", "minute", "--dataset", "bundled", *settings)


@pytest.fixture
def learned(lesson) -> tuple[Path, dict]:
    return lesson[:2]


def test_it_learns(learned):
    data_dir, result = learned
    train = result["train"]
    assert (train["status"], train["steps"]) == ("finished", 8)
    assert train["trainable_parameters"] == 921_600
    assert_it_learned(data_dir, result, probes=2)
    assert result["evaluation"]["rows"] == 6


def test_progress_is_printed_on_stderr_only(lesson):
    _, result, err = lesson
    assert set(result) >= {"run_id", "train", "evaluation"}
    for progress in ("step 1: loss", "step 8: loss", "Held-out loss", "Finished 8 steps.", "answers 12 of 12"):
        assert progress in err
    assert "Warning" not in err


def test_the_score_is_sacrebleus(learned, tmp_path):
    data_dir, result = learned
    rows = [json.loads(line) for line in Path(result["evaluation"]["predictions"]).read_text().splitlines()]
    assert len(rows) == 6
    files = {}
    for name in ("tuned", "reference"):
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(row[name]) + "\n" for row in rows))
    scored = lab_here(data_dir, "score", "--predictions", str(files["tuned"]), "--references", str(files["reference"]))
    assert scored == result["evaluation"]["tuned"]


def test_the_exported_adapter_gives_the_same_answers(learned, tmp_path):
    """With plain peft and transformers, as a user of the exported file loads it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data_dir, result = learned
    exported = tmp_path / "adapter.zip"
    lab_here(data_dir, "runs", "export", result["run_id"], "--to", str(exported))
    with zipfile.ZipFile(exported) as archive:
        archive.extractall(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    folder = result["train"]["model_path"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    row = json.loads(Path(result["evaluation"]["predictions"]).read_text().splitlines()[0])
    prompt = tokenizer(f"### Instruction:\n{row['instruction']}\n\n### Response:\n", return_tensors="pt")
    output = model.generate(**prompt, max_new_tokens=SHORT["generation.max_new_tokens"], do_sample=False)
    answer = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer == row["tuned"]


def test_the_recorded_tokens_are_those_of_the_default_model(tmp_path):
    from instruct_tune.config.presets import PRESETS
    from instruct_tune.config.viewer import HOST
    from instruct_tune.inspection.first_content import PRESET_NAMES, first_content
    from instruct_tune.lab import Lab

    lab = Lab(tmp_path)
    try:
        for name in PRESET_NAMES:
            assert first_content(name).tokens == lab.datasets.token_view(HOST, PRESETS[name], 0)
    finally:
        lab.close()


@pytest.mark.nightly
def test_the_recorded_views_are_those_of_the_best_example_run(tmp_path):
    from benchmarks.first_content import compared
    from instruct_tune.lab import Lab
    from instruct_tune.runs.examples import put_recorded
    from instruct_tune.ui.compare.first_views import FILE

    lab = Lab(tmp_path)
    try:
        put_recorded(lab.store)
        computed = compared(lab)
    finally:
        lab.close()
    assert_alike(json.loads(FILE.read_text(encoding="utf-8")), computed)


NUMBER = re.compile(r"\d+(?:\.\d+)?")


def assert_alike(recorded, computed) -> None:
    """Equal but for the last digits of the numbers, also of those in texts: another processor rounds otherwise."""
    if isinstance(recorded, dict):
        assert recorded.keys() == computed.keys()
        recorded, computed = list(recorded.values()), list(computed.values())
    if isinstance(recorded, list):
        assert len(recorded) == len(computed)
        for one, other in zip(recorded, computed, strict=True):
            assert_alike(one, other)
    elif isinstance(recorded, str):
        assert NUMBER.sub("0", recorded) == NUMBER.sub("0", computed)
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (recorded, computed)]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.05, abs=0.01)
    elif isinstance(recorded, float):
        assert recorded == pytest.approx(computed, rel=1e-3, abs=1e-3)
    else:
        assert recorded == computed
