"""Encode examples as ``input_ids`` and ``labels``.

A training row is ``encode(prompt) + encode(answer) + [EOS]``; its labels are the same ids with the prompt's replaced
by ``IGNORE``. No marker is searched for afterwards, so no token boundary can break the mask. Inference calls the
same ``encode_prompts``, so a training row's prefix equals the generation prompt id for id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..data.splits import Example
from ..errors import DataError, ModelError
from ..pretrained.context_length import NO_LIMIT
from ..pretrained.token_counts import count_tokens, encode_texts
from .chat_template import markup_for
from .continuation import decode_continuation, encode_continuations, encode_markup_continuation
from .prompt_template import ChatMarkup, PromptTemplate
from .vocabulary import check_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
"""The label of a position that carries no loss, as in PyTorch's cross entropy."""


@dataclass(frozen=True)
class TokenizedExample:
    """One row for the trainer; ``input_ids`` and ``labels`` have the same length.

    ``truncated``: the answer's tokens cut at ``max_length``, EOS included. It is 0 for a whole row, and only then
    EOS is present.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    prompt_length: int
    truncated: int

    @property
    def supervised(self) -> int:
        """Number of positions that carry loss."""
        return len(self.input_ids) - self.prompt_length


@dataclass(frozen=True)
class TokenizedRows:
    """The rows to train on, and the numbers of rows dropped or cut for their length.

    ``changed``: numbers, from 1, of the input rows whose texts the tokenizer cannot reproduce (see ``is_held``).
    """

    rows: tuple[TokenizedExample, ...]
    dropped: int
    truncated: int
    changed: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(len(row.input_ids) for row in self.rows)


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, rows: Sequence[tuple[str, str]]
) -> list[list[int]]:
    """Return prompt ids for (instruction, input) pairs, with the special tokens that the tokenizer puts in front.

    Raises ModelError if the template is a chat template and the tokenizer's does not keep each message unchanged.
    """
    if template.chat:
        messages = [template.user_message(*row) for row in rows]
        markup = markup_for(tokenizer, template, messages)
        return [_encode_chat(tokenizer, markup, message) for message in messages]
    return encode_prompt_texts(tokenizer, [template.render(*row) for row in rows])


def encode_prompt_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Return prompt ids for prompts that are already rendered."""
    front = front_tokens(tokenizer)
    return [front + ids for ids in encode_texts(tokenizer, texts)]


def prompt_text(tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, instruction: str, input: str) -> str:
    """Return the prompt as text, with a chat template's markup. Raises ModelError as ``encode_prompts`` does."""
    if template.chat:
        message = template.user_message(instruction, input)
        return markup_for(tokenizer, template, [message]).around(message)
    return template.render(instruction, input)


def encode_answers(tokenizer: PreTrainedTokenizerBase, outputs: Sequence[str]) -> list[list[int]]:
    """Return answer ids without EOS, encoded as text after a prompt."""
    return encode_continuations(tokenizer, outputs)


def count_prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, rows: Sequence[tuple[str, str]]
) -> list[int]:
    """Return the number of ids that ``encode_prompts`` gives for each prompt."""
    if template.chat:
        return [len(ids) for ids in encode_prompts(tokenizer, template, rows)]
    front = len(front_tokens(tokenizer))
    return [front + count for count in count_tokens(tokenizer, [template.render(*row) for row in rows])]


def front_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return ids that the tokenizer puts before a text (OPT's ``</s>``, Llama's BOS), not those after it."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a", add_special_tokens=True)["input_ids"]
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    raise ModelError("This tokenizer rewrites a text when it adds special tokens, which the lab cannot mask exactly.")


def _encode_chat(tokenizer: PreTrainedTokenizerBase, markup: ChatMarkup, message: str) -> list[int]:
    """Encode one user turn in the chat template's markup, up to the beginning of the assistant's answer.

    The markup's own special tokens are recognised; those spelled in the message stay text. If the message spells
    none, the whole text is encoded at once, as ``apply_chat_template`` does.
    """
    text = markup.around(message)
    control = _control_tokens(tokenizer, markup)
    if all(text.count(token) == markup.before.count(token) + markup.after.count(token) for token in control):
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    before = tokenizer(markup.before, add_special_tokens=False)["input_ids"]
    [data] = encode_continuations(tokenizer, [message], spelled_out=control)
    return before + data + encode_markup_continuation(tokenizer, markup.after)


def _control_tokens(tokenizer: PreTrainedTokenizerBase, markup: ChatMarkup) -> list[str]:
    """Return spellings of markup: special tokens, and other added tokens that occur in this template."""
    around = markup.before + markup.after
    added = tokenizer.added_tokens_decoder.values()
    return [token.content for token in added if token.special or (token.content in around and token.content.strip())]


