"""Measure how fast this machine trains an architecture, in seconds, on one and three layers of it.

The real configuration is built with one layer and with three, with random weights and a real LoRA, and trained for a
few passes. Half of the difference is the time per layer; the rest of the one-layer time is that of embeddings, head
and loss. So a model of thirty layers is timed without loading it. The time of a pass is taken to be proportional to
its tokens, so the timed pass has about as many as those of a run with small batches. Call this on the job queue's
thread only, like everything that computes.
"""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import LoraSettings
from ..models import lora as adapter
from ..models.lora_targets import adapted_paths, adapted_width
from ..pretrained.cache_folder import cache_dir, change_file, read_file
from ..pretrained.context_length import context_of
from ..pretrained.locate import Weights
from ..pretrained.model_errors import model_errors
from ..pretrained.read_model import check_weights, empty_model, read_config, text_part
from ..tokenization.encode import IGNORE, TokenizedExample
from ..util.hashing import sha256_of_text
from .resources import Architecture, Speed

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from ..batching.packing import Pack
    from ..models.base_model import LoadedModel

ROW, ROWS = 64, 8
"""Tokens of a timed row, about the length of short instructions, and rows of a timed pass. Half of a row is answer."""
LIGHT, HEAVY = 8, 56
"""Supervised tokens of a row for measuring memory; the difference in bytes is that of head and loss."""
TIMINGS = 2
"""Timings of each kind of work, after a warm-up. The fastest counts."""
NEW_TOKENS = 8
REMEMBER_SECONDS = {False: 24 * 3600.0, True: 5 * 60.0}
"""Lifetime of a measurement by ``crowded``: a day, or five minutes if other programs used the processors."""
MORE = 2
"""Further layers of the second small model, enough that the difference exceeds the noise."""
FEWEST = {"rwkv": 2, "recurrent_gemma": 3}
"""The least layers by ``config.model_type``, if one layer does not work: RWKV divides by the layers minus one, and in
RecurrentGemma only every third layer is the attention that generation needs."""
GOT_THE_PROCESSOR = 0.8
"""The machine is crowded if the process got less processor time than this share of the elapsed time."""


def describe(folder: Path, lora: LoraSettings, bf16: bool | str) -> Architecture:
    """Return the sizes of the model in ``folder``, from its configuration, without reading weights.

    Raises ModelError if it is not a causal language model, or has no such target modules.
    """
    from ..models.base_model import weights_dtype

    check_weights(folder.name, folder)
    base = empty_model(folder.name, folder)
    return Architecture(
        parameters=sum(parameter.numel() for parameter in base.parameters()),
        adapted=adapted_width(base, lora.target_modules),
        itemsize=weights_dtype(bf16).itemsize,
        recomputes=base.supports_gradient_checkpointing,
        context=context_of(base.config),
        paths=tuple(adapted_paths(base, lora.target_modules)),
    )


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
            bf16 == "auto",
            platform.node(),
            device,
            torch.get_num_threads(),
            torch.__version__,
        ]
        return sha256_of_text(repr(parts))[:16]

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
    text = config.get_text_config(decoder=True)
    few = FEWEST.get(config.model_type, 1)
    with model_errors(f"The model in {folder.name} cannot be measured"), torch.random.fork_rng():
        small, larger = (_TimedModel(config, folder, tokenizer, lora, bf16, layers) for layers in (few, few + MORE))

        def whole(cost: Callable[[_TimedModel], float]) -> float:
            """Extrapolate a cost from the two small models to all layers."""
            fixed = cost(small)
            return fixed + (text.num_hidden_layers - few) * max(0.0, cost(larger) - fixed) / MORE

        training = whole(lambda model: model.rows(training=True))
        answers = small.budget // ROW * (HEAVY - LIGHT)
        a_logit = max(0, small.kept_bytes(HEAVY) - small.kept_bytes(LIGHT)) / answers
        kept = whole(lambda model: model.kept_bytes(LIGHT))
        return Speed(
            a_token=training / (ROWS * ROW),
            forward=whole(lambda model: model.rows(training=False)) / training,
            new_token=whole(_TimedModel.new_token),
            token_bytes=max(0.0, kept / small.budget - a_logit * LIGHT / ROW),
            # Two arrays of a token's logits exist at a time: logits and their logarithms if computed in chunks,
            # else logits and their gradient, and then one of the two is already in ``a_logit``.
            supervised_bytes=a_logit + text.vocab_size * 4 * (2 if small.loaded.separable else 1),
            crowded=small.crowded or larger.crowded,
        )


