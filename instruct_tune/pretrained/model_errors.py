"""Faults in the files of a model folder, reported as a ModelError of one sentence."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ModelError
from ..text.plain_text import shortened
from . import git_lfs

MAX_REASON = 200
"""Maximum characters of a library's message that are shown."""
JSON_OBJECTS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
"""Files that transformers reads as JSON objects without checking that they are objects."""
_READ = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".tiktoken")
_FAULTS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    pickle.UnpicklingError,
)


def check_files(name: str, folder: Path) -> None:
    """Raise ModelError if ``folder`` of the model ``name`` holds a Git LFS pointer or damaged JSON."""
    for file in sorted(folder.iterdir()):
        if file.suffix in _READ and file.is_file():
            with _readable(name, file), file.open("rb") as opened:
                pointer = git_lfs.is_pointer(opened)
            if pointer:
                raise ModelError(f"{file.name} of {name} is a Git LFS pointer, not the file itself: {git_lfs.ADVICE}.")
    for json_name in JSON_OBJECTS:
        if (folder / json_name).is_file():
            read_object(name, folder / json_name)


def read_object(name: str, file: Path) -> dict[str, object]:
    """The JSON object in ``file`` of the model ``name``. Raises ModelError if it holds none."""
    with _readable(name, file):
        value = json.loads(file.read_bytes())
    if not isinstance(value, dict):
        raise ModelError(f"{file.name} of {name} holds no JSON object: download it again, or choose another model.")
    return value


@contextmanager
def _readable(name: str, file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{file.name} of {name} is damaged ({_reason(error)}): download it again, or choose another model."
        ) from error


@contextmanager
def model_errors(problem: str) -> Iterator[None]:
    """Turn the errors of transformers and its dependencies on a folder's files into a ModelError.

    ``problem``: the beginning of the sentence, such as "some/model cannot be loaded"; the library's reason follows.
    Errors not caused by files (out of memory, a LabError) pass unchanged.
    """
    try:
        yield
    except BaseException as error:
        if not _caused_by_files(error):
            raise
        raise ModelError(f"{problem}: {_reason(error)}.") from error


def _caused_by_files(error: BaseException) -> bool:
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # tokenizers raises bare Exceptions. If its Rust code panics, it raises pyo3's PanicException, which is not an
    # Exception and cannot be imported.
    from_rust = type(error) is Exception or type(error).__module__ == "pyo3_runtime"
    return from_rust or isinstance(error, (*_FAULTS, StrictDataclassError, SafetensorError))


def _reason(error: BaseException) -> str:
    """The library's message on one line, with the error's type if the message alone is unclear."""
    if "trust_remote_code" in str(error):
        return "it needs Python code from its repository, and the lab runs no such code"
    words = " ".join(str(error).split()).rstrip(".")
    if not words or isinstance(error, (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)):
        words = f"its files are not what transformers expects, {type(error).__name__}: {words or 'no message'}"
    return shortened(words, MAX_REASON)