def tokenize_examples(
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    examples: Sequence[Example],
    max_length: int,
) -> list[TokenizedExample]:
    """Encode each example as ids and labels, cut at ``max_length`` tokens (a cut answer has no EOS)."""
    prompts = encode_prompts(tokenizer, template, [(e.instruction, e.input) for e in examples])
    answers = encode_answers(tokenizer, [e.output for e in examples])
    eos = tokenizer.eos_token_id
    return [_tokenized(p, [*a, eos], max_length) for p, a in zip(prompts, answers, strict=True)]


def _tokenized(prompt: list[int], answer: list[int], max_length: int) -> TokenizedExample:
    ids = (prompt + answer)[:max_length]
    prompt_length = min(len(prompt), max_length)
    labels = [IGNORE] * prompt_length + ids[prompt_length:]
    return TokenizedExample(tuple(ids), tuple(labels), prompt_length, len(answer) - (len(ids) - prompt_length))


def tokenize_rows(
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    examples: Sequence[Example],
    max_length: int,
    overlong: str,
    context: int = NO_LIMIT,
    vocabulary: int | None = None,
) -> TokenizedRows:
    """Encode the rows to train on. ``overlong`` "drop" drops long rows, else they are cut; no answer left: dropped.

    A row is overlong beyond ``max_length`` or ``context``, the most tokens that the model takes. ``vocabulary``: the
    number of token ids it has. Raises DataError if no row is left, ModelError if rows have ids beyond the vocabulary.
    """
    tokenized = tokenize_examples(tokenizer, template, examples, min(max_length, context))
    if vocabulary is not None:
        check_rows(tokenizer, vocabulary, [row.input_ids for row in tokenized])
    kept = [row for row in tokenized if row.supervised and not (overlong == "drop" and row.truncated)]
    if not kept:
        whole = tokenize_examples(tokenizer, template, examples, max_length=NO_LIMIT)
        raise no_row_fits(max((len(row.input_ids) for row in whole), default=0), max_length, context)
    changed = tuple(
        number
        for number, (row, example) in enumerate(zip(tokenized, examples, strict=True), start=1)
        if row.truncated == 0 and not is_held(tokenizer, row, example.output)
    )
    return TokenizedRows(tuple(kept), len(tokenized) - len(kept), sum(row.truncated > 0 for row in kept), changed)


def is_held(tokenizer: PreTrainedTokenizerBase, row: TokenizedExample, output: str) -> bool:
    """Whether a whole row's ids decode to its answer, and no part of the row became the unknown token."""
    *answer, _ = row.input_ids[row.prompt_length :]
    unknown = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
    return unknown.isdisjoint(row.input_ids) and decode_continuation(tokenizer, answer) == output


def no_row_fits(longest: int, max_length: int, context: int = NO_LIMIT) -> DataError:
    """Return the error for a limit that leaves no row; ``longest``: tokens of the longest row before any cutting."""
    if context < max_length:
        return DataError(
            f"No row fits into the model's context of {context} tokens (the longest has {longest}): choose a model "
            "with a longer context, or set train.overlong to truncate."
        )
    return DataError(
        f"No row fits into train.max_length {max_length} (the longest has {longest} tokens): "
        "raise train.max_length, or set train.overlong to truncate."
    )


def mask_view(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, example: Example, max_length: int
) -> dict[str, object]:
    """Return one row as JSON for display: ids, the tokenizer's spelling of each, labels, and the cut tokens.

    Adds ``reads_as``, the decoded answer, if the tokenizer cannot reproduce the row (``is_held``).
    """
    row = tokenize_examples(tokenizer, template, [example], max_length)[0]
    held = row.truncated > 0 or is_held(tokenizer, row, example.output)
    answer = row.input_ids[row.prompt_length : -1]
    return {
        "input_ids": list(row.input_ids),
        "tokens": tokenizer.convert_ids_to_tokens(list(row.input_ids)),
        "labels": list(row.labels),
        "prompt_length": row.prompt_length,
        "supervised": row.supervised,
        "truncated": row.truncated,
        **({} if held else {"reads_as": decode_continuation(tokenizer, answer)}),
    }


def token_pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], continuing: bool = False) -> list[str]:
    """Return each token's share of the decoded text, special tokens spelled out; joined, they are the whole text.

    A character that spans several tokens appears with the last of them. ``continuing``: the ids are an answer's,
    whose first token keeps its space.
    """

    def decoded(end: int) -> str:
        if continuing:
            return decode_continuation(tokenizer, ids[:end], skip_special_tokens=False)
        return tokenizer.decode(list(ids[:end]), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def is_unfinished(end: int, text: str) -> bool:
        # U+FFFD stands for an unfinished character; if the row itself holds one, it stays.
        return text.endswith("\ufffd") and not (whole.startswith(text) and decoded(end + 1)[len(text) :])

    whole = decoded(len(ids))
    pieces: list[str] = []
    shown = ""
    for end in range(1, len(ids) + 1):
        text = decoded(end)
        # The last token takes all text. Before it, text never shrinks: U+FFFD may have been mistaken for the row's own.
        if end < len(ids) and (len(text) < len(shown) or is_unfinished(end, text)):
            text = shown
        pieces.append(text[len(shown) :])
        shown = text
    return pieces
