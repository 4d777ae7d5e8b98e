"""A run's published numbers, recomputed from its file of answers with only the ``sacrebleu`` command."""

import json
import subprocess
import sys

import pytest

from instruct_tune.runs.examples import ASSETS


def one_line(text):
    """A text on one line, as the command needs it; its tokenizer (13a) begins with the same two steps."""
    return text.replace("-\n", "").replace("\n", " ")


@pytest.mark.parametrize("who", ["base", "tuned"])
@pytest.mark.parametrize("name", ["good", "too-high"])
def test_the_command_gives_the_recorded_score(name, who, tmp_path):
    rows = [json.loads(line) for line in (ASSETS / name / "predictions.jsonl").read_text("utf-8").split("\n") if line]
    for side in (who, "reference"):
        (tmp_path / side).write_text("".join(one_line(row[side]) + "\n" for row in rows), encoding="utf-8", newline="")
    command = [sys.executable, "-m", "sacrebleu", "reference", "-i", who, "-m", "bleu", "-b", "-w", "17"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shown = json.loads((ASSETS / name / "evaluation.json").read_text(encoding="utf-8"))[who]
    # Bit for bit on the Python that recorded them; from 3.12 on ``sum``, which sacrebleu uses, rounds less.
    exactly = sys.version_info < (3, 12)
    assert float(done.stdout) == (shown["bleu"] if exactly else pytest.approx(shown["bleu"], rel=1e-14))
