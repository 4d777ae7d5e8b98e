"""The lesson's own run: opt-350m's architecture with random weights, batch 2, ten epochs extrapolated.

Meant for a GPU; without one it runs only if named. The rows are those of the other lines, tokenized by the default
model's tokenizer, which gives about as many tokens for such text as OPT's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from .compare import training_rows
from .measure import Row, Spread
from .workload import Workload, random_model

if TYPE_CHECKING:
    from transformers import OPTConfig

LESSON_ROWS, LESSON_EPOCHS, LESSON_BATCH = 7811, 10, 2
"""The lesson's training set: four fifths of CodeAlpaca-20k's rows without an input."""


def shape() -> OPTConfig:
    """The configuration of facebook/opt-350m (331 million parameters)."""
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=50272,
        hidden_size=1024,
        word_embed_proj_dim=512,
        ffn_dim=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        max_position_embeddings=2048,
        do_layer_norm_before=False,
        dropout=0.1,
    )


def lesson_shape(work: Workload) -> Iterator[Row]:
    """The lesson's shape on a GPU: speed, utilisation, ten epochs extrapolated"""
    subject = random_model(shape(), work.subject.tokenizer)
    rows = list(training_rows("opt-350m's shape, batch 2", work, subject, LESSON_BATCH))
    yield from rows
    speed = rows[0]
    an_epoch = LESSON_ROWS * speed.details["tokens"] / speed.details["rows"]
    yield replace(
        speed,
        what=f"the lesson's ten epochs of {LESSON_ROWS:,} rows, extrapolated (stock: TRL's SFTTrainer)",
        lab=_minutes(an_epoch, speed.lab),
        stock=_minutes(an_epoch, speed.stock) if speed.stock else None,
        unit="min",
        details={},
    )


def _minutes(an_epoch: float, speed: Spread) -> Spread:
    """Minutes for ten epochs of ``an_epoch`` tokens each at ``speed`` tokens a second."""
    minutes = [LESSON_EPOCHS * an_epoch / rate / 60 for rate in (speed.median, speed.high, speed.low)]
    return Spread(*minutes)
