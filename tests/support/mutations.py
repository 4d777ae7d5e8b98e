"""Seeded mutations of a good export, each with one fault in its bytes, its members or its values."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
    "base_model_name_or_path": "tiny-random",
}  # fmt: skip
RUN = {
    "model": "tiny-random",
    "data": {"source": "bundled", "columns": {"input": None}, "filters": [{"step": "contains", "text": "a"}]},
    "template": {"name": "own", "without_input": "{instruction}\n", "with_input": "{instruction} {input}\n"},
    "lora": {"target_modules": ["q_proj"]},
    "train": {"max_steps": 2},
    "generation": {"max_new_tokens": 4, "stop": ["\n"]},
}
PROVENANCE = {
    "weights_source": "made here, random", "weights_sha256": "0" * 64, "train_rows": 9, "adapter_norm": 1.5,
    "packing": "flat", "kept_step": 2, "chat_before": "<u>", "chat_after": "</u>", "versions": {"torch": "2.13.0"},
    "status": "stopped", "step": 2, "total_steps": 4,
}  # fmt: skip
TRAIN = {
    "loss": 2.0, "learning_rate": 1e-3, "grad_norm": 1.0, "tokens": 10, "supervised": 5, "seconds": 0.5,
    "tokens_per_second": 20.0,
}  # fmt: skip
METRICS = [
    {"kind": "train", "step": 1, "epoch": 0.5, "time": 1.0, **TRAIN},
    {"kind": "probe", "step": 1, "epoch": 0.5, "time": 1.0, "probe_loss": 2.0},
    {"kind": "train", "step": 2, "epoch": 1.0, "time": 2.0, **TRAIN},
    {"kind": "eval", "step": 2, "epoch": 1.0, "time": 2.0, "eval_loss": 1.5},
]
WEIGHTS = save({f"base_model.model.q_proj.lora_{which}.weight": np.zeros((2, 2), np.float32) for which in "AB"})
TEXTS = (
    "",
    " ",
    "\ud800",
    "a\udfffb",
    "\0",
    "a\0b",
    "\n",
    "\u2028",
    "\u202e",
    "x" * 300,
    "x" * 200_000,
    "../../x",
    "$x$",
)
VALUES = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 2**31, 2**63, 2**70, 10**400, 1e18, 1e308, float("nan"), float("inf"),
    [], {}, [[]], {"a": {"b": []}}, [None], [1, "a"], ["q_proj"] * 20_000, {"step": "length"},
    [{"step": "sample"}] * 200, *TEXTS,
)  # fmt: skip
"""Values to put where another one is expected."""
ODD_JSON = (
    "", " ", "{", "[]", "null", "3", '"x"', "NaN", "[" * 100_000, '{"a":' * 900 + "1" + "}" * 900, "{}{}", "\ufeff{}",
    '{"r": ' + "1" * 5000 + "}", '{"r": 1e999}', '{"\\ud800": 1}', '{"r": 2, "r": 3}', "\0", "{}\n" * 3, "{'r': 2}",
)  # fmt: skip


def members(
    config: Any = CONFIG,
    run: Any = RUN,
    provenance: Any = PROVENANCE,
    metrics: Any = tuple(METRICS),
    weights: bytes = WEIGHTS,
) -> dict[str, bytes]:
    """The files of a good export, with some of them replaced."""
    texts = {
        "adapter_config.json": json.dumps(config),
        "run_config.json": json.dumps(run),
        "facts.json": json.dumps(provenance),
        "metrics.jsonl": "".join(json.dumps(line) + "\n" for line in metrics),
    }
    return {"adapter_model.safetensors": weights} | {name: text.encode() for name, text in texts.items()}


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def mutants(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` pairs of (the fault, the zip), always the same for a seed."""
    for number in range(count):
        chance = random.Random(f"{seed}:{number}")
        kind = _KINDS[number % len(_KINDS)]
        yield f"{number} {kind.__name__.strip('_')}", kind(chance)


