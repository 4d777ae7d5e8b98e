"""Beam search without copies: all beams of a row are one sequence, a tree behind the row's prompt.

Each step appends one token for each of the row's beams, all at the same position, and a mask selects each
beam's own past. So the prompt is read and cached once a row, however many beams it has, and reordering beams
changes only the mask. Scores, candidates and the stop condition are those of transformers'
``GenerationMixin._beam_search``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..batching.packing_trial import small_random
from ..errors import Stopped
from ..kernels.kv_cache import whole_cache, windows
from ..models.active_rows import ActiveRows, Prompts
from .beam_hypotheses import NEVER, BeamHypotheses, Candidates
from .beam_tree import Tree
from .traces import BeamTrace, Branch

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

log = logging.getLogger(__name__)


@torch.no_grad()
def search(
    model: PreTrainedModel,
    prompts: Prompts,
    beams: int,
    new_tokens: int,
    ends: Sequence[int],
    early_stopping: bool,
    stopping: Callable[[], bool] = lambda: False,
) -> list[BeamTrace]:
    """Each row's beams, until the best answer is known. Raises Stopped.

    ``ends``: the ids that end an answer, which has at most ``new_tokens``. ``early_stopping``: end after the
    first ``beams`` answers. The model must be one that ``fits``, with a vocabulary of at least
    ``kept(beams, ends)`` tokens.
    """
    rows = ActiveRows(model, prompts, whole_cache(model.config))
    tree = Tree(prompts.attention_mask, beams, windows(model.config))
    answers = BeamHypotheses(len(rows.numbers), beams, early_stopping, rows.numbers.device)
    records = [Record() for _ in rows.numbers]
    end_ids = torch.tensor(ends, device=rows.numbers.device)
    logits = rows.read(prompts.input_ids, prompts.attention_mask, prompts.positions, 1)
    scores, position = logits.new_zeros((len(records), 1)), prompts.positions[:, -1:]
    for length in range(1, new_tokens + 1):
        candidates = Candidates.best(logits, scores, kept(beams, ends))
        ended = torch.isin(candidates.token, end_ids) | (length == new_tokens)
        continuing = (candidates.score + ended * NEVER).topk(beams).indices
        scores = candidates.score.gather(1, continuing)
        open_before = (~answers.settled).tolist()
        answers.take(candidates, ended, scores[:, 0], length)
        _record_step(records, rows.numbers, open_before, candidates, ended, continuing, answers)
        if stopping():
            raise Stopped
        settled = answers.settled
        if length == new_tokens or settled.all():
            break
        tokens, position = candidates.token.gather(1, continuing), position + 1
        tree.branch(candidates.parent.gather(1, continuing))
        staying = rows.leaving(settled)
        if staying is not None:
            tree.keep(staying)
            answers.keep(staying)
            tokens, position, scores = tokens[staying], position[staying], scores[staying]
        logits = rows.read(tokens, tree.mask(), position.expand(-1, beams), beams)
    return [record.trace() for record in records]


def kept(beams: int, ends: Sequence[int]) -> int:
    """The number of candidates in a step: enough that every beam can continue, even if each ends with every end id."""
    return max(2, 1 + len(ends)) * beams


class Record:
    """One row's search, step by step, in plain numbers."""

    def __init__(self) -> None:
        self._steps: list[tuple[Branch, ...]] = []
        self._places: list[dict[int, int]] = []
        """For each step: candidate index → branch index."""
        self._best = (0, 0, NEVER)

    def add(self, candidates: list[tuple[int, int, float, float]], ended: list[bool], going: list[int]) -> None:
        """Add a step's candidates (parent, token, own, score), best first; those at ``going`` continue."""
        chosen = [place for place in going if not ended[place]]
        chosen += [place for place in range(len(going)) if ended[place]]
        first = not self._steps
        self._steps.append(
            tuple(
                Branch(None if first else parent, token, own, score, ended[place])
                for place, (parent, token, own, score) in ((place, candidates[place]) for place in chosen)
            )
        )
        self._places.append({candidate: place for place, candidate in enumerate(chosen)})

    def best_is(self, step: int, candidate: int, score: float) -> None:
        """Set the best answer so far: it ended as ``candidate`` of ``step``."""
        self._best = (step, candidate, score)

    def trace(self) -> BeamTrace:
        last, candidate, score = self._best
        path = [self._places[last][candidate]]
        for step in range(last, 0, -1):
            parent = self._steps[step][path[-1]].parent
            assert parent is not None
            path.append(parent)
        return BeamTrace(tuple(self._steps), tuple(reversed(path)), score)


