"""Conversations of one question and one answer → instruction and output.

A chat dataset keeps each row as a list of messages, ``{"role": …, "content": …}`` or (ShareGPT's
way) ``{"from": …, "value": …}``. A system message goes in front of the instruction. Longer
conversations are refused: this lab trains on single turns, and cutting one would change its sense.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import DataError

_USER, _ASSISTANT = ("user", "human"), ("assistant", "gpt", "bot", "model", "chatgpt")


def unfold(conversations: Iterable[Any], name: str, column: str) -> tuple[list[str], list[str]]:
    """The instruction and the output of each row of ``column``.

    Raises DataError, naming the first row that is no single turn and how many there are.
    """
    turns = [_turn(conversation) for conversation in conversations]
    refused = [number for number, turn in enumerate(turns, start=1) if isinstance(turn, str)]
    if refused:
        count = f"{len(refused):,} row" + ("" if len(refused) == 1 else "s")
        raise DataError(
            f"Column {column!r} of {name} holds conversations, and only those of one question and one answer can be "
            f"used: {count} cannot, the first is row {refused[0]} ({turns[refused[0] - 1]}). Remove these rows, "
            "or make instruction and output columns of them."
        )
    pairs = [turn for turn in turns if not isinstance(turn, str)]
    return [instruction for instruction, _ in pairs], [output for _, output in pairs]


def _turn(conversation: Any) -> tuple[str, str] | str:
    """(instruction, output), or the reason why the conversation is no single turn."""
    if not isinstance(conversation, list) or not all(isinstance(message, dict) for message in conversation):
        return "it is not a list of messages"
    messages = [_message(message) for message in conversation]
    if any(text is None for _, text in messages):
        return "a message in it has no role or no text"
    systems = [text for role, text in messages if role == "system"]
    rest = [(role, text) for role, text in messages if role != "system"]
    if len(systems) > 1 or (systems and messages[0][0] != "system"):
        return "it has a system message that is not at its beginning"
    if len(rest) != 2:
        return f"it has {len(rest)} message{'' if len(rest) == 1 else 's'} beside the system's, not 2"
    (asks, question), (answers, answer) = rest
    if asks not in _USER or answers not in _ASSISTANT:
        return "it is not a user's message followed by an assistant's"
    return "\n\n".join(text for text in (*systems, question) if text), answer or ""


def _message(message: dict[str, Any]) -> tuple[str, str | None]:
    """(role, text); the text is None where the message lacks one of the two."""
    role = message.get("role") or message.get("from")
    text = message["content"] if "content" in message else message.get("value")
    if not isinstance(role, str) or not isinstance(text, str):
        return "", None
    return role.lower(), text
