"""Show every token of one training row: its role and whether it carries loss.

``token_view`` shows the trainer's input. ``broken_token_view`` shows the same row with a classic fault, for teaching:
no run can use one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ..data.splits import Example
from ..errors import DataError
from ..tokenization.encode import is_held, prompt_text, token_pieces, tokenize_examples
from ..tokenization.prompt_template import PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 1500
"""The most tokens of a row that are shown; of longer rows, the beginning is shown."""
UNCUT = 2**31
NOT_HELD = "This tokenizer cannot hold the row: characters or white space are learned changed."


class Role(str, Enum):
    """The role of a token, as displayed."""

    PROMPT = "prompt"
    SPECIAL = "special token"
    ANSWER = "answer"
    EOS = "end of sequence"
    CUT = "cut off"

    __str__ = str.__str__


class Fault(str, Enum):
    """Common faults in building a row, as displayed."""

    NO_EOS = "no EOS"
    PROMPT_TOO = "loss on the prompt too"
    EOS_MASKED = "EOS taken for padding"
    ANSWER_CUT = "answer cut in half"
    MARKER = "mask by text search"

    __str__ = str.__str__


NO_FAULT = "none: as trained"
"""The choice beside the faults, as displayed."""


@dataclass(frozen=True)
class Token:
    """``text``: the token's share of the decoded row. ``spelling``: the tokenizer's own. ``loss``: it carries loss."""

    id: int
    text: str
    spelling: str
    role: Role
    loss: bool


@dataclass(frozen=True)
class TokenView:
    """A row's tokens in order. ``explanation``: one or two sentences about them."""

    tokens: tuple[Token, ...]
    explanation: str

    @property
    def supervised(self) -> int:
        """Number of tokens that carry loss."""
        return sum(token.loss for token in self.tokens)

    @property
    def length(self) -> int:
        """Number of tokens that the trainer gets: all that are not cut off."""
        return sum(token.role is not Role.CUT for token in self.tokens)


def token_view(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, example: Example, max_length: int, overlong: str
) -> TokenView:
    """Return the row as the trainer gets it, followed by what ``max_length`` cuts off: all tokens of a dropped row."""
    row = tokenize_examples(tokenizer, template, [example], UNCUT)[0]
    ids, start = row.input_ids, row.prompt_length
    roles = _roles(tokenizer, ids, start)
    kept = min(len(ids), max_length)
    explanation = _explain(len(ids), kept, start, max_length, overlong)
    if kept < len(ids) and overlong == "drop":
        kept = 0
    roles = [*roles[:kept], *[Role.CUT] * (len(ids) - kept)]
    loss = [start <= at < kept for at in range(len(ids))]
    if not is_held(tokenizer, row, example.output):
        explanation += f" {NOT_HELD}"
    return TokenView(_tokens(tokenizer, ids, roles, loss), explanation)


