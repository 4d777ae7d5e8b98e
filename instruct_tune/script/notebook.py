"""The whole run as a Jupyter notebook: the script's sections as cells, with headings and a plot of the losses."""

from __future__ import annotations

import json
from typing import Any

from ..config.run_config import RunConfig
from ..text.markdown import plain
from ..text.python_literal import literal
from .code import Line, code
from .record import Record
from .script import INTRODUCTION, requirements, sections

_HEADINGS = {
    "start": "Begin",
    "data": "Data: the rows",
    "format": "Format: rows become tokens",
    "train": "Train: LoRA",
    "compare": "Compare: base and tuned answer",
    "evaluate": "Evaluate: BLEU, and what it does not say",
}
_PLOT = code("""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.5))
    axes.plot(list(losses), list(losses.values()), color="0.6", label="training, each step")
    if held_out_losses:
        axes.plot(list(held_out_losses), list(held_out_losses.values()), marker="o", label="held out")
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats a supervised token")
    axes.legend()
    plt.show()
""")


def notebook(config: RunConfig, record: Record | None = None, tokenize: str | None = None) -> str:
    """The run as the JSON of a notebook (nbformat 4.5)."""
    name = f"\n\nRun: {plain(record.name)}" if record else ""
    cells = [_text("# A run of Instruction-Tuning Lab\n\n" + "\n\n".join(map(plain, INTRODUCTION)) + name)]
    libraries = requirements(config, record, tokenize, "matplotlib")
    install = _install(libraries, record is not None and bool(record.versions()))
    cells.append(_code("\n".join(line.text for line in install)))
    tab = ""
    for section in sections(config, record, tokenize):
        if section.tab != tab:
            tab = section.tab
            cells.append(_text(f"## {_HEADINGS[tab]}"))
        cells += [_text(f"### {section.title}"), _code(section.text)]
        if section.title == "Train":
            cells += [_text("### The losses"), _code("\n".join(line.text for line in _PLOT))]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _install(libraries: list[str], recorded: bool) -> list[Line]:
    """Colab keeps its own torch, which fits its GPU. ``recorded``: whether the run says what it was trained with."""
    comment = "The run's versions, and this lab's where it recorded none." if recorded else "This lab's versions."
    return [
        *code("""
            import subprocess
            import sys
        """),
        Line(""),
        Line(f"# {comment}"),
        Line("LIBRARIES = ["),
        *(Line(f"    {literal(each)},") for each in libraries),
        *code("""
            ]
            if "google.colab" in sys.modules:
                # Colab keeps its own torch, which fits its GPU.
                others = [each for each in LIBRARIES if not each.startswith("torch==")]
                subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *others], check=True)
        """),
    ]


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def _code(source: str) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": lines}
