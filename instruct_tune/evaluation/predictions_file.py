"""An evaluation's rows as a file to download: JSONL, CSV, Parquet, or a zip for sacrebleu."""

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
    """Write the references and each side's answers, a file each, and ``command.txt``, the command that scores them."""
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
    """``text`` on one line, with the same tokens under ``tokenize`` (sacreBLEU's ``tokenizer_13a.py``)."""
    text = text.rstrip()
    if "\n" not in text:
        return text
    if tokenize == "13a":
        text = text.replace("<skipped>", "").replace("-\n", "")
        # A removal may create a new <skipped>, which is text: the command removes the inner mark and restores it.
        text = text.replace("<skipped>", "<skip<skipped>ped>")
    return text.replace("\n", " ")


ENDINGS = ("jsonl", "csv", "parquet", "zip")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""The characters that begin a spreadsheet formula, which may send the sheet's content elsewhere."""


def check_ending(file: Path) -> None:
    """Raise DataError where ``write_rows`` does not support the file's ending."""
    if file.suffix.lower().lstrip(".") not in ENDINGS:
        raise DataError(f"{file.name} must end in one of {', '.join('.' + ending for ending in ENDINGS)}.")


def write_rows(rows: Sequence[Mapping[str, Any]], file: Path, tokenize: str = DEFAULT) -> None:
    """Write all rows, one column a field. In CSV an apostrophe precedes texts that a spreadsheet would run.

    JSONL and Parquet contain the texts unchanged; the zip is for scoring with ``tokenize``, see ``write_zip``.
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
    # With a byte order mark, without which Excel does not read UTF-8.
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
