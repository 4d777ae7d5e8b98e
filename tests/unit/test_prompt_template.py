"""Exact prompt texts, and what a custom template may contain."""

from __future__ import annotations

import pytest
from configurations import problems_in
from hypothesis import example, given
from hypothesis import strategies as st

from instruct_tune.tokenization.prompt_template import ALPACA, CHAT, LESSON, TEMPLATES, PromptTemplate, template_from

MINE = {"without_input": "Q: {instruction}\nA:", "with_input": "Q: {instruction} ({input})\nA:"}


# The built-in templates


def test_the_lessons_texts():
    assert LESSON.render("Add 1") == "### Instruction:\nAdd 1\n\n### Response:\n"
    assert LESSON.render("Add 1", "to 2") == "### Instruction:\nAdd 1\n\n### Input:\nto 2\n\n### Response:\n"


def test_alpacas_texts():
    assert ALPACA.render("Add 1") == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nAdd 1\n\n### Response:"
    )
    assert ALPACA.render("Add 1", "to 2") == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request."
        "\n\n### Instruction:\nAdd 1\n\n### Input:\nto 2\n\n### Response:"
    )


def test_what_the_user_says_in_a_chat():
    assert CHAT.user_message("Add 1") == "Add 1"
    assert CHAT.user_message("Add 1", "to 2") == "Add 1\n\nto 2"
    assert [template.name for template in TEMPLATES.values() if template.chat] == ["chat"]


@pytest.mark.parametrize("blank", [" ", "\n", "\t \r\n", "\u00a0\u2003", "\x1c"])
@pytest.mark.parametrize("template", [LESSON, ALPACA, template_from(MINE)])
def test_an_input_of_white_space_alone_is_none(template, blank):
    assert template.render("Add 1", blank) == template.render("Add 1")
    assert CHAT.user_message("Add 1", blank) == "Add 1"
    # White space around an input belongs to the row.
    assert f"{blank}x{blank}" in template.render("Add 1", f"{blank}x{blank}")


@pytest.mark.parametrize("name", ["lesson", "alpaca", "chat"])
def test_a_template_by_name(name):
    assert template_from(name) is {"lesson": LESSON, "alpaca": ALPACA, "chat": CHAT}[name]
    assert template_from(name).name == name


# Substitution


def test_substitution_is_one_pass():
    assert LESSON.render("{input} {instruction}", "{instruction}") == (
        "### Instruction:\n{input} {instruction}\n\n### Input:\n{instruction}\n\n### Response:\n"
    )


@pytest.mark.parametrize("text", [r"\1 \g<0> \n", "{instruction.__class__}", "{0} {} {{x}} %s $x", "{", "}", "{input"])
def test_a_rows_text_is_never_markup(text):
    assert LESSON.render(text) == "### Instruction:\n" + text + "\n\n### Response:\n"
    assert LESSON.render("Do", text) == "### Instruction:\nDo\n\n### Input:\n" + text + "\n\n### Response:\n"


def test_braces_of_the_templates_own_stay():
    own = template_from({"without_input": '{"a": 1} {} {{instruction}}', "with_input": "{input} {0} {instruction}"})
    assert own.render("x") == '{"a": 1} {} {x}'
    assert own.render("x", "y") == "y {0} x"


TEXTS = st.text() | st.lists(st.sampled_from(["{", "}", "instruction", "input", "\\1", "é"])).map("".join)


@pytest.mark.parametrize("template", [LESSON, ALPACA, template_from(MINE)], ids=lambda template: template.name)
@given(instruction=TEXTS, input=TEXTS)
@example(instruction="Do", input=" ")
@example(instruction="Do", input=" x ")  # unchanged
def test_a_prompt_is_the_template_around_the_texts(template, instruction, input):
    text = template.with_input if input.strip() else template.without_input
    before, after = text.split("{instruction}")
    middle, end = after.split("{input}") if input.strip() else (after, "")
    shown = input if input.strip() else ""
    assert template.render(instruction, input) == before + instruction + middle + shown + end


# Custom templates


def test_a_template_of_ones_own():
    assert template_from(MINE) == PromptTemplate("custom", **MINE)
    assert template_from(MINE | {"name": "mine"}).name == "mine"
    assert template_from(MINE).render("Add", "1") == "Q: Add (1)\nA:"


@pytest.mark.parametrize(
    ("part", "text", "problem"),
    [
        ("without_input", "no placeholder", "template.without_input must contain {instruction} exactly once"),
        (
            "without_input",
            "{instruction}{instruction}",
            "template.without_input must contain {instruction} exactly once",
        ),
        ("without_input", "{instruction} {input}", "template.without_input must not contain {input}"),
        ("without_input", "", "template.without_input must be given"),
        ("with_input", "{input}", "template.with_input must contain {instruction} exactly once"),
        ("with_input", "{instruction}", "template.with_input must contain {input} exactly once"),
        ("with_input", "{instruction} {input} {input}", "template.with_input must contain {input} exactly once"),
        ("with_input", "", "template.with_input must be given"),
        *(
            ("with_input", "{instruction} {input} " + odd, f"template.with_input has an unknown placeholder {odd}")
            for odd in (
                *("{instruction.__class__}", "{input[0]}", "{output}", "{ instruction }", "{input }"),
                *("{instruction!r}", "{instruction:s}", "{Instruction}", "{_x}"),
            )
        ),
    ],
)
def test_a_faulty_text_is_refused(part, text, problem):
    assert problems_in(template_from, MINE | {part: text}) == [problem]


@pytest.mark.parametrize("part", ["without_input", "with_input"])
def test_both_texts_must_be_given(part):
    assert problems_in(template_from, {name: text for name, text in MINE.items() if name != part}) == [
        f"template.{part} must be given"
    ]


def test_every_problem_is_named_in_one_message():
    setting = {"without_input": "{input} {output}", "with_input": "", "system": "", "prefix": ""}
    assert problems_in(template_from, setting) == [
        "template has an unknown part 'prefix'",
        "template has an unknown part 'system'",
        "template.without_input must contain {instruction} exactly once",
        "template.without_input must not contain {input}",
        "template.without_input has an unknown placeholder {output}",
        "template.with_input must be given",
    ]


def test_an_unknown_name_is_refused_with_the_known_ones():
    assert problems_in(template_from, "lessons") == [
        "template must be one of lesson, alpaca, chat or prompt texts, not 'lessons'"
    ]
