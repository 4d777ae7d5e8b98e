"""The candidates of a beam search step, and the best finished answers so far.

The arithmetic is that of transformers' ``GenerationMixin._beam_search``, its masks of -1e9 included, with a
length penalty of 1: an answer's score is the mean of its tokens' log-probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = -1.0e9
"""Added to the score of candidates that must not be chosen."""


@dataclass(frozen=True)
class Candidates:
    """Beams with one more token, tensors of [rows, candidates], best first.

    ``parent``: the index of the beam that it continues. ``own``: the token's log-probability. ``score``:
    the sum over all of the beam's tokens.
    """

    parent: Tensor
    token: Tensor
    own: Tensor
    score: Tensor

    @staticmethod
    def best(logits: Tensor, scores: Tensor, count: int) -> Candidates:
        """The best ``count`` continuations of each row's beams.

        ``logits`` [rows, beams, vocabulary] follow the beams; ``scores`` [rows, beams] are the beams' own.
        """
        # No beam contributes more than ``count``, so only these are summed and sorted, not the whole vocabulary.
        top = logits.topk(count)
        own = top.values - logits.logsumexp(-1, keepdim=True)
        total = (own + scores[:, :, None]).flatten(1)
        score, place = total.topk(count)
        token = top.indices.flatten(1).gather(1, place)
        return Candidates(place // count, token, own.flatten(1).gather(1, place), score)


class BeamHypotheses:
    """The best finished answers of each row, as many as there are beams, best first.

    ``step`` and ``place``: the step and the candidate index of an answer's last token. ``settled`` [rows]:
    no better answer is possible, or early stopping waits for none.
    """

    def __init__(self, rows: int, beams: int, early_stopping: bool, device: torch.device):
        self.early_stopping = early_stopping
        self.score = torch.full((rows, beams), NEVER, device=device)
        self.there = torch.zeros((rows, beams), dtype=torch.bool, device=device)
        self.step = torch.zeros((rows, beams), dtype=torch.long, device=device)
        self.place = torch.zeros((rows, beams), dtype=torch.long, device=device)
        self.hopeful = torch.ones(rows, dtype=torch.bool, device=device)

    @property
    def settled(self) -> Tensor:
        return ~self.hopeful | self._stopped_early

    @property
    def _stopped_early(self) -> Tensor:
        return self.there.all(1) & self.early_stopping

    def take(self, candidates: Candidates, ended: Tensor, running: Tensor, length: int) -> None:
        """Add those candidates of ``length`` tokens that have ``ended``.

        ``running`` [rows]: the score of the best beam that continues.
        """
        beams = self.score.shape[1]
        # Candidates beyond the number of beams exist only so that enough beams can continue.
        new = ended & (torch.arange(ended.shape[1], device=ended.device) < beams)
        score = candidates.score / length + (~new | self.settled[:, None]) * NEVER
        place = torch.arange(score.shape[1], device=score.device).expand_as(score)
        step = torch.full_like(place, length - 1)
        self.score, best = torch.cat([self.score, score], 1).topk(beams)
        self.there = torch.cat([self.there, new], 1).gather(1, best)
        self.step = torch.cat([self.step, step], 1).gather(1, best)
        self.place = torch.cat([self.place, place], 1).gather(1, best)
        # transformers' heuristic: a running beam's mean does not improve any more.
        worst = torch.where(self.there, self.score.min(1, keepdim=True).values, NEVER)
        self.hopeful &= (running[:, None] / length > worst).any(1)

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        self.score, self.there, self.hopeful = self.score[rows], self.there[rows], self.hopeful[rows]
        self.step, self.place = self.step[rows], self.place[rows]
