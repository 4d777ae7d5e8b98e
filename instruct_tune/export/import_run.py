"""Imports: a zip with an exported run, or with a LoRA adapter that was trained elsewhere; from the Hub, too.

The zip is untrusted. Files are read by fixed names (paths inside the zip are never used), each up to a limit,
whatever size the zip claims; the adapter's configuration is rebuilt from the few fields that a plain LoRA has;
weights are safetensors only, which run no code.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeGuard

from ..config.environment import check_upload
from ..config.run_config import RunConfig
from ..data.json_text import lines, parse
from ..data.utf8 import decode
from ..errors import DataError, HubError
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..pretrained import hub
from ..pretrained.locate import LOCAL_FOLDER
from ..pretrained.repository import Repository
from ..runs.machine_paths import is_path, last_name
from ..runs.provenance import EARLIER_SPLITS, NOT_IMPORTED, ROWS, STATUS, TRAINING, split_of
from ..store.connection import FULL
from ..store.run import ENDED, FINISHED, LIVE
from ..text.plain_text import LONGEST_NAME, LONGEST_TEMPLATE, is_encodable, shown_name, text_fault
from ..tokenization.prompt_template import MARKUP_KEYS
from ..util.progress import Loading
from ..util.zip_faults import ZIP_FAULTS
from .adapter_config import KEPT, plain_lora

MAX_WEIGHTS, MAX_METRICS_TEXT, MAX_TEXT = 1 << 30, 64 << 20, 4 << 20
"""The most unpacked bytes of the weights, of the metrics, and of each other file."""
MAX_FILES = 1000
READ_FILES = (CONFIG_FILE, WEIGHTS_FILE, "run_config.json", "facts.json", "metrics.jsonl")
MAX_VERSIONS = 50
"""The most libraries whose versions are imported."""
MAX_SPLITS = 100
"""The most runs that an imported run may have gone on from, one after the other."""
MAX_METRICS, LONGEST_METRIC = 100_000, 10_000
"""The most measurements that are imported, and the most characters of one."""
TEXT_LIMITS = {
    **dict.fromkeys(("weights_source", "weights_sha256", "data_fingerprint", "packing", "device"), LONGEST_NAME),
    **dict.fromkeys(MARKUP_KEYS, LONGEST_TEMPLATE),
    NOT_IMPORTED: LONGEST_NAME,
}
COUNT_KEYS = (
    "train_rows", "evaluation_rows", "probe_rows", "trainable_parameters", "parameters", "kept_step", "bleu_rows",
)  # fmt: skip
NUMBER_KEYS = ("adapter_norm", "base_bleu")
"""Values of the provenance that are imported, with ``versions``, the parent and earlier splits. ``recorded`` is not
among them: only runs that come with the project have it."""
NUMBERS = {
    "train": ("loss", "learning_rate", "grad_norm", "tokens", "supervised", "seconds", "tokens_per_second"),
    "probe": ("probe_loss",),
    "general": ("general_loss",),
    "eval": ("eval_loss",),
    "bleu": ("bleu",),
}
"""The required values of a metric, by kind."""
LATEST = 10**11
"""The largest step, epoch and time (seconds since 1970) of a measurement."""
_WITHOUT = "leave it out to import the adapter alone"


@dataclass(frozen=True)
class Incoming:
    """The content of a zip. ``config`` is None where it is not a lab's exported run.

    ``status``: how its training had ended, at ``step`` of ``total_steps``; a zip without it counts as finished at its
    last measurement.
    """

    base_model: str
    adapter_config: dict[str, Any]
    config: dict[str, Any] | None
    provenance: dict[str, Any]
    metrics: list[dict[str, Any]]
    status: str
    step: int
    total_steps: int

    @property
    def ending(self) -> str:
        """How its training ended, as one more sentence of a message; empty where it finished."""
        if self.status == FINISHED:
            return ""
        how = "failed" if self.status == "failed" else f"was {self.status}"
        return f" Its training {how} at step {self.step} of {self.total_steps}."


def read_zip(file: Path, weights_to: Path) -> Incoming:
    """Read ``file`` and write its weights to ``weights_to``. Raises DataError where its content is invalid."""
    name = shown_name(file.name)
    try:
        check_upload(name, size_of(file))
        with zipfile.ZipFile(file) as archive:
            members = _members(archive)
            fields = _object(_bytes(archive, members, CONFIG_FILE), CONFIG_FILE)
            _unpack(archive, members[WEIGHTS_FILE], weights_to)
            texts = {
                name: _bytes(archive, members, name) for name in ("run_config.json", "facts.json") if name in members
            }
            metrics = _bytes(archive, members, "metrics.jsonl", MAX_METRICS_TEXT) if "metrics.jsonl" in members else b""
    except ZIP_FAULTS as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{name} cannot be unpacked ({reason}): import a .zip that was exported here.") from error
    lora = plain_lora(fields, weights_to)
    config = _object(texts["run_config.json"], "run_config.json") if "run_config.json" in texts else None
    provenance = _object(texts["facts.json"], "facts.json") if "facts.json" in texts else {}
    base = (config or {}).get("model") or fields.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise DataError(f"{CONFIG_FILE} names no base model: put its Hub id into base_model_name_or_path.")
    constants = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True}
    adapter_config = {**lora, **constants, "base_model_name_or_path": base}
    measured = _metrics(metrics)
    return Incoming(base, adapter_config, config, _provenance(provenance), measured, *_ended(provenance, measured))


def zip_from_hub(repo: str, to: Path, loading: Loading) -> Path:
    """Write the files of ``repo`` on the Hub that ``read_zip`` reads as a zip, which it checks like any other.

    Raises HubError, ModelError beyond the limit of downloads, and Stopped.
    """
    if not hub.hub_reachable():
        raise HubError(f"{repo} cannot be imported, for the Hub cannot be reached: go online, or import a .zip.")
    with hub.explained(repo):
        repository = Repository.of(repo)
        names = [name for name in READ_FILES if name in repository.sizes]
        return zipped(repository.download(names, loading).parent, to)


def zipped(folder: Path, to: Path) -> Path:
    """Write those files of ``folder`` that ``read_zip`` reads as a zip."""
    with zipfile.ZipFile(to, "w") as archive:
        for name in READ_FILES:
            if (folder / name).is_file():
                archive.write(folder / name, name)
    return to


def size_of(file: Path) -> int:
    """Bytes of the zip. Raises DataError where it cannot be read."""
    try:
        return file.stat().st_size
    except OSError as error:
        raise DataError(
            f"{shown_name(file.name)} cannot be unpacked ({error.strerror}): import a .zip that was exported here."
        ) from error


def name_of(file: Path) -> str:
    """The name of a run that is imported without a name, from its file."""
    stem = file.stem[:80]
    return stem if is_encodable(stem) else "a file"


def _provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The values to import, without those of a wrong type. Raises DataError where a text is too long."""
    numbers = {name: provenance[name] for name in NUMBER_KEYS if _number(provenance.get(name))}
    counts = {name: provenance[name] for name in COUNT_KEYS if _is_count(provenance.get(name))}
    texts = {name: provenance[name] for name in TEXT_LIMITS if isinstance(provenance.get(name), str)}
    for name, text in texts.items():
        if fault := text_fault(text, TEXT_LIMITS[name]):
            raise DataError(f"facts.json in the zip: {name} {fault}.")
    return texts | numbers | counts | _versions(provenance.get("versions")) | _continued(provenance)


