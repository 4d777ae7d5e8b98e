"""Measure how fast this machine trains an architecture, in seconds, on one and three layers of it.

The real configuration is built with one layer and with three, with random weights and a real LoRA, and trained for a
few passes. Half of the difference is the time per layer; the rest of the one-layer time is that of embeddings, head
and loss. So a model of thirty layers is timed without loading it. Call this on the job queue's thread only, like
everything that computes.
"""

from __future__ import annotations

import copy
import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import LoraSettings
from ..models import lora as adapter
from ..pretrained.cache_folder import cache_dir, change_file, read_file
from ..pretrained.context_length import context_of
from ..pretrained.locate import Weights
from ..pretrained.model_errors import model_errors
from ..pretrained.read_model import check_weights, empty_model, read_config
from ..tokenization.encode import IGNORE, TokenizedExample
from .workload import Architecture, Speed

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from ..models.base_model import LoadedModel

ROW = 64
"""Tokens of a timed row, about the length of short instructions."""
LIGHT, HEAVY = 8, 56
"""Supervised tokens of a timed row; the time difference is that of head and loss."""
REPEATS, ENOUGH_SECONDS = (2, 5), 0.3
"""Timings per pass: at least 2, and up to 5 while they take less than 0.3 s in all. The fastest counts."""
MAX_FORWARD = 0.5
"""The most that forward can take of a pass: through frozen layers, backward does as many multiplications."""
NEW_TOKENS = 8
READ_BYTES = 64 * 2**20
REMEMBER_SECONDS = {False: 24 * 3600.0, True: 5 * 60.0}
"""Lifetime of a measurement by ``crowded``: a day, or five minutes if other programs used the processors."""
FEW, MORE = 1, 3
"""Layers of the two small models, far enough apart that their difference exceeds the noise."""
FEWEST = {"rwkv": 2, "recurrent_gemma": 3}
"""The least layers by ``config.model_type``, if one layer does not work: RWKV divides by the layers minus one, and in
RecurrentGemma only every third layer is the attention that generation needs."""
GOT_THE_PROCESSOR = 0.8
"""The machine is crowded if the process got less processor time than this share of the elapsed time."""


def describe(folder: Path, lora: LoraSettings, bf16: bool | str) -> Architecture:
    """Return the sizes of the model in ``folder``, from its configuration, without reading weights.

    Raises ModelError if it is not a causal language model, or has no such target modules.
    """
    import torch

    from ..models.base_model import weights_dtype

    check_weights(folder.name, folder)
    base = empty_model(folder.name, folder)
    itemsize = torch.empty(0, dtype=weights_dtype(bf16)).itemsize
    parameters = sum(parameter.numel() for parameter in base.parameters())
    adapted = adapter.adapted_width(base, lora.target_modules)
    recomputes, context = base.supports_gradient_checkpointing, context_of(base.config)
    paths = tuple(adapter.adapted_paths(base, lora.target_modules))
    return Architecture(parameters, adapted, itemsize, recomputes, context, paths)


