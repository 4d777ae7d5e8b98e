"""Reduce a tokenizer's chat template to the markup that it writes around the user's message.

A chat template is a program from the model's repository. It may trim a message, repeat it, rewrite it or leave it
out, and a model trained on such prompts never sees the question. So the template is rendered once around a sample,
the markup on both sides is stored, and each message is put between, unchanged. A message that the template renders
differently is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from ..errors import ModelError
from ..text.plain_text import first_line, shortened
from .prompt_template import ChatMarkup, PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REMEDY = "choose the lesson or alpaca template"

# Private-use characters at both ends, which no markup has; between them text that some templates rewrite.
_SAMPLE = "\ue000 A Sample  text: <b>\"é\"</b> & '{{ x }}'.\n\n\tTwo lines. \ue001"
_OTHER_SAMPLE = "\ue000other\ue001"
_SHOWN = 60
"""Characters of a message that an error message shows."""

# Comparisons use a fixed clock, since a template may write the time to the microsecond.
_FIXED_CLOCK = "{% macro strftime_now(format) %}{{ format }}{% endmacro %}"

# Errors that an untrusted template can raise: jinja2's own, and Python's from expressions in it.
_FAULTS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


class ChatTemplate:
    """The chat template of a tokenizer, rendered around a sample.

    Raises ModelError if there is none, if it cannot be rendered, or if it does not contain the message unchanged and
    exactly once.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        if not tokenizer.chat_template:
            raise ModelError(f"This model's tokenizer has no chat template: {REMEDY}.")
        self._tokenizer = tokenizer
        self._in_parts, self.markup = self._find_markup()
        self._clock = _FIXED_CLOCK if has_clock(tokenizer) else ""
        self._reference = self._split(self._in_parts, self._clock)

    def check(self, message: str) -> None:
        """Raise ModelError if the template renders ``message`` with other markup, or changes it other than at its ends.

        Many templates trim white space at the ends of a message. The lab keeps it.
        """
        rendered = self._render(message, self._in_parts, self._clock)
        if not _fits(self._reference, message, rendered):
            raise ModelError(
                f"This model's chat template does not render the message {shortened(message, _SHOWN)!r} like others, "
                f"so it would not be trained or asked as it is: {REMEDY}, or take that row out."
            )

    def _find_markup(self) -> tuple[bool, ChatMarkup]:
        """Return (whether the template takes a message as a list of parts, as multimodal models do; the markup)."""
        faults: list[ModelError] = []
        for in_parts in (False, True):
            try:
                return in_parts, self._split(in_parts)
            except ModelError as error:
                faults.append(error)
        raise faults[0]

    def _split(self, in_parts: bool, clock: str = "") -> ChatMarkup:
        rendered = self._render(_SAMPLE, in_parts, clock)
        count = rendered.count(_SAMPLE)
        if count == 1:
            before, _, after = rendered.partition(_SAMPLE)
            return ChatMarkup(before, after)
        if count:
            fault = f"repeats the user's message {count} times"
        elif rendered == self._render(_OTHER_SAMPLE, in_parts, clock):
            fault = "leaves out the user's message"
        else:
            fault = "rewrites the user's message"
        raise ModelError(f"This model's chat template {fault}: {REMEDY}.")

    def _render(self, message: str, in_parts: bool, clock: str) -> str:
        content: Any = [{"type": "text", "text": message}] if in_parts else message
        messages = [{"role": "user", "content": content}]
        try:
            template = clock + self._tokenizer.get_chat_template()
            return self._tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=True
            )
        except _FAULTS as error:
            raise ModelError(
                f"This model's chat template cannot be rendered ({first_line(error)}): {REMEDY}."
            ) from error


def has_clock(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template may write the date or the time."""
    return "strftime_now" in str(tokenizer.chat_template)


def with_markup(tokenizer: PreTrainedTokenizerBase, template: PromptTemplate) -> PromptTemplate:
    """Return ``template``; a chat template gets its current markup. Raises ModelError as ``ChatTemplate`` does."""
    if not template.chat or template.markup:
        return template
    return replace(template, markup=ChatTemplate(tokenizer).markup)


def check_messages(tokenizer: PreTrainedTokenizerBase, messages: Iterable[str]) -> None:
    """Raise ModelError for the first message that the chat template renders differently from the sample."""
    chat = ChatTemplate(tokenizer)
    for message in messages:
        chat.check(message)


def markup_for(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, messages: Iterable[str] = ()
) -> ChatMarkup:
    """Return the markup of a chat template: the stored one, else the current one, checked on all ``messages``."""
    if template.markup:
        return template.markup
    chat = ChatTemplate(tokenizer)
    for message in messages:
        chat.check(message)
    return chat.markup


def _fits(markup: ChatMarkup, message: str, rendered: str) -> bool:
    """Whether ``rendered`` is the message in its markup, ignoring white space at the message's ends."""
    before, after = markup.before, markup.after
    if not (rendered.startswith(before) and rendered.endswith(after) and len(rendered) >= len(before) + len(after)):
        return False
    return rendered[len(before) : len(rendered) - len(after)].strip() == message.strip()
