"""A run as a repository on the Hub: its files, what may replace what, and notices before a push."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ..config.catalog import TINY_MODEL
from ..errors import DataError, HubError
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..runs.provenance import ROWS, TRAINING, not_imported
from ..store.run import Run
from ..store.run_store import RunStore
from ..text.plain_text import shown
from .adapter_zip import run_files
from .model_card import is_local

SCRIPT_FILE, ROWS_FILE = "run.py", "evaluation.jsonl"
MARKS = {WEIGHTS_FILE, "run_config.json", "facts.json"}
"""Files that a repository has together only where a lab wrote it."""
OWN_FILES = {*MARKS, CONFIG_FILE, "README.md", "metrics.jsonl", "loss.png", SCRIPT_FILE, ROWS_FILE}
"""Every file that a lab writes."""
EMPTY = {".gitattributes"}
"""What the Hub puts into a new repository."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_SHARED_ALIKE = re.compile(r"(cc0|cc[- ]by|apache|mit\b|bsd|odc-by|odbl|pddl|cdla|openrail)", re.IGNORECASE)


def is_name(text: str) -> bool:
    """Whether the Hub takes a repository of that name, OWNER/NAME."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return _NAME.fullmatch(text) is not None


def checked_name(name: object) -> str:
    """``name`` without spaces around it. Raises DataError where ``is_name`` does not hold."""
    text = name.strip() if isinstance(name, str) else ""
    if not is_name(text):
        raise DataError(
            f"{shown(name)} is no name for a repository: give OWNER/NAME, your own account and a name of letters, "
            "digits, -, _ and . (96 characters at most)."
        )
    return text


def repository_files(
    store: RunStore, run: Run, repo: str, script: str, rows: Path | None = None
) -> dict[str, bytes | Path]:
    """The files of ``run``, as for ``run_files``, by their paths in ``repo``.

    ``script``: the run as plain Python. ``rows``: the file of its last evaluation's rows, where they go along.
    """
    beside = _about_script(run)
    if rows:
        beside += f" `{ROWS_FILE}` has the held-out rows of the evaluation with the answers of base and tuned."
    files = {**run_files(store, run, repo=repo, beside=beside), SCRIPT_FILE: script.encode()}
    return files | ({ROWS_FILE: rows} if rows else {})


def _about_script(run: Run) -> str:
    missing = not_imported(run.provenance)
    trains = {
        "": "does the same training",
        ROWS: "trains with the same settings on other rows",
        TRAINING: "trains another adapter of this shape",
    }
    about = f"`{SCRIPT_FILE}` {trains[missing]} with today's libraries"
    if missing:
        own = "rows" if missing == ROWS else "rows and settings"
        about += f", since this one's own {own} are not known"
    if run.provenance.get("parent"):
        about += ", from the base model and not from the adapter that this one goes on from"
    return f"{about}. It needs no lab."


def to_remove(repo: str, present: Collection[str], pushed: Collection[str], replace: bool) -> list[str]:
    """The files of ``repo`` that the commit removes: what a lab wrote earlier, and with ``replace`` all others too.

    ``present``: its files now. Raises HubError where they are not a lab's and ``replace`` is false.
    """
    others = set(present) - EMPTY
    if others and not others >= MARKS and not replace:
        raise HubError(
            f"{repo} is on the Hub already and holds other things than a run of this lab: choose another name, or say "
            "that the run replaces them (--replace, or the tick on the page); the repository's history keeps them."
        )
    removed = others if replace else others & OWN_FILES
    return sorted(removed - set(pushed))


def notices(run: Run) -> list[str]:
    """What to know of ``run`` before it is pushed, a sentence each. ``run``: the result of ``machine_paths.shared``."""
    model, provenance = run.config["model"], run.provenance
    digest = f"(sha256 {str(provenance.get('weights_sha256'))[:12]}…)"
    if is_local(run) or model == TINY_MODEL:
        return [
            f"The base model {model} is not on the Hub: only who has the same weights {digest} can use the adapter."
        ]
    if "4-bit" in str(provenance.get("weights_source")):
        return [
            f"It was trained on a 4-bit copy of {model}, which is not what the Hub has under that name: on the Hub's "
            "weights it may answer differently, as its card says."
        ]
    return []


def may_redistribute(licence: object) -> bool:
    """Whether a dataset's licence, as its card has it, lets rows of it be published with their changed answers."""
    text = str(licence or "")
    return bool(_SHARED_ALIKE.match(text)) and not re.search(r"\bnd\b", text, re.IGNORECASE)