class SpeedMemory:
    """Measurements of this machine, stored in the cache folder."""

    def __init__(self) -> None:
        self.file = cache_dir() / "speed.json"

    def key(self, folder: Path, lora: LoraSettings, bf16: bool | str) -> str:
        """Return a hash of a measurement's conditions: configuration, LoRA, precision, machine, threads, version.

        The LoRA counts by its targets and rank class (see ``_measured_lora``).
        """
        import torch

        from ..models.base_model import best_device, weights_dtype

        device = torch.cuda.get_device_name() if best_device() == "cuda" else platform.processor()
        parts = [
            (folder / "config.json").read_text(encoding="utf-8"),
            _measured_lora(lora),
            str(weights_dtype(bf16)),
            platform.node(),
            device,
            torch.get_num_threads(),
            torch.__version__,
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def get(self, key: str) -> Speed | None:
        entry = _unexpired(read_file(self.file)).get(key)
        return Speed(**entry["speed"]) if entry else None

    def put(self, key: str, speed: Speed) -> None:
        entry = {"when": time.time(), "speed": asdict(speed)}
        change_file(self.file, lambda known: {**_unexpired(known), key: entry})


def _unexpired(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the entries that have not expired and have today's fields; older versions of the lab stored others."""
    current = {key: e for key, e in entries.items() if set(e["speed"]) == {f.name for f in fields(Speed)}}
    now = time.time()
    return {key: e for key, e in current.items() if now - e["when"] < REMEMBER_SECONDS[e["speed"]["crowded"]]}


def _measured_lora(lora: LoraSettings) -> LoraSettings:
    """Return the LoRA that represents its class: ranks up to a power of two cost about the same, dropout or not."""
    return replace(lora, r=1 << (lora.r - 1).bit_length(), lora_alpha=16, lora_dropout=0.1)


def measure(folder: Path, tokenizer: PreTrainedTokenizerBase, lora: LoraSettings, bf16: bool | str) -> Speed:
    """Time the model in ``folder`` on one and three of its layers. Takes a few seconds; keeps the random state."""
    import torch

    config = read_config(folder.name, folder)
    with model_errors(f"The model in {folder.name} cannot be measured"), torch.random.fork_rng():
        few = FEWEST.get(config.model_type, FEW)
        sizes = (few, few + MORE - FEW)
        one, three = (_TimedModel(config, folder, tokenizer, lora, bf16, layers) for layers in sizes)
        whole = _of_all_layers(config.num_hidden_layers, few)
        budget = one.budget
        long, short = budget // ROW, max(1, budget // ROW // 4)
        a_long = whole(*(model.train_pass(long, LIGHT) for model in (one, three)))
        a_short = whole(*(model.train_pass(short, LIGHT) for model in (one, three)))
        head = max(0.0, one.train_pass(short, HEAVY) - one.train_pass(short, LIGHT))
        a_supervised = head / (short * (HEAVY - LIGHT))
        a_token = max(a_long / 10, a_long - a_short) / ((long - short) * ROW) - a_supervised * LIGHT / ROW
        a_token = max(a_token, a_long / (10 * long * ROW))
        a_row = a_token * ROW + a_supervised * LIGHT
        kept = [(model.kept_bytes(long, LIGHT), model.kept_bytes(long, HEAVY)) for model in (one, three)]
        a_logit = max(0, kept[0][1] - kept[0][0]) / (long * (HEAVY - LIGHT))
        return Speed(
            a_pass=max(0.0, a_short - short * a_row),
            a_token=a_token,
            a_supervised=a_supervised,
            forward=min(MAX_FORWARD, whole(*(model.forward_pass(long, LIGHT) for model in (one, three))) / a_long),
            new_token=whole(one.new_token(), three.new_token()),
            token_bytes=max(0.0, whole(kept[0][0], kept[1][0]) / (long * ROW) - a_logit * LIGHT / ROW),
            # Two arrays of a token's logits exist at a time: logits and their logarithms if computed in chunks,
            # else logits and their gradient, and then one of the two is already in ``a_logit``.
            supervised_bytes=a_logit + config.vocab_size * 4 * (2 if one.loaded.separable else 1),
            read=_read_speed(folder),
            crowded=one.crowded or three.crowded,
        )


def _of_all_layers(layers: int, few: int) -> Callable[[float, float], float]:
    """Return a function that extrapolates from the cost of ``few`` layers and of two more to that of all layers."""
    return lambda one, three: one + (layers - few) * max(0.0, three - one) / (MORE - FEW)


def _shortened(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    short = copy.deepcopy(config)
    # Shorten lists with a value per layer (layer_types, GPT Neo's attention_layers). Some configurations derive them
    # from the number of layers, as properties, which need no change.
    for key, value in vars(config).items():
        if isinstance(value, list) and len(value) == config.num_hidden_layers:
            setattr(short, key, [value[layer % len(value)] for layer in range(layers)])
    short.num_hidden_layers = layers
    return short


class _TimedModel:
    """Times a model of ``layers`` random-weight layers of an architecture (None: all) with a LoRA."""

    def __init__(
        self,
        config: PretrainedConfig,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        lora: LoraSettings,
        bf16: bool | str,
        layers: int | None = None,
    ):
        import torch
        from transformers import AutoModelForCausalLM

        from ..batching.packing import TOKENS_PER_PASS, detect_packing
        from ..models.base_model import LoadedModel, best_device, make_ready, weights_dtype

        device, dtype = torch.device(best_device()), weights_dtype(bf16)
        base = AutoModelForCausalLM.from_config(_shortened(config, layers) if layers else config, dtype=dtype)
        make_ready(base)
        weights = Weights(str(folder), folder, "random, for timing", "")
        # Of the whole configuration, as in training.
        support = detect_packing(config)
        self.loaded: LoadedModel = LoadedModel(base, base, tokenizer, weights, support.packing, support.separable)
        adapter.attach(self.loaded, "timed", _measured_lora(lora), seed=0)
        self.loaded.model.train()
        self.device, self.bf16 = device, dtype is torch.bfloat16
        self.budget = TOKENS_PER_PASS[device.type]
        self.passed = self.processor = 0.0

    @property
    def crowded(self) -> bool:
        """Whether other programs used the processors during the measurements so far."""
        return self.processor < GOT_THE_PROCESSOR * self.passed

    def train_pass(self, rows: int, supervised: int) -> float:
        """Return the seconds of forward and backward over ``rows`` rows with ``supervised`` supervised tokens each."""
        from ..batching.packing import supervised_loss

        pack = self._pack(rows, supervised)

        def work() -> None:
            with self._precision():
                loss = supervised_loss(self.loaded.model, pack, self.loaded.separable)
            loss.backward()

        return self._fastest(work)

    def forward_pass(self, rows: int, supervised: int) -> float:
        """Return the seconds of a forward pass without gradients, as for held-out rows."""
        import torch

        from ..batching.packing import supervised_loss

        pack = self._pack(rows, supervised)

        def work() -> None:
            with torch.no_grad(), self._precision():
                supervised_loss(self.loaded.model, pack, self.loaded.separable)

        self.loaded.model.eval()
        fastest = self._fastest(work)
        self.loaded.model.train()
        return fastest

    def new_token(self) -> float:
        """Return the seconds per token of one greedy answer, with EOS suppressed."""
        import torch

        prompt = torch.ones((1, ROW), dtype=torch.long, device=self.device)
        limits = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}
        self.loaded.model.eval()
        fastest = self._fastest(
            lambda: self.loaded.model.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), pad_token_id=0, **limits
            )
        )
        self.loaded.model.train()
        return fastest / NEW_TOKENS

    def kept_bytes(self, rows: int, supervised: int) -> int:
        """Return the bytes that a forward pass keeps for backward, without weights."""
        import torch

        from ..batching.packing import supervised_loss

        weights = {parameter.untyped_storage().data_ptr() for parameter in self.loaded.model.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), self._precision():
            loss = supervised_loss(self.loaded.model, self._pack(rows, supervised), self.loaded.separable)
        del loss
        return sum(kept.values())

    def _pack(self, rows: int, supervised: int) -> dict[str, torch.Tensor]:
        from ..batching.packing import pack_rows

        ids = tuple(range(ROW))
        labels = (IGNORE,) * (ROW - supervised) + ids[ROW - supervised :]
        row = TokenizedExample(ids, labels, ROW - supervised, 0)
        packs = pack_rows([row] * rows, self.loaded.packing, 0, rows * ROW)
        return {name: value.to(self.device) for name, value in packs[0].items()}

    def _precision(self) -> Any:
        import torch

        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _fastest(self, work: Callable[[], Any]) -> float:
        """Return the fastest of a few timings, after a warm-up."""
        self._time_once(work)
        timings: list[float] = []
        while len(timings) < REPEATS[0] or (len(timings) < REPEATS[1] and sum(timings) < ENOUGH_SECONDS):
            timings.append(self._time_once(work))
        return min(timings)

    def _time_once(self, work: Callable[[], Any]) -> float:
        """Return the seconds of ``work``; on a crowded machine, without the time in which others had the processors."""
        import torch

        began, processor = time.perf_counter(), time.process_time()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        taken, computed = time.perf_counter() - began, time.process_time() - processor
        self.loaded.model.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            # The process sleeps while the GPU computes, so its processor time is no measure.
            return taken
        self.passed, self.processor = self.passed + taken, self.processor + computed
        return min(taken, computed)


def _read_speed(folder: Path) -> float:
    """Return the read speed of the weights' files in bytes per second, over at most ``READ_BYTES``."""
    read, began = 0, time.perf_counter()
    for path in sorted(folder.glob("*.safetensors")) or [folder / "config.json"]:
        with path.open("rb") as file:
            while read < READ_BYTES and (part := file.read(2**22)):
                read += len(part)
    return read / (time.perf_counter() - began)
