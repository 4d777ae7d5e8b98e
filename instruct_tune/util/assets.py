"""The files that come with the lab: the bundled dataset, general text, recorded runs, measured scores."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def asset(name: str) -> Path:
    """The path of a file or folder of ``assets``: beside the package in a checkout, inside it once installed."""
    installed = _PACKAGE / "assets"
    return (installed if installed.is_dir() else _PACKAGE.parent / "assets") / name
