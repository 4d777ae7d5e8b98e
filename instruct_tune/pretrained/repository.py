"""A model's repository on the Hub: the files that the lab needs, their sizes and their download."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ..config.environment import MEGABYTE, check_download
from ..config.run_config import DEFAULT_MODEL
from ..errors import HubError, ModelError
from ..util.progress import Loading
from . import hub
from .hub_access import Access

CONFIG = "config.json"
TEXTS = (
    CONFIG, "config.*.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "tokenizer.json", "tokenizer.*.json", "vocab.json", "vocab.txt",
    "merges.txt", "*.model", "*.tiktoken", "tekken.json", "emoji.json", "dict.txt", "bpe.codes", "byte_maps.json",
    "normalizer.json", "entity_vocab.json", "target_vocab.json", "vocab-src.json", "vocab-tgt.json",
    "word_shape.json", "word_pronunciation.json", "prophetnet.tokenizer",
)  # fmt: skip
"""Patterns of configuration and tokenizer files: the ``vocab_files_names`` of transformers' tokenizers, and the
other files that transformers reads beside them."""
CHAT_TEMPLATES = "additional_chat_templates"
"""The only subfolder that transformers reads, for .jinja files."""
MAX_TEXT_FILES = 100
MAX_TEXT_BYTES = 200 * MEGABYTE
INFO_SECONDS = 10.0


@dataclass(frozen=True)
class Repository:
    """The repository of ``model``. ``sizes``: bytes of each file by its path in it, None if unknown."""

    model: str
    access: Access
    sizes: Mapping[str, int | None]

    @classmethod
    def of(cls, model: str) -> Repository:
        """The repository as the Hub describes it. Raises HubError if it is gated and no token is used."""
        from huggingface_hub import model_info

        access = Access("model", model)
        info = model_info(model, timeout=INFO_SECONDS, files_metadata=True, token=access.token)
        access.require_open(info.gated)
        return cls(model, access, {entry.rfilename: entry.size for entry in info.siblings or []})

    def texts(self) -> list[str]:
        """The configuration and tokenizer files, ``config.json`` last: if that is cached, the others are too.

        Raises ModelError if there is no configuration, or more of these files than the lab accepts.
        """
        names = sorted(filter(is_text, self.sizes), key=lambda name: (name == CONFIG, name))
        if CONFIG not in names:
            raise ModelError(f"{self.model} has no {CONFIG} on the Hub, so it is not a saved model.")
        if len(names) > MAX_TEXT_FILES:
            raise ModelError(
                f"{self.model} has {len(names):,} files of configuration and tokenizer, and the lab takes at most "
                f"{MAX_TEXT_FILES}: choose another model."
            )
        self.check_texts(names)
        return names

    def check_texts(self, names: Collection[str]) -> None:
        """Raise ModelError if these JSON and text files exceed ``MAX_TEXT_BYTES``, more than any real tokenizer has."""
        size = self.size(names)
        if size > MAX_TEXT_BYTES:
            raise ModelError(
                f"{self.model} has {size / MEGABYTE:,.0f} MB of configuration and tokenizer, and the lab takes at most "
                f"{MAX_TEXT_BYTES // MEGABYTE} MB: choose another model."
            )

    def check_size(self, names: Collection[str]) -> None:
        """Raise ModelError if these files exceed the lab's download limit."""
        check_download(self.model, self.size(names), ModelError)

    def size(self, names: Collection[str]) -> int:
        """Total bytes of these files. Raises ModelError for a missing file, HubError for one of unknown size."""
        if missing := [name for name in names if name not in self.sizes]:
            raise ModelError(f"{self.model} lacks {', '.join(missing[:3])} on the Hub: choose another model.")
        sizes = {name: self.sizes[name] for name in names}
        if unknown := [name for name, size in sizes.items() if size is None]:
            raise HubError(f"The Hub does not say how large {unknown[0]} of {self.model} is: try again later.")
        return sum(size or 0 for size in sizes.values())

    def download(self, names: Collection[str], loading: Loading) -> Path:
        """Download the files, one after the other, into the Hub's cache; returns the path of the last one."""
        self.check_size(names)
        files = "1 file" if len(names) == 1 else f"{len(names)} files"
        loading.enter(f"Downloading {self.model} ({files})", self.size(names))
        sizes = {name: self.size([name]) for name in names}
        return hub.download_all(self.model, sizes, loading, token=self.access.token)


def is_text(name: str) -> bool:
    """Whether the file at that path belongs to the configuration or the tokenizer."""
    folder, _, last = name.rpartition("/")
    if folder:
        return folder == CHAT_TEMPLATES and last.endswith(".jinja")
    return any(fnmatch(name, pattern) for pattern in TEXTS)


def cached(model: str) -> Path | None:
    """The Hub's cache folder of ``model``, named by its commit; None if it has no configuration."""
    from huggingface_hub import try_to_load_from_cache

    # Not snapshot_download: it counts a cached copy as incomplete if it lacks files that the lab never downloads.
    config = try_to_load_from_cache(model, CONFIG)
    return Path(config).parent if isinstance(config, str) else None


def unreachable(model: str) -> HubError:
    """The HubError for a model that is not on this machine while the Hub cannot be reached."""
    ways = " or give a local folder" if model == DEFAULT_MODEL else f", give a local folder, or choose {DEFAULT_MODEL}"
    return HubError(
        f"{model} is not on this machine and the Hub cannot be reached: tried the local cache, then the Hub for "
        f"{hub.PROBE_SECONDS:.0f} seconds. Go online{ways}."
    )
