"""The rows of an evaluation as a file to take home: JSONL, CSV, Parquet, or a zip for sacrebleu."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from .bleu_tokenizers import DEFAULT

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


ENDINGS = ("jsonl", "csv", "parquet", "zip")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula, which may send away what else is in the sheet."""


def check_ending(file: Path) -> None:
    """Raises DataError where ``write_rows`` would not know how to write such a file."""
    if file.suffix.lower().lstrip(".") not in ENDINGS:
        raise DataError(f"{file.name} must end in one of {', '.join('.' + ending for ending in ENDINGS)}.")


def write_rows(rows: Sequence[Mapping[str, Any]], file: Path, tokenize: str = DEFAULT) -> None:
    """All rows, a column a field. In CSV a text that a spreadsheet would run gets an apostrophe in front.

    JSONL and Parquet hold every text as it is; the zip is for scoring by ``tokenize``, see ``sacrebleu_files``.
    Raises DataError where the file cannot be written.
    """
    check_ending(file)
    ending = file.suffix.lower().lstrip(".")
    try:
        if ending == "zip":
            write_zip(rows, file, tokenize)
        else:
            {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[ending](rows, file)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}.") from error


def _jsonl(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _csv(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    # With a mark, or Excel does not take it for UTF-8.
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _parquet(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), file)
