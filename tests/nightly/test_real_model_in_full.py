"""The slow tests of tests/services/test_real_model.py, for the nightly run."""

from __future__ import annotations

from pathlib import Path

from test_real_model import assert_it_learned, lab_here, lab_process

REAL_ROWS = Path(__file__).parents[3] / "shared" / "data" / "code_alpaca_2k.json"


def test_the_preset_learns_from_longer_rows(tmp_path):
    """The preset itself, on Code Alpaca's own rows where this machine has them, else on the bundled ones."""
    data_dir = tmp_path / "data"
    source = str(REAL_ROWS) if REAL_ROWS.exists() else "bundled"
    result, _ = lab_process(data_dir, "lesson", "--preset", "minute", "--dataset", source)
    assert (result["train"]["status"], result["train"]["steps"]) == ("finished", 12)
    assert_it_learned(data_dir, result, probes=7)
    assert result["evaluation"]["rows"] == 40


def test_the_pipeline_learns_eight_rows_by_heart(tmp_path):
    """The preset itself, without its probes; one row may resist on a machine that rounds differently."""
    data_dir = tmp_path / "data"
    run_id = lab_process(data_dir, "train", "--preset", "overfit", "--set", "train.probes=0")[0]["run_id"]
    shown = lab_here(data_dir, "runs", "show", run_id)
    assert shown["facts"]["recited"]["rows"] == 8
    assert shown["facts"]["recited"]["exact"] >= 7
    assert shown["message"].endswith(": the pipeline learns.")
