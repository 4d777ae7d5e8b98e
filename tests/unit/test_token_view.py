"""The X-ray shows what the trainer gets, token for token, and each fault has the effect that its name states."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruct_tune.data.splits import Example
from instruct_tune.inspection.token_view import MAX_TOKENS, Fault, Role, broken_token_view, token_view
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.tokenization.encode import IGNORE, tokenize_examples
from instruct_tune.tokenization.prompt_template import ALPACA, CHAT, LESSON

TOKENIZER = byte_tokenizer()
ROW = Example("Add 2 and 3.", "", "five")
LENGTH = len(LESSON.render(ROW.instruction)) + len(ROW.output) + 1
TEXTS = st.text(max_size=40)


def ids_and_labels(row):
    tokens = [token for token in row.tokens if token.role is not Role.CUT]
    return [token.id for token in tokens], [token.id if token.loss else IGNORE for token in tokens]


@settings(deadline=None, max_examples=60)
@given(st.builds(Example, TEXTS, TEXTS, TEXTS), st.sampled_from([LESSON, ALPACA, CHAT]), st.integers(8, 300))
def test_it_is_the_trainers_row_whatever_the_texts(example, template, max_length):
    (trained,) = tokenize_examples(TOKENIZER, template, [example], max_length)
    row = token_view(TOKENIZER, template, example, max_length, "truncate")
    assert ids_and_labels(row) == (list(trained.input_ids), list(trained.labels))
    assert sum(token.role is Role.CUT for token in row.tokens) >= trained.truncated


def test_a_row_of_ten_thousand_characters_is_whole_and_shown_by_its_beginning():
    row = token_view(TOKENIZER, LESSON, Example("Say it.", "", "\u202e<script>${alert(1)}" * 500), 1024, "truncate")
    assert (row.length, row.supervised) == (1024, 1024 - len(LESSON.render("Say it.")))
    assert len(row.tokens) > 10_000
    assert not any(token.text for token in row.tokens[MAX_TOKENS:])
    assert "cut at max_length 1024" in row.explanation


def test_each_token_is_called_what_it_is():
    row = token_view(TOKENIZER, CHAT, ROW, 1024, "drop")
    roles = [token.role for token in row.tokens]
    assert roles[-5:] == [*[Role.ANSWER] * 4, Role.EOS]
    assert [token.text for token in row.tokens if token.role is Role.SPECIAL] == [
        "<|im_start|>", "<|im_end|>", "<|im_start|>",
    ]  # fmt: skip
    assert "".join(token.text for token in row.tokens if token.loss) == "five<|im_end|>"


@pytest.mark.parametrize(
    ("overlong", "expected"), [("drop", "it is dropped"), ("truncate", "tokens of the answer were cut at max_length")]
)
def test_a_row_that_is_too_long_says_what_becomes_of_it(overlong, expected):
    row = token_view(TOKENIZER, LESSON, ROW, LENGTH - 2, overlong)
    assert expected in row.explanation
    assert [token.role for token in row.tokens[-2:]] == [Role.CUT, Role.CUT]


def test_nothing_of_a_dropped_row_is_shown_as_learned():
    row = token_view(TOKENIZER, LESSON, ROW, LENGTH - 2, "drop")
    assert (row.length, row.supervised, len(row.tokens)) == (0, 0, LENGTH)


def test_without_eos_the_answer_is_all_that_carries_loss():
    row = broken_token_view(TOKENIZER, LESSON, ROW, Fault.NO_EOS)
    assert "".join(token.text for token in row.tokens if token.loss) == "five"
    assert row.length == LENGTH - 1


def test_loss_on_the_prompt_too_is_loss_on_everything():
    row = broken_token_view(TOKENIZER, LESSON, ROW, Fault.PROMPT_TOO)
    assert row.supervised == row.length == LENGTH


def test_eos_taken_for_padding_is_there_and_not_learned():
    row = broken_token_view(TOKENIZER, LESSON, ROW, Fault.EOS_MASKED)
    assert (row.tokens[-1].role, row.tokens[-1].loss) == (Role.EOS, False)
    assert row.supervised == 4


def test_a_cut_answer_has_no_end():
    row = broken_token_view(TOKENIZER, LESSON, ROW, Fault.ANSWER_CUT)
    assert "".join(token.text for token in row.tokens if token.loss) == "fi"
    assert row.length == LENGTH - 3


def test_the_search_learns_nothing_before_the_last_marker():
    tricky = Example("Say it.", "", "one\n\n### Response:\ntwo")
    row = broken_token_view(TOKENIZER, LESSON, tricky, Fault.MARKER)
    assert "".join(token.text for token in row.tokens if token.loss) == "two<|im_end|>"
    assert "2 times" in row.explanation


def test_the_search_finds_nothing_where_the_tokenizer_joins_the_marker_with_its_neighbours():
    """As Llama 2's tokenizer does with the lesson's marker: the row's ids contain no copy of the marker's."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(["</s>", *alphabet, "ĊĊ"])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[("Ċ", "Ċ")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    joining = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="</s>")
    row = broken_token_view(joining, LESSON, Example("Say it.", "", "\nword"), Fault.MARKER)
    assert row.supervised == 0
    assert "the whole row carries no loss" in row.explanation
