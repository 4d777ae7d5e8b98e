"""Guesses of a snippet's language, on answers as instruction datasets have them."""

from __future__ import annotations

import time

import pytest

from instruct_tune.text.code_language import guess, unfenced

SNIPPETS = [
    ("python", "def add(a, b):\n    return a + b"),
    ("python", "for i in range(10):\n    print(i)"),
    ("python", "import numpy as np\nx = np.zeros(3)"),
    ("python", "squares = [x ** 2 for x in numbers]"),
    ("python", "def add(a, b"),
    ("python", "```python\nprint('hi')\n```"),
    ("javascript", "function add(a, b) {\n  return a + b;\n}"),
    ("javascript", "const double = x => x * 2;"),
    ("html", "<!DOCTYPE html>\n<html><body><p>Hi</p></body></html>"),
    ("css", "body {\n  color: red;\n  margin: 0;\n}"),
    ("css", ".my-class {\n  /* rules */\n}"),
    ("sql", "SELECT name FROM users WHERE age > 3;"),
    ("sql", "select name from users where age > 3"),
    ("shell", "#!/bin/bash\nfor f in *; do\n  echo $f\ndone"),
    ("cpp", '#include <iostream>\nint main() {\n  std::cout << "hi";\n}'),
    ("json", '{"name": "Ada", "age": 36}'),
    ("r", "x <- c(1, 2, 3)\nlibrary(ggplot2)"),
    (None, ""),
    (None, "The capital of France is Paris."),
    (None, "Select a book from the shelf, then read it to me: which one is it?"),
    (None, "1. Wash the apples.\n2. Cut them."),
    (None, "for all x"),
]


@pytest.mark.parametrize(("language", "text"), SNIPPETS)
def test_a_snippet_is_recognised(language, text):
    assert guess(text) == language


@pytest.mark.parametrize(
    "opening",
    [
        "```", "```python", "```python ", "``` python", "```{python}", "```python3.11", "```c++", "```c#",
        "```objective-c", '```python title="a.py"', "```{.python .numberLines}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_content_of_a_fence_is_found_whatever_names_its_language(opening, end):
    code = f"def add(a, b):{end}    return a + b{end}"
    text = f"{opening}{end}{code}```{end}This function adds two numbers.{end}"
    assert unfenced(text) == unfenced(f"Here it is:{end}{end}{text}") == code
    assert guess(text) == "python"
    assert unfenced(text.split("```" + end + "This")[0]) == code, "cut before its end"


def test_what_stands_within_a_line_is_no_fence():
    assert unfenced("```x = 1``` sets x.\n") == "```x = 1``` sets x.\n"
    assert unfenced("Write ```\nto begin.") == "Write ```\nto begin."
    assert unfenced("```x``` first:\n```\ny = 2\n```\n") == "y = 2\n"


def test_long_code_in_a_fence_is_not_cut():
    code = "x = 1\n" * 3000
    assert unfenced(f"```python\n{code}```\nThat is all.") == code


@pytest.mark.slow
def test_the_page_can_highlight_every_language_that_is_guessed():
    import gradio as gr

    from instruct_tune.text.code_language import _SIGNS

    assert set(_SIGNS) <= set(gr.Code.languages)


@pytest.mark.parametrize(
    "filler",
    [
        " ",
        "a",
        "{",
        "\n",
        "(",
        "<a ",
        "def f(",
        "SELECT ",
        "[x for ",
        "a: ",
        '"a"',
        "- a:\n",
        "```",
        "```\n",
        "``` ",
        "\n```",
    ],
)
def test_a_megabyte_costs_no_more_than_a_page(filler):
    began = time.perf_counter()
    guess(filler * (1_000_000 // len(filler)))
    assert time.perf_counter() - began < 2