def mutated_bytes(chance: random.Random, content: bytes) -> bytes:
    """Some bytes flipped, inserted or deleted, or the end cut off."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                changed[at:at] = chance.randbytes(chance.choice((1, 4, 100)))
            case 2:
                del changed[at : at + chance.choice((1, 4, 100))]
            case 3:
                changed[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"))
            case 4 if chance.random() < 0.2:
                del changed[at:]
    return bytes(changed)


def mutated_value(chance: random.Random, value: Any) -> Any:
    """A copy of a JSON value in which one element is replaced, removed, renamed or repeated."""
    changed = copy.deepcopy(value)
    places = list(_places(changed))
    if not places:
        return chance.choice(VALUES)
    inside, key = chance.choice(places)
    match chance.randrange(8):
        case 0:
            del inside[key]
        case 1 if isinstance(inside, dict):
            inside[chance.choice(TEXTS)] = inside.pop(key)
        case 2 if isinstance(inside, list):
            inside.extend([inside[key]] * chance.choice((1, 300)))
        case _:
            inside[key] = chance.choice(VALUES)
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _zip_bytes(chance: random.Random) -> bytes:
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    return mutated_bytes(chance, zipped(members(), method))


def _zip_headers(chance: random.Random) -> bytes:
    """Method, flags, checksum, sizes and offsets of one member, in either of its headers, or of the zip's end."""
    content = bytearray(zipped(members(), chance.choice((0, 8))))
    signature, fields = chance.choice(
        (
            (b"PK\3\4", {4: 2, 6: 2, 8: 2, 14: 4, 18: 4, 22: 4, 26: 2, 28: 2}),
            (b"PK\1\2", {6: 2, 8: 2, 10: 2, 16: 4, 20: 4, 24: 4, 28: 2, 30: 2, 32: 2, 34: 2, 42: 4}),
            (b"PK\5\6", {4: 2, 8: 2, 10: 2, 12: 4, 16: 4, 20: 2}),
        )
    )
    starts = [at for at in range(len(content)) if content.startswith(signature, at)]
    at, (field, size) = chance.choice(starts), chance.choice(list(fields.items()))
    typical = (0, 1, 8, 9, 12, 14, 20, 93, 95, 97, 99, 0x800, 0x801, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
    value = chance.choice((*typical, chance.randrange(2**32))) % 256**size
    content[at + field : at + field + size] = struct.pack("<I", value)[:size]
    return bytes(content)


def _zip_names(chance: random.Random) -> bytes:
    """Members twice, in folders, or with paths outside of the zip; most of them in the same folder."""
    folders = ("", "a/", "../../", "/", "a/b/", "\\", "\U0001f600/", "C:/", "./", "x" * 300 + "/")
    home, other = chance.choice(folders), chance.choice(folders)
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, content in members().items():
            for _ in range(chance.choice((1, 1, 1, 2))):
                archive.writestr((other if chance.random() < 0.1 else home) + name, content)
            if chance.random() < 0.2:
                archive.writestr(chance.choice((f"b/{name}", f"{home}{name}/", f"{home}{name}/{name}")), b"")
    return out.getvalue()


def _zip64(chance: random.Random) -> bytes:
    """A member whose sizes or offset stand in a zip64 field with arbitrary numbers."""
    numbers = [chance.choice((0, 1, 10, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)) for _ in range(3)]
    extra = struct.pack("<HHQQQ", 1, chance.choice((24, 24, 24, 8, 0, 100)), *numbers)
    content = bytearray(zipped(members(), zipfile.ZIP_STORED))
    at = content.rindex(b"PK\1\2")
    for field in chance.choice(((20, 24, 42), (42,), (20, 24))):
        content[at + field : at + field + 4] = b"\xff" * 4
    name = struct.unpack_from("<H", content, at + 28)[0]
    struct.pack_into("<H", content, at + 30, len(extra))
    content[at + 46 + name : at + 46 + name] = extra
    end = content.rindex(b"PK\5\6")
    size = struct.unpack_from("<I", content, end + 12)[0]
    struct.pack_into("<I", content, end + 12, size + len(extra))
    return bytes(content)


def _adapter_config(chance: random.Random) -> bytes:
    return zipped(members(config=mutated_value(chance, CONFIG)))


def _run_config(chance: random.Random) -> bytes:
    return zipped(members(run=mutated_value(chance, RUN)))


def _template(chance: random.Random) -> bytes:
    return zipped(members(run={**RUN, "template": mutated_value(chance, RUN["template"])}))


def _provenance(chance: random.Random) -> bytes:
    return zipped(members(provenance=mutated_value(chance, PROVENANCE)))


def _metrics(chance: random.Random) -> bytes:
    return zipped(members(metrics=mutated_value(chance, METRICS)))


def _odd_json(chance: random.Random) -> bytes:
    name = chance.choice(("adapter_config.json", "run_config.json", "facts.json", "metrics.jsonl"))
    return zipped(members() | {name: chance.choice(ODD_JSON).encode("utf-8", "surrogatepass")})


def _text_bytes(chance: random.Random) -> bytes:
    files = members()
    name = chance.choice(("adapter_config.json", "run_config.json", "facts.json", "metrics.jsonl"))
    return zipped(files | {name: mutated_bytes(chance, files[name])})


def _weights_bytes(chance: random.Random) -> bytes:
    return zipped(members(weights=mutated_bytes(chance, WEIGHTS)))


def _weights_header(chance: random.Random) -> bytes:
    """A safetensors file with one value of its JSON header changed, and the header's length adapted or not."""
    length = struct.unpack("<Q", WEIGHTS[:8])[0]
    header = json.loads(WEIGHTS[8 : 8 + length])
    changed = json.dumps(mutated_value(chance, header)).encode()
    stored_length = chance.choice((len(changed), len(changed), len(changed), 0, 2**63, 2**64 - 1, length))
    return zipped(members(weights=struct.pack("<Q", stored_length) + changed + WEIGHTS[8 + length :]))


_KINDS = (
    _zip_bytes, _zip_headers, _zip_names, _zip64, _adapter_config, _run_config, _template, _provenance, _metrics,
    _odd_json, _text_bytes, _weights_bytes, _weights_header,
)  # fmt: skip
