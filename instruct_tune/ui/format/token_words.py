"""One row's tokens as a table, its prompt and its answer as text."""

from __future__ import annotations

from typing import Any

from ...inspection.token_view import Role, XRay

TOKEN_HEADERS = ["position", "id", "token", "what", "carries loss"]


def token_rows(row: XRay) -> list[list[Any]]:
    """Every token: position from 1, id, the tokenizer's spelling, what it is, whether it carries loss."""
    return [
        [at, token.id, token.spelling, token.role.value, "yes" if token.loss else "no"]
        for at, token in enumerate(row.tokens, start=1)
    ]


def prompt_of(row: XRay) -> str:
    return "".join(token.text for token in row.tokens if token.role in (Role.PROMPT, Role.SPECIAL))


def answer_of(row: XRay) -> str:
    return "".join(token.text for token in row.tokens if token.role in (Role.ANSWER, Role.EOS))
