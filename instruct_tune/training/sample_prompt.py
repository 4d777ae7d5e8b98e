"""One held-out row that a run answers repeatedly while it trains, so that a person can read its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.run_config import GenerationSettings
from ..data.splits import Example
from ..generation.answer import Answer
from ..generation.generate import Request, generate
from ..tokenization.encode import encode_prompts
from ..tokenization.prompt_template import PromptTemplate

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

MAX_CHARACTERS = 2000
"""How many characters of each text are stored with the run; a row may be a megabyte."""


@dataclass(frozen=True)
class FixedPrompt:
    """The row, and the token ids of its prompt."""

    example: Example
    prompt: tuple[int, ...]

    def to_dict(self) -> dict[str, str]:
        """The row's texts, shortened, for the page."""
        texts = {"instruction": self.example.instruction, "input": self.example.input, "output": self.example.output}
        return {name: shortened(text) for name, text in texts.items()}


def shortened(text: str) -> str:
    """At most ``MAX_CHARACTERS`` of a text, with an ellipsis where it is cut."""
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + " …"


def choose(loaded: LoadedModel, template: PromptTemplate, held_out: Iterable[Example]) -> FixedPrompt | None:
    """The first row whose prompt leaves context for an answer; None where there is none."""
    for example in held_out:
        prompt = encode_prompts(loaded.tokenizer, template, [(example.instruction, example.input)])[0]
        if 0 < len(prompt) < loaded.context_length:
            return FixedPrompt(example, tuple(prompt))
    return None


def answer(
    loaded: LoadedModel, adapter_name: str, fixed: FixedPrompt, most_tokens: int, stopping: Callable[[], bool]
) -> Answer:
    """The current greedy answer of an adapter, or of ``lora.BASE``, at most ``most_tokens`` tokens long.

    A training run that continues afterwards is not affected. Raises Stopped at most one token after
    ``stopping()`` is true.
    """
    settings = GenerationSettings(max_new_tokens=most_tokens)
    return generate(loaded, [Request(fixed.prompt, adapter_name)], settings, stopping=stopping)[0]
