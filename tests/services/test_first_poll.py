"""A page's first poll draws the recorded run on every tab, with nothing that takes seconds to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
class Slow:
    def find_spec(self, name, path, target=None):
        if name in ("torch", "transformers", "datasets"):
            raise ImportError(f"{name} takes seconds to import")
sys.meta_path.insert(0, Slow())

import gradio
from instruct_tune.lab import Lab
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.ui import build_ui

lab = Lab(Path(sys.argv[1]))
put_recorded(lab.store)
page = build_ui(lab)
(poll,) = (each for each in page.fns.values() if any(event == "tick" for _, event in each.targets))
states = [each for each in poll.inputs if isinstance(each, gradio.State)]
shown_run = max(states, key=poll.inputs.count)
chosen = {"compare-run": BEST, "evaluate-run": BEST}
values = [BEST if each is shown_run else chosen.get(each.elem_id, each.value) for each in poll.inputs]
for component, value in zip(poll.outputs, poll.fn(*values), strict=True):
    if value != gradio.skip():
        print(component.elem_id)
lab.close()
"""


@pytest.mark.slow
def test_it_draws_the_recorded_run_without_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    drawn = set(done.stdout.split())
    assert drawn >= {"train-chart", "train-scrubber", "evaluate-plot", "evaluate-table", "runs-table", "strip"}
