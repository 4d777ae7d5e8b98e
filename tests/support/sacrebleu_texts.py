"""Made-up answers with their references, and what sacreBLEU's own command prints for texts."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path


def corpus(rows: int, kept: float, seed: int = 7) -> tuple[list[str], list[str]]:
    """Made-up answers and their references, code and prose; a word of an answer is right with probability ``kept``."""
    words = 'def return x = [i for i in range(10)] print("héllo, wörld!") &quot; the a of model, 3.14 < 5% 日本 it\'s .'
    dice = random.Random(seed)
    references = [" ".join(dice.choices(words.split(), k=dice.randint(5, 15))) for _ in range(rows)]
    predictions = [
        " ".join(word if dice.random() < kept else "wrong" for word in text.split())[: dice.randint(20, 80)]
        for text in references
    ]
    return predictions, references


def sacrebleu_prints(folder: Path, options: list[str], **texts: list[str]) -> list[dict]:
    """The JSON that ``python -m sacrebleu`` prints, run on ``texts``, which become files of those names."""
    for name, lines in texts.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    # Python's UTF-8 mode makes it read the files as written under any locale.
    environment = {**os.environ, "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "sacrebleu", *options, "--format", "json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)
