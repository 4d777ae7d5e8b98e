"""Select a model's weight files: those that transformers would load, and no others."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..errors import ModelError
from .model_errors import read_object

SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_INDEX = ".index.json"
_TOKENIZERS = (
    {"tokenizer.json"},
    {"tokenizer.model"},
    {"spiece.model"},
    {"sentencepiece.bpe.model"},
    {"vocab.json", "merges.txt"},
    {"vocab.txt"},
    {"tekken.json"},
)
"""Each of these sets of files is a complete tokenizer."""


def main_file(names: Collection[str]) -> str | None:
    """The weights file or index among ``names`` that transformers loads (``_get_resolved_checkpoint_files``).

    Variants (``model.fp16.safetensors``), adapters and files of other frameworks do not count.
    """
    return next((name for name in (*SAFETENSORS, *PICKLES) if name in names), None)


def is_index(name: str) -> bool:
    """Whether a file of that name is an index, which lists the shards that hold the weights."""
    return name.endswith(_INDEX)


def shard_names(model: str, index: Path) -> list[str]:
    """The shards that ``index`` names, sorted. Raises ModelError if it names none, or one outside its folder."""
    weight_map = read_object(model, index).get("weight_map")
    names = set(weight_map.values()) if isinstance(weight_map, dict) and _all_texts(weight_map) else set()
    if not names:
        raise ModelError(f"{index.name} of {model} names no weights: download it again, or choose another model.")
    if any(Path(name).name != name or not name.endswith((".safetensors", ".bin")) for name in names):
        raise ModelError(
            f"{index.name} of {model} names files that are no weights in its own folder, so it was not used."
        )
    return sorted(names)


def _all_texts(weight_map: dict[str, object]) -> bool:
    return all(isinstance(name, str) for name in weight_map.values())


def weight_files(model: str, folder: Path) -> list[Path]:
    """The weight files of ``folder`` in name order, including missing shards; empty if it has no weights.

    Raises ModelError if an index is damaged.
    """
    main = main_file([name for name in (*SAFETENSORS, *PICKLES) if (folder / name).is_file()])
    if main is None:
        return []
    return [folder / name for name in shard_names(model, folder / main)] if is_index(main) else [folder / main]


def has_safetensors(folder: Path) -> bool:
    """Whether the weights that transformers loads from ``folder`` are safetensors."""
    return any((folder / name).is_file() for name in SAFETENSORS)


def has_tokenizer(folder: Path) -> bool:
    """Whether ``folder`` has a configuration and a tokenizer."""
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    return "config.json" in names and any(files <= names for files in _TOKENIZERS)


def is_whole(model: str, folder: Path) -> bool:
    """Whether ``folder`` has a configuration, a tokenizer, and every file of the weights."""
    if not has_tokenizer(folder):
        return False
    try:
        files = weight_files(model, folder)
    except ModelError:  # a damaged index; a download replaces it
        return False
    return bool(files) and all(file.is_file() for file in files)
