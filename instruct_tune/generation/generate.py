"""Decoding: base and adapters share one set of weights, in left-padded batches sorted by length.

Prompts come from ``tokenization.encode.encode_prompts``, the same ids that begin a training row. For the
same settings a text equals that of transformers' own text-generation pipeline.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from ..config.run_config import GenerationSettings
from ..errors import DataError, MemoryLimitError, Stopped
from ..kernels.kv_cache import growing_cache
from ..models.active_rows import Prompts
from ..models.decoding_support import beams_can_use_cache, detect_decoding_support
from ..models.lora import answering_as, can_mix
from ..pretrained.trial import OVERRIDDEN, UNCUT, is_plain
from ..tokenization.vocabulary import check_rows
from ..util import memory
from . import beam_search, greedy
from .answer import Answer, Reader

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

TOKENS_PER_BATCH = {"cpu": 8192, "cuda": 262_144}
"""The most prompt and answer tokens in one batch, all beams counted; fewer where memory is short."""

SHARE_OF_MEMORY = 1 / 4
"""The largest share of free memory for a batch's keys and values; logits and activations need memory too."""

TRACED = 5
"""How many candidates a greedy trace keeps for each step."""


@dataclass(frozen=True)
class Request:
    """The ids of a prompt, and the ``adapter_name`` that answers it: ``lora.BASE`` or an adapter's name."""

    prompt: tuple[int, ...]
    adapter_name: str