def _versions(versions: Any) -> dict[str, Any]:
    """The versions of the libraries that trained it; empty where they are not names and short texts."""
    if not isinstance(versions, dict) or len(versions) > MAX_VERSIONS:
        return {}
    return {"versions": versions} if all(map(_is_name, (*versions, *versions.values()))) else {}


def _ended(provenance: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> tuple[str, int, int]:
    """How the training ended, its steps, and the steps that it was to have."""
    kept = provenance.get("kept_step")
    last: int = max((metric["step"] for metric in metrics), default=kept if _is_step(kept) else 0)
    status, step, total = provenance.get(STATUS), provenance.get("step"), provenance.get("total_steps")
    if status not in (*LIVE, *ENDED) or not (_is_step(step) and _is_step(total)):
        return FINISHED, last, last
    return str(status), max(step, last), max(total, step, last)


def _continued(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Which run an exported one went on from, and how its data was split before; empty where it began at base.

    Raises SettingsError for a split with settings that no lab has.
    """
    parent, splits = provenance.get("parent"), provenance.get(EARLIER_SPLITS)
    continued: dict[str, Any] = {}
    if (
        isinstance(parent, dict)
        and all(_is_name(parent.get(key)) for key in ("id", "name"))
        and _is_step(parent.get("step"))
    ):
        continued["parent"] = {key: parent[key] for key in ("id", "name", "step")}
    if isinstance(splits, list) and len(splits) <= MAX_SPLITS:
        continued[EARLIER_SPLITS] = [
            split_of(RunConfig.from_dict({"data": split}).to_dict()["data"]) for split in splits
        ]
    return continued


def with_base(incoming: Incoming, folders: Mapping[str, str]) -> Incoming:
    """``incoming`` with a base model of this machine. ``folders``: local models by the sha256 of their weights.

    Raises DataError where the base model is a folder of another machine whose weights are not in ``folders``.
    """
    name, digest = incoming.base_model, incoming.provenance.get("weights_sha256")
    # An export contains only the last component of a local folder.
    folder = is_path(name) or (incoming.provenance.get("weights_source") == LOCAL_FOLDER and "/" not in name)
    if not folder or os.path.isdir(name):
        return incoming
    if digest not in folders:
        weights = f" (weights sha256 {str(digest)[:12]}…)" if digest else ""
        raise DataError(
            f"The base model of this adapter is a folder of another machine, {last_name(name)[:80]}{weights}: write "
            "its Hub id (OWNER/NAME), or the path of that folder here, into base_model_name_or_path of "
            "adapter_config.json and into model of run_config.json in the zip, and import it again."
        )
    model = folders[str(digest)]
    config = None if incoming.config is None else {**incoming.config, "model": model}
    adapter_config = {**incoming.adapter_config, "base_model_name_or_path": model}
    return replace(incoming, base_model=model, adapter_config=adapter_config, config=config)


def configuration(incoming: Incoming, data: Mapping[str, Any], named: str) -> tuple[dict[str, Any], str, str]:
    """The configuration of the imported run, not yet validated, its message, and what did not come along.

    The zip never makes the run read a file of this machine as its data. Where its dataset is not one that everybody
    can load, ``data`` provides the held-out rows; ``named`` is their name in the message.
    """
    rows = "Compare and Evaluate take the held-out rows of"
    if incoming.config is None:
        lora = {name: incoming.adapter_config[name] for name in KEPT}
        message = (
            f"Imported: an adapter without a configuration, so it is asked with the template lesson; {rows} {named}."
        )
        return {"model": incoming.base_model, "lora": lora, "data": dict(data)}, message, TRAINING
    config = {**incoming.config, "lora": _as_saved(incoming)}
    data_section = config.get("data")
    source = data_section.get("source") if isinstance(data_section, dict) else None
    # What an earlier import lacked is still not known after an export of it.
    missing = incoming.provenance.get(NOT_IMPORTED)
    if source in ("bundled", "codealpaca-20k") or (isinstance(source, str) and source.startswith("hub:")):
        if missing not in (ROWS, TRAINING):
            return config, "Imported.", ""
        named = source
    else:
        config = {**config, "data": dict(data)}
    message = f"Imported: its data did not come along; {rows} {named}, which it may have been trained on."
    return config, message, TRAINING if missing == TRAINING else ROWS


def _as_saved(incoming: Incoming) -> Any:
    """The ``lora`` section of an exported run, with rank and scaling of its adapter. The targets may be ``auto``."""
    lora = (incoming.config or {}).get("lora", {})
    if not isinstance(lora, dict):
        return lora
    return {**lora, **{name: incoming.adapter_config[name] for name in ("r", "lora_alpha", "use_rslora")}}


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files by their last path component: those in the folder of the topmost adapter configuration."""
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise DataError(f"The zip holds {len(infos):,} files: an adapter has a few, at most {MAX_FILES:,} are read.")
    configs = [PurePosixPath(info.filename) for info in infos if PurePosixPath(info.filename).name == CONFIG_FILE]
    if not configs:
        raise DataError(f"The zip holds no {CONFIG_FILE}: import an exported run, or the folder of a PEFT adapter.")
    folder = min(configs, key=lambda path: len(path.parts)).parent
    members = {
        PurePosixPath(info.filename).name: info for info in infos if PurePosixPath(info.filename).parent == folder
    }
    if WEIGHTS_FILE not in members:
        raise DataError(f"The zip holds no {WEIGHTS_FILE}: only safetensors are read, for other formats may run code.")
    return members


def _bytes(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str, most: int = 0) -> bytes:
    most = most or MAX_TEXT
    with _opened(archive, members[name]) as packed:
        content = packed.read(most + 1)
    if len(content) > most:
        raise DataError(f"{name} in the zip is too large: at most {most:,} bytes are read.")
    return content


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """Raise DataError for unusual compression methods, which take much memory to unpack."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{PurePosixPath(member.filename).name} in the zip is packed with method {member.compress_type}, and only "
            "stored and deflated files are read: zip the folder again with the usual settings."
        )
    return archive.open(member)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    size = 0
    with _opened(archive, member) as packed, to.open("wb") as out:
        while piece := packed.read(1 << 20):
            size += len(piece)
            if size > MAX_WEIGHTS:
                raise DataError(f"{WEIGHTS_FILE} is too large: at most {MAX_WEIGHTS >> 20:,} MB are read.")
            out.write(piece)


def _object(content: bytes, name: str) -> dict[str, Any]:
    where = f"{name} in the zip"
    return _checked_object(parse(decode(content, where), where), name)


def _checked_object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{name} in the zip must hold one JSON object.")
    return value


def _metrics(content: bytes) -> list[dict[str, Any]]:
    """The measurements of an exported run. Raises DataError where a line is invalid or a duplicate."""
    by_key: dict[tuple[str, int], dict[str, Any]] = {}
    where = "metrics.jsonl in the zip"
    for number, line in lines(io.BytesIO(content), where):
        if len(line) > LONGEST_METRIC:
            raise DataError(f"{where} is not what a lab exports (line {number:,}): {_WITHOUT}.")
        metric = _metric(_checked_object(parse(line, where, number), "metrics.jsonl"))
        if metric is None or (key := (metric["kind"], metric["step"])) in by_key:
            raise DataError(f"{where} is not what a lab exports (line {number:,}): {_WITHOUT}.")
        by_key[key] = metric
        if len(by_key) > MAX_METRICS:
            raise DataError(f"{where} holds more than {MAX_METRICS:,} measurements: {_WITHOUT}.")
    return list(by_key.values())


def _metric(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """One measurement; None where it lacks a number that its kind requires, or its step or time is invalid."""
    names = ("step", "epoch", "time", *NUMBERS.get(str(line.get("kind")), ("kind",)))
    if not all(_number(line.get(name)) for name in names) or not _is_step(line["step"]):
        return None
    if not all(0 <= line[name] <= LATEST for name in ("epoch", "time")):
        return None
    return {"kind": line["kind"], **{name: line[name] for name in names}}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and text_fault(value, LONGEST_NAME) is None


def _is_step(value: Any) -> TypeGuard[int]:
    return _is_count(value) and value <= LATEST


def _is_count(value: Any) -> bool:
    return _number(value) and isinstance(value, int) and value >= 0


def _number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18 and math.isfinite(value)
    )