def _record_step(
    records: Sequence[Record],
    numbers: Tensor,
    open_before: Sequence[bool],
    candidates: Candidates,
    ended: Tensor,
    continuing: Tensor,
    answers: BeamHypotheses,
) -> None:
    """Record this step's candidates for the rows that were not settled before it."""
    by_row = zip(
        *(tensor.tolist() for tensor in (candidates.parent, candidates.token, candidates.own, candidates.score)),
        strict=True,
    )
    best = zip(*(tensor[:, 0].tolist() for tensor in (answers.step, answers.place, answers.score)), strict=True)
    per_row = zip(numbers.tolist(), open_before, by_row, ended.tolist(), continuing.tolist(), best, strict=True)
    for number, was_open, (parents, tokens, own, scores), has_ended, continues, (step, place, score) in per_row:
        if was_open:
            records[number].add(list(zip(parents, tokens, own, scores, strict=True)), has_ended, continues)
            records[number].best_is(step, place, score)


_FITS: dict[tuple[str, str | None], bool] = {}
"""Results of ``fits`` in this process, by configuration and attention implementation."""


def fits(config: PretrainedConfig) -> bool:
    """Whether tree beams are exact for such a model; tested on two layers of it with random weights."""
    key = (config.to_json_string(use_diff=False), config._attn_implementation)
    if key not in _FITS:
        _FITS[key] = _test_fit(config)
    return _FITS[key]


def _test_fit(config: PretrainedConfig) -> bool:
    try:
        return windows(config).keys() <= {"full_attention", "sliding_attention"} and is_exact(small_random(config))
    except (AttributeError, IndexError, KeyError, ValueError, TypeError, RuntimeError) as error:
        log.info("beams of %s cannot be a tree (%s)", config.model_type, error)
        return False


@torch.no_grad()
def is_exact(model: PreTrainedModel, tolerance: float = 1e-4) -> bool:
    """Whether logits of tree beams equal those of each beam alone, within ``tolerance`` times the largest logit.

    The test has two prompts, one of them padded, with two beams each, which swap.
    """
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 128, (2, 14), generator=generator)
    prompts = Prompts(ids, torch.tensor([[0] * 5 + [1] * 9, [1] * 14]))
    rows, tree = (
        ActiveRows(model, prompts, whole_cache(model.config)),
        Tree(prompts.attention_mask, 2, windows(model.config)),
    )
    rows.read(ids, prompts.attention_mask, prompts.positions, 1)
    texts = [[row[mask.bool()]] * 2 for row, mask in zip(ids, prompts.attention_mask, strict=True)]
    for step in range(1, 9):
        tokens, parents = (torch.randint(low, high, (2, 2), generator=generator) for low, high in ((3, 128), (0, 2)))
        tree.branch(parents)
        logits = rows.read(tokens, tree.mask(), prompts.positions[:, -1:].expand(-1, 2) + step, 2)
        texts = [
            [torch.cat([text[parent], token[None]]) for parent, token in zip(chosen, new, strict=True)]
            for text, chosen, new in zip(texts, parents.tolist(), tokens, strict=True)
        ]
    alone = torch.stack(
        [torch.stack([model(input_ids=t[None], use_cache=False).logits[0, -1] for t in row]) for row in texts]
    )
    return bool((logits - alone).abs().max() <= tolerance * alone.abs().max())