def broken_token_view(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, example: Example, fault: Fault
) -> TokenView:
    """Return the row with ``fault``, and an explanation of what a model learns from such rows."""
    row = tokenize_examples(tokenizer, template, [example], UNCUT)[0]
    ids, start = list(row.input_ids), row.prompt_length
    if fault is Fault.MARKER:
        return _search_marker(tokenizer, template, example, start)
    roles = _roles(tokenizer, ids, start)
    if fault is Fault.NO_EOS:
        ids, roles = ids[:-1], roles[:-1]
    elif fault is Fault.ANSWER_CUT:
        end = start + max(1, (len(ids) - start) // 2)
        roles = [*roles[:end], *[Role.CUT] * (len(ids) - end)]
    unlearned = {Role.CUT, Role.EOS} if fault is Fault.EOS_MASKED else {Role.CUT}
    loss = [(at >= start or fault is Fault.PROMPT_TOO) and role not in unlearned for at, role in enumerate(roles)]
    return TokenView(_tokens(tokenizer, ids, roles, loss), _LESSONS[fault])


_LESSONS = {
    Fault.NO_EOS: (
        "The row ends without EOS, so no answer ever shows where to stop: the tuned model writes on until it hits the "
        "token limit."
    ),
    Fault.PROMPT_TOO: (
        "Every token carries loss, the instruction too: with short answers most of what is learned is how to write "
        "instructions, and a lower loss says little about answers."
    ),
    Fault.EOS_MASKED: (
        "EOS is there, but carries no loss: where the padding token is EOS too, and padding is masked by its id "
        "instead of its place, every EOS is masked with it, and the model never learns to stop."
    ),
    Fault.ANSWER_CUT: (
        "The second half of the answer and its EOS are never seen: the model learns beginnings, and not how to finish. "
        "A max_length that is too small does this silently."
    ),
}


def _explain(length: int, kept: int, start: int, max_length: int, overlong: str) -> str:
    if kept == length:
        return (
            f"{length - start} of {length} tokens carry loss: the answer and its EOS. "
            f"The {start} prompt tokens are read, not learned."
        )
    if overlong == "drop" or kept <= start:
        return (
            f"The row has {length} tokens, more than max_length {max_length}: it is dropped, nothing of it is learned."
        )
    return (
        f"{kept - start} of {kept} tokens carry loss. {length - kept} tokens of the answer were cut at max_length "
        f"{max_length}, EOS among them: from this row nobody learns to stop."
    )


def _roles(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], start: int) -> list[Role]:
    special = set(tokenizer.all_special_ids)
    prompt = [Role.SPECIAL if token in special else Role.PROMPT for token in ids[:start]]
    return [*prompt, *[Role.ANSWER] * (len(ids) - start - 1), Role.EOS]


def _tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], roles: Sequence[Role], loss: Sequence[bool]
) -> tuple[Token, ...]:
    ids = list(ids)
    shown = ids[:MAX_TOKENS]
    pieces = token_pieces(tokenizer, shown) + [""] * (len(ids) - len(shown))
    spellings = tokenizer.convert_ids_to_tokens(ids)
    return tuple(Token(*each) for each in zip(ids, pieces, spellings, roles, loss, strict=True))


def _search_marker(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, example: Example, start: int
) -> TokenView:
    """Encode the whole text and search for the marker's ids in it, as ``DataCollatorForCompletionOnlyLM`` did.

    (TRL up to 0.19; if it did not find the ids, it ignored the row with a warning.)
    """
    prompt = prompt_text(tokenizer, template, example.instruction, example.input)
    marker_text = _last_line(prompt)
    ids = tokenizer(prompt + example.output + tokenizer.eos_token, add_special_tokens=not template.chat)["input_ids"]
    if not ids:
        raise DataError("The row is empty: choose another.")
    marker = tokenizer(marker_text, add_special_tokens=False)["input_ids"]
    matches = [at for at in range(len(ids) - len(marker) + 1) if ids[at : at + len(marker)] == marker]
    special = set(tokenizer.all_special_ids)
    learned = matches[-1] + len(marker) if matches else len(ids)
    roles = [
        Role.EOS if at == len(ids) - 1 and token == tokenizer.eos_token_id
        else Role.SPECIAL if token in special
        else Role.ANSWER if at >= learned
        else Role.PROMPT
        for at, token in enumerate(ids)
    ]  # fmt: skip
    loss = [at >= learned for at in range(len(ids))]
    return TokenView(_tokens(tokenizer, ids, roles, loss), _search_lesson(marker_text, marker, matches, learned, start))


def _search_lesson(text: str, marker: Sequence[int], matches: Sequence[int], learned: int, start: int) -> str:
    head = f"The old collator looked for the {len(marker)} ids of {text!r} in the row's own. "
    if not matches:
        return head + (
            "They are not there, since inside the row the tokenizer joins the marker's characters with their "
            "neighbours: the whole row carries no loss, and the training goes on as if nothing were wrong."
        )
    if len(matches) > 1:
        return head + f"They are there {len(matches)} times, and whatever comes before the last one is never learned."
    if learned != start:
        return head + f"They were found, but the answer begins at token {learned} there and at {start} for the trainer."
    return (
        head
        + "Here they were found at the right place; with another tokenizer, or an answer that begins with a "
        + ("blank line, they may not be.")
    )


def _last_line(prompt: str) -> str:
    """Return the prompt from its last line that is not blank: in the lesson, ``### Response:\\n``."""
    body = prompt.rstrip()
    return prompt[body.rfind("\n") + 1 :] or prompt
