"""An evaluation's texts as files for the ``sacrebleu`` command, so that anybody can score them again.

The command reads a row a line, and an answer may have many lines. sacreBLEU drops white space at a text's end and
reads a line break inside it as a space, by 13a after a hyphen as nothing. The files have that done, so BLEU stays
the same to the last bit (chrF too, except where a line ends in a hyphen).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SIDES = ("base", "tuned")


def write_zip(rows: Sequence[Mapping[str, Any]], file: Path, tokenize: str) -> None:
    """The references and each side's answers, a file each, and ``command.txt``, which scores them."""
    others = [name for name in (rows[0] if rows else {}) if name.startswith("baseline_")]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name in ("reference", *SIDES, *others):
            out.writestr(f"{name}.txt", "".join(f"{one_line(row[name], tokenize)}\n" for row in rows))
        answers = " ".join(f"{name}.txt" for name in (*SIDES, *others))
        out.writestr(
            "command.txt",
            f"sacrebleu reference.txt -i {answers} -m bleu --tokenize {tokenize} --paired-bs --width 4\n",
        )


def one_line(text: str, tokenize: str) -> str:
    """``text`` on one line, which ``tokenize`` cuts into the same words (sacreBLEU's ``tokenizer_13a.py``)."""
    text = text.rstrip()
    if "\n" not in text:
        return text
    if tokenize == "13a":
        text = text.replace("<skipped>", "").replace("-\n", "")
        # What the removals put together stays a word; the command removes the mark inside it again.
        text = text.replace("<skipped>", "<skip<skipped>ped>")
    return text.replace("\n", " ")