def _shortened(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    short = copy.deepcopy(config)
    text = text_part(short)
    # Shorten lists with a value per layer (layer_types, GPT Neo's attention_layers). Some configurations derive them
    # from the number of layers, as properties, which need no change.
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == text.num_hidden_layers:
            setattr(text, key, [value[layer % len(value)] for layer in range(layers)])
    text.num_hidden_layers = layers
    return short


class _TimedModel:
    """Times a model of ``layers`` random-weight layers of an architecture with a LoRA."""

    def __init__(
        self,
        config: PretrainedConfig,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        lora: LoraSettings,
        bf16: bool | str,
        layers: int,
    ):
        import torch
        from transformers import AutoModelForCausalLM

        from ..batching.packing import TOKENS_PER_PASS
        from ..batching.packing_trial import detect_packing
        from ..kernels.bf16_products import is_faster, suitable_layers
        from ..models.base_model import LoadedModel, best_device, make_ready, weights_dtype

        self.device, dtype = torch.device(best_device()), weights_dtype(bf16)
        base = AutoModelForCausalLM.from_config(_shortened(config, layers), dtype=dtype)
        make_ready(base)
        weights = Weights(str(folder), folder, "random, for timing", "")
        # Of the whole configuration, as in training.
        support = detect_packing(config)
        self.loaded: LoadedModel = LoadedModel(base, base, tokenizer, weights, support.packing, support.separable)
        adapter.attach(self.loaded, "timed", _measured_lora(lora), seed=0)
        self.bf16, self.budget = dtype is torch.bfloat16, TOKENS_PER_PASS[self.device.type]
        # As training.precision chooses them, but for the loss, which random weights do not have.
        self.bf16_layers = suitable_layers(base) if bf16 == "auto" and is_faster() else []
        self.passed = self.computed = 0.0

    @property
    def crowded(self) -> bool:
        """Whether other programs used the processors during the measurements so far."""
        return self.computed < GOT_THE_PROCESSOR * self.passed

    def rows(self, training: bool) -> float:
        """Return the seconds of ``ROWS`` rows: of forward and backward, or of forward alone as for held-out rows."""
        from ..kernels.bf16_products import in_bf16

        packs = self._packs(ROWS, ROW // 2)

        def work() -> None:
            with in_bf16(self.bf16_layers if training else []):
                for pack in packs:
                    loss = self._loss(pack)
                    if training:
                        loss.backward()

        return self._fastest(work, training)

    def new_token(self) -> float:
        """Return the seconds per token of one greedy answer, with EOS suppressed."""
        import torch

        prompt = torch.ones((1, ROW), dtype=torch.long, device=self.device)
        given = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt), "pad_token_id": 0}
        limits = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}
        return self._fastest(lambda: self.loaded.model.generate(**given, **limits)) / NEW_TOKENS

    def kept_bytes(self, supervised: int) -> int:
        """Return the bytes that a forward pass of ``budget`` tokens keeps for backward, without weights."""
        import torch

        weights = {parameter.untyped_storage().data_ptr() for parameter in self.loaded.model.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        self.loaded.model.train()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self._loss(self._packs(self.budget // ROW, supervised)[0])
        return sum(kept.values())

    def _packs(self, rows: int, supervised: int) -> list[Pack]:
        from ..batching.packing import pack_rows

        ids = tuple(range(ROW))
        labels = (IGNORE,) * (ROW - supervised) + ids[ROW - supervised :]
        row = TokenizedExample(ids, labels, ROW - supervised, 0)
        return pack_rows([row] * rows, self.loaded.packing, 0, rows * ROW, self.device)

    def _loss(self, pack: Pack) -> torch.Tensor:
        import torch

        from ..batching.loss import supervised_loss

        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return supervised_loss(self.loaded.model, pack, self.loaded.separable)

    def _fastest(self, work: Callable[[], Any], training: bool = False) -> float:
        """Return the seconds of the fastest of ``TIMINGS``, after a warm-up."""
        import torch

        self.loaded.model.train(training)
        with torch.set_grad_enabled(training):
            self._time_once(work)
            return min(self._time_once(work) for _ in range(TIMINGS))

    def _time_once(self, work: Callable[[], Any]) -> float:
        """Return the seconds of ``work``; on a crowded machine, without the time in which others had the processors."""
        import torch

        began, processor = time.perf_counter(), time.process_time()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        taken, computed = time.perf_counter() - began, time.process_time() - processor
        self.loaded.model.zero_grad(set_to_none=True)
        # The process sleeps while a GPU computes, so its processor time is no measure then.
        seconds = taken if self.device.type == "cuda" else min(taken, computed)
        self.passed, self.computed = self.passed + taken, self.computed + seconds
        return seconds
