"""Near duplicates: the fast search finds exactly the pairs that comparing every pair finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from instruct_tune.data.near_duplicates import SHARED_WORDS, THRESHOLD, near_pairs

WORDS = st.sampled_from(["sort", "a", "list", "of", "words", "in", "python", "and", "print", "it", "twice"])
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=12).map(" ".join), max_size=25)


def compare_all(texts):
    """The definition, pair by pair; a copy is paired with the first of its copies."""
    first = {text: texts.index(text) for text in texts}
    pairs = set()
    for one, text in enumerate(texts):
        if first[text] != one:
            pairs.add((first[text], one))
            continue
        for other in range(one + 1, len(texts)):
            if first[texts[other]] != other:
                continue
            a, b = set(text.split()), set(texts[other].split())
            if len(a & b) >= SHARED_WORDS * len(a | b) and fuzz.ratio(text, texts[other]) >= 100 * THRESHOLD:
                pairs.add((one, other))
    return pairs


@settings(deadline=None, max_examples=150)
@given(TEXTS)
def test_the_fast_way_finds_what_comparing_all_finds(texts):
    assert {(pair.first, pair.second) for pair in near_pairs(texts)} == compare_all(texts)


def test_case_and_spacing_do_not_make_a_difference_and_word_order_does():
    texts = [
        "Convert a temperature in Celsius to Fahrenheit.",
        "convert a  temperature\nin celsius to fahrenheit .",
        "Convert a temperature in Fahrenheit to Celsius.",
    ]
    assert [(pair.first, pair.second, pair.similarity) for pair in near_pairs(texts)] == [(0, 1, 1.0)]


def test_one_changed_word_in_a_long_text_is_near():
    long = "Write a function that reads a file line by line and returns the number of words in it"
    (pair,) = near_pairs([long, "something else entirely", long.replace("words", "lines")])
    assert (pair.first, pair.second) == (0, 2)
    assert THRESHOLD <= pair.similarity < 1


def test_texts_that_are_alike_in_their_template_alone_are_no_copies():
    """A system prompt before each question, and the instruction of a task before each input."""
    system = "You are a helpful assistant who answers in one short sentence, and explains each step to a child. "
    task = "Classify the sentiment of the review below as positive, negative or neutral, and say nothing else:\n"
    questions = ["Who wrote Hamlet?", "How far is the moon?", "What is 12 times 7?", "Name a fruit.", "Why is it dark?"]
    for before in (system * 3, task * 3):
        texts = [before + question for question in questions]
        assert near_pairs(texts) == []
        copied = near_pairs([*texts, before + "Who wrote  hamlet ?", before + "How far is the moon"])
        assert [(pair.first, pair.second) for pair in copied] == [(0, 5), (1, 6)]


def test_a_text_that_stands_there_a_thousand_times_is_paired_with_its_first_copy_only():
    assert len(near_pairs(["the same"] * 1000)) == 999


def test_nothing_and_one_have_no_pairs():
    assert near_pairs([]) == near_pairs(["one"]) == near_pairs(["", "x"]) == []


def test_of_many_texts_of_one_template_every_held_out_one_finds_a_copy_before_it():
    letters = str.maketrans("0123456789", "abcdefghij")
    names = [f"{number:05d}".translate(letters) for number in range(1500)]
    texts = [f"Translate the sentence called {name} into French, as well as you can." for name in names]
    near = {pair.second for pair in near_pairs(texts) if pair.first < 1400 <= pair.second}
    assert near == set(range(1400, 1500))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the sum of 27 and 82?", "What is the sum of 27 and 83?"),
        ("What is the least of 3, 14, 15, 92, 65 and 35?", "What is the least of 3, 14, 15, 92, 65, 35 and 8?"),
        ("A car costs 3.5 thousand dollars, what do two cost?", "A car costs 35 thousand dollars, what do two cost?"),
        ("How much of 5 litres is left after 2 of them?", "How much of 2 litres is left after 5 of them?"),
        ("Write the function step2 that adds up some words", "Write the function step3 that adds up some words"),
        ("一个班有三十五人，其中12人戴眼镜，请问不戴的有几人", "一个班有三十五人，其中13人戴眼镜，请问不戴的有几人"),
    ],
)
def test_texts_with_other_numbers_ask_something_else(one, other):
    assert near_pairs([one, other]) == []
    assert [(pair.first, pair.second) for pair in near_pairs([one, other, f"{other} "])] == [(1, 2)]
    assert [(pair.first, pair.second) for pair in near_pairs([one, other, f"{one}!"])] == [(0, 2)]


def test_among_many_questions_that_differ_in_a_number_alone_the_copy_is_found():
    texts = [f"Translate sentence number {number:05d} into French, as well as you can." for number in range(1500)]
    assert near_pairs(texts) == []
    copies = [text.replace("can", "may") for text in texts[700:710]]
    pairs = [(pair.first, pair.second) for pair in near_pairs([*texts, *copies])]
    assert pairs == [(700 + at, 1500 + at) for at in range(10)]


def test_a_script_without_spaces_has_a_word_a_character():
    weather = "今天天气很好我们一起去公园玩吧"
    texts = [f"{weather}明天也可以", f"{weather}后天也可以", "完全不同的句子在这里没有任何关系也不相同", "GPT模型GPT"]
    assert [(pair.first, pair.second) for pair in near_pairs(texts)] == [(0, 1)]
