"""An exported script of a real run: SmolLM2 on real rows, by a Python without the lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from script_runs import python_without_lab, run_scripts
from test_real_model import lab_here, lab_process
from test_real_model_in_full import REAL_ROWS


@pytest.mark.timeout(1800)
def test_a_script_of_the_real_model_gives_the_runs_numbers(tmp_path):
    """Without dropout, whose random numbers differ. Two machines' last digits may turn a word of a long answer."""
    data_dir = tmp_path / "data"
    source = str(REAL_ROWS) if REAL_ROWS.exists() else "bundled"
    result, _ = lab_process(
        data_dir, "lesson", "--preset", "minute", "--dataset", source, "--set", "lora.lora_dropout=0"
    )  # fmt: skip
    run_id, folder = result["run_id"], tmp_path / "alone"
    (folder / "HuggingFaceTB").mkdir(parents=True)
    (folder / "HuggingFaceTB" / "SmolLM2-135M-Instruct").symlink_to(result["train"]["model_path"])
    if source != "bundled":
        (folder / REAL_ROWS.name).symlink_to(REAL_ROWS)
    script = folder / "run.py"
    lab_here(data_dir, "export-script", run_id, "--to", str(script))
    found = run_scripts(python_without_lab(tmp_path / "venv"), [script])[script]

    shown = lab_here(data_dir, "runs", "show", run_id)
    assert found["FINGERPRINT"] == shown["facts"]["data_fingerprint"]
    for kind, name, here in (("train", "loss", "losses"), ("eval", "eval_loss", "held_out_losses")):
        lab = {metric["step"]: metric[name] for metric in shown["metrics"] if metric["kind"] == kind}
        found_here = {int(step): loss for step, loss in found[here].items()}
        print(name, max(abs(found_here[step] - lab[step]) for step in lab))
        assert found_here == pytest.approx(lab, abs=1e-3)
    rows = [json.loads(line) for line in Path(result["evaluation"]["predictions"]).read_text().split("\n") if line]
    for side in ("base", "tuned"):
        same = sum(text == row[side] for (text, _), row in zip(found[f"{side}_answers"], rows, strict=True))
        print(side, same, "of", len(rows), result["evaluation"][side]["bleu"], found["scores"][side])
        assert same >= 0.9 * len(rows)
        assert found["scores"][side] == pytest.approx(result["evaluation"][side]["bleu"], abs=0.5)
