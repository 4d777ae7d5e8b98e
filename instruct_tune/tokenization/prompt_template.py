"""Render prompts, for training and inference alike.

A prompt is everything up to the first token of the answer. Data never becomes markup: placeholders are replaced by
plain text substitution (no ``str.format``, so data cannot access attributes), and tokenisation encodes
``<|im_end|>`` inside a row as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import SettingsError
from ..text.plain_text import shown_name

MARKUP_KEYS = ("chat_before", "chat_after")
"""Keys in a run's provenance that store the chat template's markup."""

_PLACEHOLDER = re.compile(r"\{(instruction|input)\}")
_SHOWN = 5
"""The most faults of one kind that an error names."""
_LOOKS_LIKE_PLACEHOLDER = re.compile(r"\{\s*[A-Za-z_][\w.\[\]!:]*\s*\}")


@dataclass(frozen=True)
class ChatMarkup:
    """The texts that a chat template writes before and after the user's message."""

    before: str
    after: str

    def around(self, message: str) -> str:
        """Return the prompt: the unchanged message between its markup."""
        return self.before + message + self.after


@dataclass(frozen=True)
class PromptTemplate:
    """Prompt texts with ``{instruction}`` and ``{input}``; ``chat`` uses the tokenizer's own template.

    A row whose input is empty or white space is rendered with ``without_input``, any other with ``with_input``.
    ``markup``: the chat template's markup as rendered when a run began; None renders it anew.
    """

    name: str
    without_input: str = ""
    with_input: str = ""
    chat: bool = False
    markup: ChatMarkup | None = None

    def render(self, instruction: str, input: str = "") -> str:
        """Return the prompt text. Not for ``chat``, whose text depends on the tokenizer."""
        texts = {"instruction": instruction, "input": input}
        template = self.with_input if input.strip() else self.without_input
        # One pass, so that a row whose text contains "{input}" is not expanded again.
        return _PLACEHOLDER.sub(lambda match: texts[match[1]], template)

    def renders_like(self, other: PromptTemplate) -> bool:
        """Whether both render the same prompts, whatever their names."""
        return (self.chat, self.without_input, self.with_input) == (other.chat, other.without_input, other.with_input)

    def user_message(self, instruction: str, input: str = "") -> str:
        """Return the user message of a chat template's conversation."""
        return f"{instruction}\n\n{input}" if input.strip() else instruction


LESSON = PromptTemplate(
    name="lesson",
    without_input="### Instruction:\n{instruction}\n\n### Response:\n",
    with_input="### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
)
# The exact texts of Stanford Alpaca's train.py (Taori et al. 2023).
ALPACA = PromptTemplate(
    name="alpaca",
    without_input=(
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Response:"
    ),
    with_input=(
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
    ),
)
CHAT = PromptTemplate(name="chat", chat=True)
TEMPLATES = {template.name: template for template in (LESSON, ALPACA, CHAT)}


def template_from(setting: str | Mapping[str, str]) -> PromptTemplate:
    """Return the template that a configuration names or defines. Raises SettingsError with all problems."""
    if isinstance(setting, str):
        if setting not in TEMPLATES:
            raise SettingsError(
                [f"template must be one of {', '.join(TEMPLATES)} or prompt texts, not {setting[:60]!r}"]
            )
        return TEMPLATES[setting]
    unknown = sorted(set(setting) - {"name", "without_input", "with_input"})[:_SHOWN]
    problems = [f"template has an unknown part {name[:60]!r}" for name in unknown]
    problems += _text_problems("template.without_input", setting.get("without_input"), ("instruction",), ("input",))
    problems += _text_problems("template.with_input", setting.get("with_input"), ("instruction", "input"), ())
    if problems:
        raise SettingsError(problems)
    return PromptTemplate(setting.get("name", "custom"), setting["without_input"], setting["with_input"])


def template_of_run(setting: str | Mapping[str, str], provenance: Mapping[str, Any]) -> PromptTemplate:
    """Return the template of a run with this provenance: a chat template as rendered when the run began."""
    template = template_from(setting)
    before, after = (provenance.get(name) for name in MARKUP_KEYS)
    if template.chat and isinstance(before, str) and isinstance(after, str):
        return replace(template, markup=ChatMarkup(before, after))
    return template


def markup_provenance(template: PromptTemplate) -> dict[str, str]:
    """Return the provenance from which ``template_of_run`` restores the markup; empty if there is none."""
    markup = template.markup
    return dict(zip(MARKUP_KEYS, (markup.before, markup.after), strict=True)) if markup else {}


def _text_problems(path: str, text: str | None, required: tuple[str, ...], forbidden: tuple[str, ...]) -> list[str]:
    if not text:
        return [f"{path} must be given"]
    placeholders = [match[1] for match in _PLACEHOLDER.finditer(text)]
    problems = [f"{path} must contain {{{name}}} exactly once" for name in required if placeholders.count(name) != 1]
    problems += [f"{path} must not contain {{{name}}}" for name in forbidden if name in placeholders]
    odd = [m[0] for m in _LOOKS_LIKE_PLACEHOLDER.finditer(text) if not _PLACEHOLDER.fullmatch(m[0])][:_SHOWN]
    return problems + [f"{path} has an unknown placeholder {shown_name(name)}" for name in odd]
