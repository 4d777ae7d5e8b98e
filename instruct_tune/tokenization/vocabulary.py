"""Check a tokenizer's ids against the size of the model's embedding.

Tokens added to a tokenizer need a larger embedding in the model. Without one, a row with such a token ends training
with an IndexError, and on a GPU with a fault that only a new process recovers from. So ids are checked before the
model runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ModelError
from .chat_template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REMEDY = "use the tokenizer that belongs to the model, or resize the model's embedding to it and save both"
_SHOWN = 3
"""The most tokens that an error names."""


def embedded_tokens(base: PreTrainedModel) -> int:
    """Return the number of token ids, from 0, that the model can read and predict."""
    ends = (base.get_input_embeddings(), base.get_output_embeddings())
    return min(end.weight.shape[0] for end in ends if end is not None)


def check_special_tokens(name: str, tokenizer: PreTrainedTokenizerBase, size: int) -> str | None:
    """Check EOS, padding and the chat template's markup against an embedding of ``size`` tokens.

    A padding token beyond it is replaced by EOS, which is safe since padded positions are masked. Returns a warning if
    the chat template cannot be used. Raises ModelError if EOS is beyond it, since answers could not end.
    """
    if tokenizer.eos_token_id >= size:
        raise ModelError(
            f"The tokenizer and the model of {name} do not belong together: the end-of-sequence token "
            f"{tokenizer.eos_token!r} is number {tokenizer.eos_token_id}, and the model knows {size:,} tokens, from 0 "
            f"on: {REMEDY}."
        )
    if tokenizer.pad_token_id >= size:
        tokenizer.pad_token = tokenizer.eos_token
    missing = _missing_from_chat(tokenizer, size)
    if not missing:
        return None
    return f"The model has no embedding for {_shown(tokenizer, missing)} of its chat template: choose another template."


def check_rows(tokenizer: PreTrainedTokenizerBase, size: int, rows: Sequence[Sequence[int]], what: str = "row") -> None:
    """Raise ModelError if rows of ids have tokens beyond an embedding of ``size``; ``what`` is the word for a row."""
    beyond = [(number, missing) for number, ids in enumerate(rows, 1) if (missing := [i for i in ids if i >= size])]
    if beyond:
        number, missing = beyond[0]
        raise ModelError(
            f"The tokenizer has tokens that the model does not know ({_shown(tokenizer, missing)}; it knows {size:,}), "
            f"and {len(beyond):,} of {len(rows):,} {what}s hold them, the first is {what} {number}: {REMEDY}, or take "
            f"those {what}s out."
        )


def _missing_from_chat(tokenizer: PreTrainedTokenizerBase, size: int) -> list[int]:
    if not tokenizer.chat_template:
        return []
    try:
        markup = ChatTemplate(tokenizer).markup
    except ModelError:
        # Choosing that template reports the reason; other templates do not need it.
        return []
    encoded = tokenizer([markup.before, markup.after], add_special_tokens=False)["input_ids"]
    return [token for ids in encoded for token in ids if token >= size]


def _shown(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(list(dict.fromkeys(ids)))]
    more = f" and {len(tokens) - _SHOWN} more" if len(tokens) > _SHOWN else ""
    return ", ".join(tokens[:_SHOWN]) + more
