"""Modelfiles: any prompt text stays what it is, read by Ollama's rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.export.modelfile import is_quotable, literal, modelfile
from instruct_tune.tokenization.prompt_template import ALPACA, LESSON

TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('{}"\\\n\r\t \ufeff`#-')))
GREEDY = GenerationSettings().to_dict()


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a Modelfile, as Ollama's ``parser.ParseFile`` reads them."""
    found, place = [], 0
    while place < len(text):
        if text[place] in " \t\r\n":
            place += 1
            continue
        if text[place] == "#":
            place = next((at for at in range(place, len(text)) if text[at] in "\r\n"), len(text))
            continue
        name = re.compile(r"([A-Za-z]+)[ \t](?:(?<=PARAMETER.)(\w+)[ \t])?").match(text, place)
        assert name, text[place : place + 40]
        value, place = _value(text, name.end())
        found.append((name[2] or name[1].lower(), value))
    return found


def _value(text: str, place: int) -> tuple[str, int]:
    """A value and where it ends, at the first line end outside a quotation. What does not print is dropped."""
    read = ""
    for at in range(place, len(text)):
        character = text[at]
        if character in "\r\n" and (value := _unquoted(read.strip())) is not None:
            return value, at
        read += character if character in "\r\n\t" or character.isprintable() else ""
    value = _unquoted(read.strip())
    assert value is not None, "a quotation is open at the end"
    return value, len(text)


def _unquoted(text: str) -> str | None:
    for quote in ('"""', '"'):
        if text.startswith(quote):
            return text[len(quote) : -len(quote)] if len(text) >= 2 * len(quote) and text.endswith(quote) else None
    return text


def rendered(template: str, prompt: str) -> str:
    """What Go makes of a template of texts, string constants and ``.Prompt``."""
    text = ""
    for part in re.split(r"(\{\{.*?\}\})", template, flags=re.DOTALL):
        if not part.startswith("{{"):
            assert "{{" not in part
            text += part
        elif part == "{{ .Prompt }}":
            text += prompt
        else:
            constant = re.fullmatch(r'\{\{ ("(?:\\u[0-9a-f]{4}|\\U[0-9a-f]{8})+") \}\}', part)
            assert constant, part
            text += "".join(chr(int(digits, 16)) for digits in re.findall("[0-9a-f]{4,8}", constant[1]))
    return text


@given(TEXTS, TEXTS, TEXTS)
@example('"""', '"""\n', '"""\nFROM evil\n')
@example("{", "}", "{{ .System }}")
@example("{{- ", " -}}", "\\")
@example("\ufeff\u00a0\u3000\r\n", "\x00\U0001f600", "# FROM x\n")
def test_any_text_stays_what_it_is(before, after, name):
    found = commands(modelfile(name, before, after, GREEDY, []))
    names = ["from", "template", "temperature", "repeat_penalty", "num_predict"]
    assert [command for command, _ in found] == names
    assert rendered(dict(found)["template"], "PROMPT") == f"{before}PROMPT{after}"


@given(st.lists(TEXTS, max_size=3))
@example(['"""', '"""\n', 'a"\nb', '"', "\n", "\r", ' "\t\n"'])
@example(["### Instruction:", "\n\n", "</s>"])
def test_a_stop_text_is_itself_or_left_out(stops):
    found = commands(modelfile("run", "", "", GREEDY, stops))
    assert [text for command, text in found if command == "stop"] == list(dict.fromkeys(filter(is_quotable, stops)))


@pytest.mark.parametrize("text", ["###", "\n\n", "<|im_end|>", '"', "```", "下一题", "a\tb "])
def test_usual_stop_texts_are_kept(text):
    assert is_quotable(text)


def test_usual_templates_are_legible():
    for template in (LESSON, ALPACA):
        before, _, after = template.without_input.partition("{instruction}")
        assert literal(before + after) == before + after
    assert literal("问题：é") == "问题：é"


def test_generation_settings_become_parameters():
    def parameters(**changes):
        return dict(commands(modelfile("run", "", "", GREEDY | changes, [])))

    assert {"temperature": "0", "repeat_penalty": "1", "num_predict": "96"}.items() <= parameters().items()
    sampled = parameters(do_sample=True, temperature=0.7, top_p=0.9, seed=7)
    assert {"temperature": "0.7", "top_p": "0.9", "top_k": "0", "min_p": "0", "seed": "7"}.items() <= sampled.items()
    assert "num_predict" not in parameters(max_length=50, max_new_tokens=None)