def generate(
    loaded: LoadedModel,
    requests: Sequence[Request],
    settings: GenerationSettings,
    *,
    between_batches: Callable[[int], None] = lambda done: None,
    on_answers: Callable[[dict[int, Answer]], None] = lambda answers: None,
    on_tokens: Callable[[list[str]], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    trace: bool = False,
) -> list[Answer]:
    """Answers in the order of ``requests``.

    Args:
        loaded: The model.
        requests: Prompts, each with the name of the adapter that answers it.
        settings: How to decode.
        between_batches: Called after each batch with the number of requests done so far.
        on_answers: Called after each batch with its answers, by the index of their request.
        on_tokens: Called after each token with the texts of all requests so far (not with beams: a beam may
            still be replaced).
        stopping: Checked at every token.
        trace: Answers contain the candidates of each step, where the lab's own loops decode them
            (``decodes_itself``).

    Raises Stopped where ``stopping()`` is true, DataError where a prompt does not fit into the model's context,
    ModelError where it has tokens that the model does not know, MemoryLimitError where not even one request
    fits into memory.
    """
    check_rows(loaded.tokenizer, loaded.vocabulary, [request.prompt for request in requests], "prompt")
    answers: dict[int, Answer] = {}
    texts = [""] * len(requests)
    waiting = deque(_batches(loaded, requests, settings))
    while waiting:
        batch = waiting.popleft()

        def grown(new: list[str], batch: list[int] = batch) -> None:
            for index, text in zip(batch, new, strict=True):
                texts[index] = text
            if on_tokens:
                on_tokens(list(texts))

        rows = [requests[index] for index in batch]
        decoded = _within_memory(loaded, rows, settings, grown if on_tokens else None, stopping, trace)
        if decoded is None:
            half = len(batch) // 2
            waiting.extendleft((batch[half:], batch[:half]))
            continue
        batch_answers = dict(zip(batch, decoded, strict=True))
        answers |= batch_answers
        on_answers(batch_answers)
        between_batches(len(answers))
    return [answers[index] for index in range(len(requests))]


def _within_memory(
    loaded: LoadedModel,
    rows: Sequence[Request],
    settings: GenerationSettings,
    on_tokens: Callable[[list[str]], None] | None,
    stopping: Callable[[], bool],
    trace: bool,
) -> list[Answer] | None:
    """The rows' answers; None where memory ran out: it is freed, and fewer rows may fit."""
    try:
        return _decode(loaded, rows, settings, on_tokens, stopping, trace)
    except (RuntimeError, MemoryError) as error:
        if not memory.ran_out(error):
            raise
    # Outside the except clause: the exception holds the failed frames, and those hold the memory.
    memory.give_back()
    if len(rows) == 1:
        raise MemoryLimitError(
            f"The memory is too small for one answer to a prompt of {len(rows[0].prompt)} tokens: "
            "lower generation.max_new_tokens or num_beams, choose a smaller model, or end other programs."
        )
    return None


def room(loaded: LoadedModel, prompt_length: int, settings: GenerationSettings) -> int:
    """The most tokens of an answer to a prompt of ``prompt_length`` tokens; 0 where none fits.

    Raises DataError where the prompt is empty or fills the model's context.
    """
    if prompt_length == 0:
        raise DataError("The prompt is empty: type an instruction, or use a template with some text of its own.")
    left = loaded.context_length - prompt_length
    if left <= 0:
        raise DataError(
            f"A prompt of {prompt_length} tokens does not fit into the model's context of {loaded.context_length}: "
            "shorten it, or choose a model with a longer context."
        )
    if settings.max_length is not None:
        return max(0, min(left, settings.max_length - prompt_length))
    return min(left, settings.max_new_tokens or left)


def _batches(loaded: LoadedModel, requests: Sequence[Request], settings: GenerationSettings) -> Iterator[list[int]]:
    """Indices of requests that are decoded together, longest prompts first.

    The rows of a batch share one limit of new tokens: where ``max_length`` counts the prompt, or the context
    is short, a batch holds prompts of one length only, so that no row is cut because of another.
    """
    if one_by_one(loaded):
        yield from ([index] for index in range(len(requests)))
        return
    budget = tokens_per_batch(loaded)
    adapter_names = list(dict.fromkeys(request.adapter_name for request in requests))
    groups = [set(adapter_names)] if can_mix(loaded) else [{adapter_name} for adapter_name in adapter_names]
    for group in groups:
        chosen = [index for index, request in enumerate(requests) if request.adapter_name in group]
        yield from _by_length(loaded, requests, chosen, settings, budget)


def one_by_one(loaded: LoadedModel) -> str | None:
    """One sentence on why answers are decoded without batches; None where a batch changes no answer."""
    if detect_decoding_support(loaded.base.config).batches:
        return None
    return "In this architecture a batch changes the answers of its rows, so each answer is decoded alone."


def tokens_per_batch(loaded: LoadedModel) -> int:
    """The most tokens of keys and values in one batch, given the memory that is free now."""
    most, free = TOKENS_PER_BATCH[loaded.device.type], memory.free(loaded.device)
    if free is None:
        return most
    # An upper bound: heads may share keys and values.
    config = loaded.base.config.get_text_config(decoder=True)
    bytes_per_token = 2 * config.num_hidden_layers * config.hidden_size * loaded.base.dtype.itemsize
    return min(most, int(free * SHARE_OF_MEMORY / bytes_per_token))


def _by_length(
    loaded: LoadedModel, requests: Sequence[Request], chosen: list[int], settings: GenerationSettings, budget: int
) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in sorted(chosen, key=lambda index: -len(requests[index].prompt)):
        length = len(requests[index].prompt)
        longest = len(requests[batch[0]].prompt) if batch else length
        width = longest + room(loaded, longest, settings)
        full = width * settings.num_beams * (len(batch) + 1) > budget
        if batch and (full or room(loaded, length, settings) != room(loaded, longest, settings)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _decode(
    loaded: LoadedModel,
    rows: Sequence[Request],
    settings: GenerationSettings,
    on_tokens: Callable[[list[str]], None] | None,
    stopping: Callable[[], bool],
    trace: bool,
) -> list[Answer]:
    new_tokens = room(loaded, max(len(row.prompt) for row in rows), settings)
    if new_tokens == 0:
        return [Answer("", 0, False) for _ in rows]
    config = generation_config(loaded, settings, new_tokens)
    reader = Reader(loaded.tokenizer, tuple(config.eos_token_id), settings.stop)
    with answering_as(loaded, [row.adapter_name for row in rows]) as mixed:
        prompts = _left_padded(loaded, rows, mixed.get("adapter_names"))
        if not decodes_itself(loaded, settings):
            ids = _by_generate(loaded, prompts, settings, config, reader, on_tokens, stopping)
            return [reader.answer(row_ids) for row_ids in ids]
        if settings.num_beams == 1:
            return _greedy(loaded, prompts, new_tokens, reader, on_tokens, stopping, trace)
        ends, early = config.eos_token_id, settings.early_stopping
        traces = beam_search.search(loaded.model, prompts, settings.num_beams, new_tokens, ends, early, stopping)
    return [reader.answer(beam.ids, beam if trace else None) for beam in traces]


def decodes_itself(loaded: LoadedModel, settings: GenerationSettings) -> bool:
    """Whether the lab's own loops decode as transformers' ``generate`` would with these settings.

    A model's generation defaults may do more than end an answer and sample; then ``generate`` decodes.
    """
    base = loaded.base
    plain = detect_decoding_support(base.config).own_loop and is_plain(base)
    if settings.do_sample or not plain:
        return False
    enough = beam_search.kept(settings.num_beams, end_tokens(loaded, settings.stop)) <= loaded.vocabulary
    return settings.num_beams == 1 or (enough and beam_search.fits(base.config))


def _greedy(
    loaded: LoadedModel,
    prompts: Prompts,
    new_tokens: int,
    reader: Reader,
    on_tokens: Callable[[list[str]], None] | None,
    stopping: Callable[[], bool],
    trace: bool,
) -> list[Answer]:
    def on_step(generated: list[list[int]]) -> None:
        if on_tokens:
            on_tokens([reader.answer(ids).text for ids in generated])

    halted = reader.stopped if reader.stop else None
    candidates = TRACED if trace else 0
    decoded = greedy.decode(loaded.model, prompts, new_tokens, reader.ends, on_step, stopping, candidates, halted)
    return [reader.answer(ids, steps if trace else None) for ids, steps in decoded]


def _by_generate(
    loaded: LoadedModel,
    prompts: Prompts,
    settings: GenerationSettings,
    config: GenerationConfig,
    reader: Reader,
    on_tokens: Callable[[list[str]], None] | None,
    stopping: Callable[[], bool],
) -> list[list[int]]:
    """The ids from transformers' ``generate``, padding included."""
    width = prompts.input_ids.shape[1]
    one_way = settings.num_beams == 1
    criteria = _TokenCallback(reader, width, on_tokens if one_way else None, stopping, ends_rows=one_way)
    extra: dict[str, Any] = {}
    if prompts.adapter_names:
        # Beam search expands each row into num_beams adjacent rows.
        extra["adapter_names"] = [
            adapter_name for adapter_name in prompts.adapter_names for _ in range(settings.num_beams)
        ]
    if settings.num_beams == 1 and detect_decoding_support(loaded.base.config).own_loop:
        extra["past_key_values"] = growing_cache(loaded.base.config)
    if settings.num_beams > 1 and not beams_can_use_cache(loaded.base.config):
        config.use_cache = False
    with torch.no_grad(), _isolated_seed(loaded, settings.seed):
        output = loaded.model.generate(
            input_ids=prompts.input_ids,
            attention_mask=prompts.attention_mask,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([criteria]),
            # ``generate`` needs it where a model's defaults contain stop strings.
            tokenizer=loaded.tokenizer,
            **extra,
        )
    if criteria.stopped:
        raise Stopped
    return output[:, width:].tolist()


def generation_config(loaded: LoadedModel, settings: GenerationSettings, new_tokens: int) -> GenerationConfig:
    """The settings as a ``GenerationConfig``. An answer ends at the tokenizer's EOS or any of the model's."""
    chosen: dict[str, Any] = {"do_sample": settings.do_sample, "num_beams": settings.num_beams}
    if settings.do_sample:
        chosen |= {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0, **UNCUT}
    if settings.num_beams > 1:
        chosen |= {"early_stopping": settings.early_stopping}
    return GenerationConfig(
        max_new_tokens=new_tokens,
        eos_token_id=end_tokens(loaded, settings.stop),
        pad_token_id=loaded.tokenizer.pad_token_id,
        bos_token_id=loaded.tokenizer.bos_token_id,
        **OVERRIDDEN,
        **chosen,
    )


def end_tokens(loaded: LoadedModel, stop: Sequence[str] = ()) -> list[int]:
    """Every id that ends an answer, without ids beyond the embedding, which a model cannot generate.

    Among them are the special tokens that ``stop`` spells: an answer's text never shows them.
    """
    own = loaded.base.generation_config.eos_token_id
    models = list(own) if isinstance(own, list) else [own] if own is not None else []
    spelled = {text.strip() for text in stop}
    added = loaded.tokenizer.added_tokens_decoder.items()
    models += [number for number, token in added if token.special and token.content in spelled]
    return sorted({loaded.tokenizer.eos_token_id, *(token for token in models if 0 <= token < loaded.vocabulary)})


def _left_padded(loaded: LoadedModel, rows: Sequence[Request], adapter_names: Sequence[str] | None) -> Prompts:
    width = max(len(row.prompt) for row in rows)
    pad = loaded.tokenizer.pad_token_id
    ids = [[pad] * (width - len(row.prompt)) + list(row.prompt) for row in rows]
    mask = [[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows]
    device = loaded.device
    return Prompts(
        torch.tensor(ids, device=device),
        torch.tensor(mask, device=device),
        tuple(adapter_names) if adapter_names else None,
    )


@contextmanager
def _isolated_seed(loaded: LoadedModel, seed: int) -> Iterator[None]:
    """Sample from ``seed``, and restore the random state of a run that trains."""
    with torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class _TokenCallback(StoppingCriteria):
    """Reports every token; ends all rows on ``stopping()``, and with ``ends_rows`` a row at a stop text.

    Beams go on at a stop text, as the lab's own do: the best one is cut before it afterwards.
    """

    def __init__(
        self,
        reader: Reader,
        prompt_width: int,
        on_tokens: Callable[[list[str]], None] | None,
        stopping: Callable[[], bool],
        ends_rows: bool,
    ):
        self.reader, self.prompt_width, self.ends_rows = reader, prompt_width, ends_rows
        self.on_tokens, self.stopping, self.stopped = on_tokens, stopping, False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.stopped = self.stopping()
        if self.on_tokens and not self.stopped:
            self.on_tokens([self.reader.answer(ids).text for ids in self._new(input_ids)])
        if self.stopped or not (self.ends_rows and self.reader.stop):
            return torch.full((input_ids.shape[0],), self.stopped, device=input_ids.device, dtype=torch.bool)
        return torch.tensor([self.reader.stopped(ids) for ids in self._new(input_ids)], device=input_ids.device)

    def _new(self, input_ids: torch.Tensor) -> list[list[int]]:
        return input_ids[:, self.prompt_width :].tolist()
