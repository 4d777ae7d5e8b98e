"""General text: plain English and code that is no instruction data. The loss on it shows what a run forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..data.json_text import values
from ..tokenization.encode import IGNORE, TokenizedExample, encode_prompt_texts
from ..util.assets import asset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..pretrained.located import LocatedModel

FILE = asset("general.jsonl")
"""Passages with the fields ``kind`` (``english``, or a programming language) and ``text``. See general.md beside it."""
MAX_TOKENS = 20
"""How many tokens of each passage are measured: all passages together fit into one pass of a CPU."""


def general_rows(located: LocatedModel) -> tuple[TokenizedExample, ...]:
    """The passages as rows of the model, without a template; every token but the first carries loss."""
    rows = general_ids(located.tokenizer, located.context_length)
    # A tokenizer may spell a text with ids beyond the model's vocabulary; such a passage cannot be measured.
    return tuple(_row(ids) for ids in rows if max(ids) < located.vocabulary)


def general_ids(tokenizer: PreTrainedTokenizerBase, context_length: int) -> list[tuple[int, ...]]:
    """The token ids of each passage that are measured; ``context_length``: the most tokens that the model reads."""
    texts = [passage["text"] for passage in values(FILE.read_bytes(), FILE.name)]
    longest = min(MAX_TOKENS, context_length)
    rows = [tuple(ids[:longest]) for ids in encode_prompt_texts(tokenizer, texts)]
    # No position predicts the first token, so a single one cannot be measured.
    return [ids for ids in rows if len(ids) > 1]


def _row(ids: tuple[int, ...]) -> TokenizedExample:
    return TokenizedExample(ids, (IGNORE, *ids[1:]), prompt_length=1, truncated=0)
