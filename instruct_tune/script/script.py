"""The whole run as one Python file, and the parts of it that belong to a tab."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..config.run_config import GenerationSettings, RunConfig
from ..evaluation import bleu_tokenizers
from .answers import compare_sections
from .code import TABS, Line, Section, code, note
from .ledger_code import needs_rapidfuzz
from .outgoing import outgoing
from .prompts import format_sections
from .record import Record
from .rows import data_sections
from .scores import evaluate_sections
from .training import train_sections
from .versions import header, pinned

INTRODUCTION = (
    "Instruction tuning from the first row to BLEU, with datasets, transformers, PEFT, TRL and sacreBLEU alone.",
    "Written by Instruction-Tuning Lab. It runs on its own: uv run THIS_FILE, or python THIS_FILE where the libraries "
    "are installed, or accelerate launch THIS_FILE on several GPUs.",
)


def tab_sections(config: RunConfig, tab: str, tokenize: str = bleu_tokenizers.DEFAULT) -> tuple[Section, ...]:
    """What ``tab`` does, as sections of code with the current settings; without the bundled rows themselves."""
    return tuple(_of_tab(tab, outgoing(config), None, tokenize, packed=False))


def sections(
    config: RunConfig, record: Record | None = None, tokenize: str | None = None, *, packed: bool = True
) -> tuple[Section, ...]:
    """The whole run in order.

    ``tokenize``: how BLEU counts words, by default as in the record. ``packed``: with the bundled rows themselves,
    where the run has them.
    """
    config, chosen = _as_evaluated(outgoing(config), record), _tokenize(record, tokenize)
    parts = (section for tab in TABS for section in _of_tab(tab, config, record, chosen, packed))
    return (Section("start", "One process speaks", tuple(_start())), *parts)


def _tokenize(record: Record | None, chosen: str | None) -> str:
    return chosen or (record and record.tokenize) or bleu_tokenizers.DEFAULT


def _of_tab(tab: str, config: RunConfig, record: Record | None, tokenize: str, packed: bool) -> list[Section]:
    if tab == "data":
        return data_sections(config.data, record, packed)
    if tab == "format":
        return format_sections(config, record)
    if tab == "train":
        return train_sections(config, record)
    if tab == "compare":
        evaluated = record.evaluation["rows"] if record and record.evaluation else config.evaluation_rows
        return compare_sections(config.generation, None if evaluated == config.evaluation_rows else evaluated)
    return evaluate_sections(config, record, tokenize)


def _as_evaluated(config: RunConfig, record: Record | None) -> RunConfig:
    """The configuration with the generation settings of the run's newest evaluation, so that the numbers compare."""
    if record is None or record.evaluation is None:
        return config
    chosen = record.evaluation["generation"]
    known = {field.name for field in dataclasses.fields(GenerationSettings)}
    generation = GenerationSettings(**{name: value for name, value in chosen.items() if name in known})
    return dataclasses.replace(config, generation=generation)


def requirements(config: RunConfig, record: Record | None = None, tokenize: str | None = None, *more: str) -> list[str]:
    """The libraries with their versions, one ``name==version`` each. ``tokenize``: as in ``sections``."""
    libraries = pinned(
        record.versions() if record else {}, *(("rapidfuzz",) if needs_rapidfuzz(config.data) else ()), *more
    )
    _, with_dictionary = bleu_tokenizers.MECAB.get(_tokenize(record, tokenize), ((), "sacrebleu"))
    return [each.replace("sacrebleu==", f"{with_dictionary}==") for each in libraries]


def script(config: RunConfig, record: Record | None = None, tokenize: str | None = None) -> str:
    """The run as the text of a Python file, with its requirements in the header."""
    return script_of(config, record, sections(config, record, tokenize), tokenize)


def script_of(config: RunConfig, record: Record | None, parts: Sequence[Section], tokenize: str | None = None) -> str:
    """The text of a Python file that has these sections."""
    texts = [header(requirements(config, record, tokenize)), "".join(f"{line.text}\n" for line in introduction(record))]
    texts += [f"# {'-' * 10} {section.title}\n\n{section.text}\n" for section in parts]
    return "\n\n".join(texts)


def introduction(record: Record | None) -> list[Line]:
    """What the file is, as a comment."""
    lines: Sequence[str] = (*INTRODUCTION, *((f"Run: {record.name}",) if record else ()))
    return [line for text in lines for line in note(text)]


def _start() -> list[Line]:
    return code("""
        import os
        import sys

        if "LOCAL_RANK" not in os.environ:
            # Started without a launcher, this is one process, and one process uses one GPU.
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if os.environ.get("RANK", "0") != "0":
            sys.stdout = open(os.devnull, "w")  # every process runs this file, one of them speaks
    """)
