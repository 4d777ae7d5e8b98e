"""Texts and tables of the Format tab. Pure functions, no gradio, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...batching.packing_mode import Packing
from ...inspection.token_view import Role, TokenView
from ...text.markdown import plain
from ..formatting import percent

if TYPE_CHECKING:
    from ...inspection.batch_view import EndToken, Pass, StepView

HEADERS = ["pass", "training row", "positions", "tokens", "carry loss", "begins with", "ends with"]

_HOW = {
    Packing.POSITIONS: (
        "**Packed, without padding:** whole rows lie end to end in one sequence, and positions begin again at 0 with "
        "each row. Tried on two layers of this architecture: every row gets the numbers it gets alone, so positions "
        "are enough to keep rows apart."
    ),
    Packing.MASK: (
        "**Packed, without padding, under an explicit mask:** whole rows lie end to end. Tried on two layers of this "
        "architecture, restarting positions alone let a row see the rows before it; a mask that shows each token its "
        "own row only gives every row the numbers it gets alone."
    ),
    Packing.PADDED: (
        "**Padded:** rows are sorted by length and filled up to the longest of their pass. Tried on two layers of this "
        "architecture, neither positions nor a mask keep rows apart that lie end to end."
    ),
    Packing.ALONE: (
        "**One row a pass:** tried on this architecture, a row's numbers change with the other rows of its batch, "
        "even if they are padded."
    ),
}


def sentence(view: StepView) -> str:
    """The step's rows, passes and saved padding, then how its rows are kept apart and why. Markdown."""
    rows = sum(len(each.segments) for each in view.passes)
    text = f"**Step {view.step:,} of {view.steps:,}, epoch {view.epoch}:** "
    text += f"{_many(rows, 'row')} in {_many(len(view.batches), 'micro-batch', 'micro-batches')}, computed in "
    text += f"{_many(len(view.passes), 'pass', 'passes')} of at most {view.budget:,} tokens (a longer row goes alone). "
    text += f"**{view.supervised:,} of {view.tokens:,} tokens carry loss.** {_padding(view)}"
    return f"{text}\n\n{_HOW[view.packing]}{_attention(view)}"


def _padding(view: StepView) -> str:
    usual = view.padding_of_a_padded_batch
    of_usual = percent(usual / (view.tokens + usual))
    if view.padding:
        own = percent(view.padding / (view.tokens + view.padding))
        return f"{view.padding:,} places are padding ({own}); in their micro-batches it would be {of_usual}."
    if not usual:
        return "No padding is computed, nor would there be any: the rows are equally long."
    return f"No padding is computed; padded to the longest row, **{of_usual}** of the places would hold nothing else."


def _attention(view: StepView) -> str:
    if view.packing in (Packing.PADDED, Packing.ALONE):
        return ""
    whole = sum(each.width**2 for each in view.passes)
    own = sum(segment.length**2 for each in view.passes for segment in each.segments)
    if view.by_rows:
        return f" Attention is computed within each row's own square: {percent(own / whole)} of the passes' squares."
    return f" The rows' own squares are {percent(own / whole)} of the passes' squares; nothing outside them is seen."


def _many(number: int, one: str, more: str = "") -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def pass_title(number: int, one: Pass) -> str:
    """One pass on one line."""
    supervised = sum(segment.supervised for segment in one.segments)
    padding = f", {one.padding:,} places of padding" if one.padding else ""
    rows = _many(len(one.segments), "row")
    return f"Pass {number}: {rows}, {one.tokens:,} tokens, {supervised:,} carry loss{padding}"


def table(view: StepView) -> list[list[Any]]:
    """Table rows, one for each row of the step, under ``HEADERS``; pass and training row count from 1."""
    return [
        [
            number,
            segment.row + 1,
            f"{segment.positions[0]} to {segment.positions[-1]}",
            segment.length,
            segment.supervised,
            _text(segment.first),
            _text(segment.last),
        ]
        for number, each in enumerate(view.passes, start=1)
        for segment in each.segments
    ]


def _text(tokens: tuple[EndToken, ...]) -> str:
    return "".join(token.text for token in tokens)


TOKEN_HEADERS = ["position", "id", "token", "what", "carries loss"]


def token_sentence(row: TokenView) -> str:
    """How many tokens carry loss and why. Markdown."""
    return plain(row.explanation, 400)


def broken_sentence(row: TokenView) -> str:
    """What a model learns from a row with a fault. Markdown."""
    return f"**{row.supervised} of {row.length} tokens carry loss.** {plain(row.explanation, 500)}"


def no_tokenizer_sentence(model: str) -> str:
    """What stands in place of the tokens of a model whose tokenizer has to be downloaded first. Markdown."""
    return f"The tokenizer of **{plain(model)}** is not on this machine: *Download tokenizer* fetches it."


def no_rows_sentence(source: str) -> str:
    """What stands in place of a row of a dataset that has to be downloaded first. Markdown."""
    return f"**{plain(source)}** is on the Hugging Face Hub: *Load and split* on the Data tab downloads it."


def token_rows(row: TokenView) -> list[list[Any]]:
    """Table rows, one a token: position from 1, id, the tokenizer's spelling, role, whether it carries loss."""
    return [
        [at, token.id, token.spelling, token.role.value, "yes" if token.loss else "no"]
        for at, token in enumerate(row.tokens, start=1)
    ]


def prompt_of(row: TokenView) -> str:
    return "".join(token.text for token in row.tokens if token.role in (Role.PROMPT, Role.SPECIAL))


def answer_of(row: TokenView) -> str:
    return "".join(token.text for token in row.tokens if token.role in (Role.ANSWER, Role.EOS))
