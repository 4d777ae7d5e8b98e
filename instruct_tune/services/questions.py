"""Checks of questions to a model: prompts, the beginning of an answer, and how long it may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DataError
from .configurations import check_texts

MAX_SEARCH_TOKENS = 64
"""The most tokens of an answer whose search is shown, and of a prefix that it continues: a tree is read by a person."""


def check_question(instruction: Any, input_text: Any) -> None:
    """Raise DataError unless both are texts that a prompt can hold, and there is an instruction."""
    check_texts(instruction=instruction, input=input_text)
    if not instruction.strip():
        raise DataError("Type an instruction first.")


def check_tokens(tokens: Any) -> None:
    """Raise DataError unless it is a number of tokens whose search can be shown."""
    if type(tokens) is not int or not 1 <= tokens <= MAX_SEARCH_TOKENS:
        raise DataError(
            f"An answer whose search is shown has 1 to {MAX_SEARCH_TOKENS} tokens: choose a number of them."
        )


def read_prefix(value: Any) -> tuple[int, ...]:
    """The token ids of an answer's beginning. Raises DataError."""
    ids = tuple(value) if isinstance(value, list | tuple) else ()
    if not 1 <= len(ids) <= MAX_SEARCH_TOKENS or any(type(each) is not int for each in ids):
        raise DataError(
            f"The beginning of an answer is a list of 1 to {MAX_SEARCH_TOKENS} token ids: choose an earlier one."
        )
    return ids


def read_prompt(row: Any, number: int) -> tuple[str, str]:
    """The instruction and input of the ``number``-th prompt, an object. Raises DataError."""
    if isinstance(row, Mapping):
        instruction, input_text = row.get("instruction"), row.get("input") or ""
        if isinstance(instruction, str) and isinstance(input_text, str):
            check_texts(instruction=instruction, input=input_text)
            return instruction, input_text
    raise DataError(f"Prompt {number} must be an object with a text in instruction (and in input, if any).")
