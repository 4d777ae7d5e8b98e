"""An Ollama Modelfile for a run: its prompt as a Go template, and its generation settings.

It names the merged model: Ollama 0.34.1 dropped adapters from Modelfiles, and took them for some architectures before.
A Modelfile knows no escapes: a text stands in triple quotes, and characters that do not print are dropped. So what
the template's text cannot hold as it is becomes a string constant of the Go template, which has escapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

PROMPT = "{{ .Prompt }}"
MERGED_FILE = "merged.gguf"


def modelfile(about: str, before: str, after: str, generation: Mapping[str, Any], stops: Sequence[str]) -> str:
    """The Modelfile. ``before`` and ``after`` stand around the instruction; ``about`` becomes a comment.

    Those of ``stops``, the texts that end an answer, are left out that are not ``is_quotable``.
    """
    template = literal(before) + PROMPT + literal(after)
    lines = [
        f"# {' '.join(about.split())}",
        f"# {MERGED_FILE} is the base model with the adapter merged in: HOW_TO.md says how to make it.",
        f"FROM ./{MERGED_FILE}",
        f'TEMPLATE """{template}"""',
        *(f"PARAMETER {name} {value}" for name, value in parameters(generation).items()),
        *(f'PARAMETER stop """{text}"""' for text in dict.fromkeys(stops) if is_quotable(text)),
    ]
    return "\n".join(lines) + "\n"


def literal(text: str) -> str:
    """``text`` in a Go template in a Modelfile: it is shown as it is, whatever it holds."""
    return "".join(
        "".join(part) if plain else '{{ "' + "".join(map(_escaped, part)) + '" }}'
        for plain, part in groupby(text, _is_plain)
    )


def _is_plain(character: str) -> bool:
    return character in "\n\t" or (character not in '{"' and _prints(character))


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if character <= "\uffff" else f"\\U{ord(character):08x}"


def _prints(character: str) -> bool:
    """Whether Ollama keeps it. Newer characters than Go's tables know are beyond the basic plane."""
    return character <= "\uffff" and character.isprintable()


def is_quotable(text: str) -> bool:
    """Whether a Modelfile can hold ``text`` in triple quotes, which end at the first line that ends with a quote."""
    return all(character in "\n\t" or _prints(character) for character in text) and not re.search(r'"[ \t]*\n', text)


def parameters(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama's parameters for the run's settings; its own defaults would sample, and punish repetitions."""
    values: dict[str, Any] = {"temperature": 0, "repeat_penalty": 1}
    if generation["do_sample"]:
        values |= {"temperature": generation["temperature"], "top_p": generation["top_p"], "top_k": 0, "min_p": 0}
        values |= {"seed": generation["seed"]}
    # A limit on prompt and answer together has no counterpart.
    if not generation["max_length"] and generation["max_new_tokens"]:
        values["num_predict"] = generation["max_new_tokens"]
    return values
