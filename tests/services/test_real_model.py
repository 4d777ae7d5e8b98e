"""The whole lesson with the real default model: real weights, real rows, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REAL_ROWS = ROOT.parent / "shared" / "data" / "code_alpaca_2k.json"

pytestmark = pytest.mark.slow


def lab(data_dir: Path, *words: str) -> dict:
    """Run a command of the lab, and return its JSON."""
    command = [sys.executable, "-m", "instruct_tune", *words, "--data-dir", str(data_dir), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> tuple[Path, dict]:
    data_dir = tmp_path_factory.mktemp("real") / "data"
    # Code Alpaca's own rows where this machine has them, else the bundled ones.
    source = str(REAL_ROWS) if REAL_ROWS.exists() else "bundled"
    limits = ["--set", "data.limit=32", "--set", "evaluation_rows=24", "--set", "generation.max_new_tokens=64"]
    return data_dir, lab(data_dir, "lesson", "--preset", "minute", "--dataset", source, *limits)


def test_it_learns(learned):
    data_dir, result = learned
    train, evaluation = result["train"], result["evaluation"]
    assert (train["status"], train["steps"]) == ("finished", 8)
    assert train["trainable_parameters"] == 921_600
    metrics = lab(data_dir, "runs", "show", result["run_id"])["metrics"]
    probes = [metric["probe_loss"] for metric in metrics if metric["kind"] == "probe"]
    assert len(probes) == 7
    assert probes[-1] < 0.97 * probes[0]
    # The first thing that a model learns is to stop.
    assert evaluation["tuned_ended"] > evaluation["base_ended"]
    assert evaluation["rows"] == 24


def test_the_score_is_sacrebleus(learned, tmp_path):
    data_dir, result = learned
    rows = [json.loads(line) for line in Path(result["evaluation"]["predictions"]).read_text().splitlines()]
    assert len(rows) == 24
    files = {}
    for name in ("tuned", "reference"):
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(row[name]) + "\n" for row in rows))
    scored = lab(data_dir, "score", "--predictions", str(files["tuned"]), "--references", str(files["reference"]))
    assert scored == result["evaluation"]["tuned"]


def test_the_exported_adapter_gives_the_same_answers(learned, tmp_path):
    """With plain peft and transformers, as a user of the exported file loads it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data_dir, result = learned
    exported = tmp_path / "adapter.zip"
    lab(data_dir, "runs", "export", result["run_id"], "--to", str(exported))
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
    output = model.generate(**prompt, max_new_tokens=64, do_sample=False)
    answer = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer == row["tuned"]
