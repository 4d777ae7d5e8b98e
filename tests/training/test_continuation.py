"""Encoding answers as continuations of a prompt: each tokenizer family returns the text unchanged, or is listed as
lossy."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prefix_tokenizers import llama_5, llama_legacy, prefix_space, word_pieces
from toys import FAMILIES, SPECIALS

from instruct_tune.data.splits import Example
from instruct_tune.generation.answer import Reader
from instruct_tune.inspection.token_view import NOT_HELD, token_view
from instruct_tune.pretrained.token_counts import encode_texts
from instruct_tune.tokenization.continuation import decode_continuation, encode_continuations
from instruct_tune.tokenization.encode import is_held, mask_view, token_pieces, tokenize_examples, tokenize_rows
from instruct_tune.tokenization.prompt_template import LESSON, PromptTemplate

pytestmark = pytest.mark.usefixtures("no_deprecated_calls")

ALL = FAMILIES | {
    "llama_5": llama_5,
    "llama_legacy": llama_legacy,
    "prefix_space": prefix_space,
    "word_pieces": word_pieces,
}
EXACT = ("smollm2", "opt", "gpt2", "llama", "llama_5", "llama_legacy", "prefix_space")
"""Families that preserve every text except the one character that stands for a space."""

PLAIN = PromptTemplate("plain", without_input="{instruction}", with_input="{instruction} {input}")

answers = st.lists(
    st.one_of(
        st.sampled_from(
            [*SPECIALS, "\n", " ", "  ", "    return 1", "return", "\t", ".x", "x", "<0x0A>", "é", "🙂", "▁"]
        ),
        st.text(max_size=4),
    ),
    max_size=4,
).map("".join)


@pytest.mark.parametrize("family", ALL)
@given(output=answers)
@example(output="    return 1")
@example(output=" return 1")
@example(output="return 1")
@example(output="\n  x")
@example(output=" ")
@example(output="")
@example(output=" </s>")
def test_what_goes_in_as_an_answer_comes_out_or_is_found_to_be_changed(family, output):
    tokenizer = ALL[family]()
    row = tokenize_examples(tokenizer, PLAIN, [Example("a", "", output)], 10**6)[0]
    answer = Reader(tokenizer, (tokenizer.eos_token_id,)).answer(row.input_ids[row.prompt_length :])
    assert answer.ended
    assert (answer.text == output) == is_held(tokenizer, row, output)
    if family in EXACT and "▁" not in output:
        assert answer.text == output
        assert "".join(token_pieces(tokenizer, row.input_ids[row.prompt_length : -1], continuing=True)) == output


@pytest.mark.parametrize("family", ALL)
def test_indented_answers_are_different_answers(family):
    tokenizer = ALL[family]()
    texts = ["return 1", " return 1", "    return 1"]
    ids = encode_continuations(tokenizer, texts)
    if family in EXACT:
        assert len({tuple(each) for each in ids}) == len(texts)
        assert [decode_continuation(tokenizer, each) for each in ids] == texts


def test_an_answer_is_encoded_as_it_stands_after_a_prompt():
    """By hand: the ids are those of the whole text after a line end, with which the lesson's prompt ends."""
    tokenizer = llama_5()
    prompt, outputs = "Add:\n", ["    return 1", " return 1", "return 1", "x"]
    front = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for output, ids in zip(outputs, encode_continuations(tokenizer, outputs), strict=True):
        assert front + ids == tokenizer(prompt + output, add_special_tokens=False)["input_ids"]
    spelled = [tokenizer.convert_ids_to_tokens(ids) for ids in encode_continuations(tokenizer, outputs)]
    assert spelled == [["▁▁▁▁", "return", "▁", "1"], ["▁return", "▁", "1"], ["return", "▁", "1"], ["x"]]


@pytest.mark.parametrize("family", ["smollm2", "opt", "gpt2", "llama_legacy"])
@given(output=answers)
def test_a_tokenizer_that_keeps_beginnings_encodes_an_answer_as_before(family, output):
    tokenizer = ALL[family]()
    assert encode_continuations(tokenizer, [output]) == encode_texts(tokenizer, [output])


@pytest.mark.parametrize("family", ["llama", "llama_5", "smollm2"])
def test_the_first_streamed_token_keeps_its_space_and_a_stop_text_may_begin_with_one(family):
    tokenizer = ALL[family]()
    ids = encode_continuations(tokenizer, ["  x = 1 END"])[0]
    reader = Reader(tokenizer, (tokenizer.eos_token_id,), (" END",))
    grown = [reader.answer(ids[:end]).text for end in range(len(ids) + 1)]
    assert all("  x = 1".startswith(text) or text.startswith("  x = 1") for text in grown)
    assert grown[-1] == "  x = 1"
    assert reader.stopped(ids)
    begins = encode_continuations(tokenizer, [" END"])[0]
    assert reader.answer(begins).text == ""
    assert reader.answer(begins).tokens == 0
    before = encode_continuations(tokenizer, ["  x = 1"])[0]
    assert reader.answer([*before, *begins, *ids]).tokens in (len(before), len(before) + 1)
    assert not reader.stopped(encode_continuations(tokenizer, ["END"])[0])


def test_rows_that_the_tokenizer_changes_are_numbered():
    rows = [Example("a", "", text) for text in ("return", "Return", "a  b", "ret", "é")]
    assert tokenize_rows(word_pieces(), PLAIN, rows, 10**6, "drop").changed == (2, 3, 5)
    rows = [Example("é", "", "return"), Example("a", "", "return")]
    assert tokenize_rows(word_pieces(), PLAIN, [*rows, Example("§", "", "a")], 10**6, "drop").changed == (3,)
    assert tokenize_rows(
        llama_5(), LESSON, [Example("a", "", "    b"), Example("a", "", "▁")], 10**6, "drop"
    ).changed == (2,)


def test_mask_and_x_ray_show_what_becomes_of_a_row_that_cannot_be_held():
    row = Example("a", "", "Return  b")
    assert mask_view(word_pieces(), PLAIN, row, 1024)["reads_as"] == "return b"
    assert NOT_HELD in token_view(word_pieces(), PLAIN, row, 1024, "drop").explanation
    held = Example("a", "", "return b")
    assert "reads_as" not in mask_view(word_pieces(), PLAIN, held, 1024)
    assert NOT_HELD not in token_view(word_pieces(), PLAIN, held, 1024, "drop").explanation
