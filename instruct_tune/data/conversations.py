"""Convert conversations of one question and one answer to instruction and output.

A chat dataset stores each row as a list of messages, ``{"role": …, "content": …}`` or (ShareGPT) ``{"from": …,
"value": …}``, sometimes as JSON text. A system message goes in front of the instruction. Longer conversations are
rejected: this lab trains on single turns, and cutting one would change its meaning. Messages with more than text
are rejected too: tool calls, reasoning, pictures, or a weight of 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ..errors import DataError
from ..text.plain_text import counted
from .cell_text import from_json, is_empty, text_in

_USER, _ASSISTANT = ("user", "human"), ("assistant", "gpt", "bot", "model", "chatgpt")
_MORE_THAN_TEXT = (
    "tool_calls", "function_call", "reasoning_content", "reasoning", "thinking", "image", "images", "audio", "video",
    "videos",
)  # fmt: skip
# Fields of OpenAI and axolotl that set whether an answer is trained on.
_WEIGHTS = ("weight", "train", "training", "loss")


def unfold(
    conversations: Iterable[Any], name: str, column: str, ignored: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Return the instructions and outputs of the rows of ``column``; message fields in ``ignored`` are skipped.

    Raises DataError with the number of rows that are no single turn, and the first of them.
    """
    turns = [_turn(conversation, ignored) for conversation in conversations]
    refused = [number for number, turn in enumerate(turns, start=1) if isinstance(turn, str)]
    if refused:
        count = counted(len(refused), "row")
        raise DataError(
            f"Column {column!r} of {name} holds conversations, and only those of one question and one answer can be "
            f"used: {count} cannot, the first is row {refused[0]} ({turns[refused[0] - 1]}). Remove these rows, "
            "or make instruction and output columns of them."
        )
    pairs = [turn for turn in turns if not isinstance(turn, str)]
    return [instruction for instruction, _ in pairs], [output for _, output in pairs]


def are_messages(value: Any) -> bool:
    """Whether ``value`` is a list of messages."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and ("role" in each or "from" in each) for each in value)
    )


def side(messages: Sequence[dict[str, Any]], answers: bool, ignored: Collection[str] = ()) -> tuple[str] | str:
    """Return ``(text,)`` for the messages on one side of a turn, or the reason why they are no such side.

    The sides are TRL's conversational prompt and completion. With ``answers``: the completion, one assistant message.
    Else: the prompt, one user message, optionally after a system message.
    """
    if fault := _fault(messages, ignored):
        return fault
    parsed = [_message(message) for message in messages]
    systems, rest = _split(parsed)
    if answers:
        single = len(parsed) == 1 and parsed[0][0] in _ASSISTANT
        return (parsed[0][1] or "",) if single else "it is not one message of an assistant"
    if len(rest) != 1 or rest[0][0] not in _USER or parsed[: len(systems)] != systems or len(systems) > 1:
        return "it is not one message of a user, with at most a system's before it"
    return ("\n\n".join(text for _, text in parsed if text),)


def _turn(conversation: Any, ignored: Collection[str]) -> tuple[str, str] | str:
    """Return (instruction, output), or the reason why the conversation is not a single turn."""
    if isinstance(conversation, str):
        conversation = from_json(conversation, conversation)
    if not isinstance(conversation, list) or not all(isinstance(message, dict) for message in conversation):
        return "it is not a list of messages"
    if fault := _fault(conversation, ignored):
        return fault
    messages = [_message(message) for message in conversation]
    systems, rest = _split(messages)
    if len(systems) > 1 or (systems and messages[0][0] != "system"):
        return "it has a system message that is not at its beginning"
    if len(rest) != 2:
        return f"it has {len(rest)} message{'' if len(rest) == 1 else 's'} beside the system's, not 2"
    (question_role, question), (answer_role, answer) = rest
    if question_role not in _USER or answer_role not in _ASSISTANT:
        return "it is not a user's message followed by an assistant's"
    return "\n\n".join(text for text in (*(text for _, text in systems), question) if text), answer or ""


Message = tuple[str, str | None]


def _split(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """Split into system messages and others."""
    return [each for each in messages if each[0] == "system"], [each for each in messages if each[0] != "system"]


def _message(message: dict[str, Any]) -> Message:
    """Return (role, text); the text is None if either is missing."""
    role = message.get("role") or message.get("from")
    text = text_in(message["content"] if "content" in message else message.get("value"))
    if not isinstance(role, str) or not isinstance(text, str):
        return "", None
    return role.lower(), text


def _fault(messages: Sequence[dict[str, Any]], ignored: Collection[str]) -> str | None:
    """Return the reason why the messages are more than plain texts; None if they are not."""
    for message in messages:
        for field in _MORE_THAN_TEXT:
            if field not in ignored and not is_empty(message.get(field)):
                return f"a message in it has {field}, which {_ignore_hint(field)}"
        role, text = _message(message)
        if text is None:
            return "a message in it has no role or no text"
        for field in _WEIGHTS:
            weight = message.get(field)
            if role in _ASSISTANT and field not in ignored and not is_empty(weight) and weight not in (1, True):
                return f"its answer has {field} {str(weight)[:20]!r}, which {_ignore_hint(field)}"
    return None


def _ignore_hint(field: str) -> str:
    return f"""'data.columns.ignore=["{field}"]' leaves out of account"""
