"""Which candidates a step of beam search finds, and which whole answers are the best so far.

The arithmetic of transformers' ``GenerationMixin._beam_search``, its masks of -1e9 included, with a
length penalty of 1: an answer's score is the mean of its tokens' log-probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = -1.0e9
"""Added to the score of what must not be chosen."""


@dataclass(frozen=True)
class Candidates:
    """Beams with one token more, [rows, candidates], best first.

    ``parent``: the place of the beam that it continues. ``own``: the token's log-probability. ``score``:
    the sum over all of the beam's tokens.
    """

    parent: Tensor
    token: Tensor
    own: Tensor
    score: Tensor

    @staticmethod
    def best(logits: Tensor, scores: Tensor, count: int) -> Candidates:
        """The best ``count`` continuations of beams.

        ``logits`` [rows, beams, vocabulary] after them, ``scores`` [rows, beams] of them.
        """
        # No beam can have more than all of them. So the sum and the sorting are of a few, not of every word.
        top = logits.topk(count)
        own = top.values - logits.logsumexp(-1, keepdim=True)
        total = (own + scores[:, :, None]).flatten(1)
        score, place = total.topk(count)
        token = top.indices.flatten(1).gather(1, place)
        return Candidates(place // count, token, own.flatten(1).gather(1, place), score)


class BeamHypotheses:
    """The best answers that have ended, as many as there are beams, of each row; best first.

    ``step`` and ``place``: where an answer's last token was among the candidates. ``settled`` [rows]:
    no better one can come, or none is waited for.
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
        return ~self.hopeful | self._content

    @property
    def _content(self) -> Tensor:
        return self.there.all(1) & self.early_stopping

    def take(self, found: Candidates, ended: Tensor, running: Tensor, length: int) -> None:
        """Look at candidates of ``length`` tokens, of which some have ``ended``.

        ``running`` [rows]: the score of the best that goes on.
        """
        beams = self.score.shape[1]
        # Those further back are only there so that enough beams can go on.
        new = ended & (torch.arange(ended.shape[1], device=ended.device) < beams)
        score = found.score / length + (~new | self.settled[:, None]) * NEVER
        place = torch.arange(score.shape[1], device=score.device).expand_as(score)
        step = torch.full_like(place, length - 1)
        self.score, best = torch.cat([self.score, score], 1).topk(beams)
        self.there = torch.cat([self.there, new], 1).gather(1, best)
        self.step = torch.cat([self.step, step], 1).gather(1, best)
        self.place = torch.cat([self.place, place], 1).gather(1, best)
        # As transformers guesses it: the mean of a running beam gets no better than it is.
        worst = torch.where(self.there, self.score.min(1, keepdim=True).values, NEVER)
        self.hopeful &= (running[:, None] / length > worst).any(1)

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        self.score, self.there, self.hopeful = self.score[rows], self.there[rows], self.hopeful[rows]
        self.step, self.place = self.step[rows], self.place[rows]
