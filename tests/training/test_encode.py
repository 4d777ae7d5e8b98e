"""Ids and labels, written by hand for five families of tokenizers, and properties that hold for any text."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers
from toys import FAMILIES, SPECIALS, gpt2, llama, opt, smollm2
from transformers import PreTrainedTokenizerFast

from instruct_tune.data.splits import Example
from instruct_tune.errors import DataError, ModelError
from instruct_tune.pretrained.token_counts import count_tokens, encode_texts
from instruct_tune.tokenization.continuation import count_continuation_tokens, decode_continuation
from instruct_tune.tokenization.encode import (
    IGNORE,
    TokenizedExample,
    count_prompt_tokens,
    encode_answers,
    encode_prompts,
    mask_view,
    token_pieces,
    tokenize_examples,
    tokenize_rows,
)
from instruct_tune.tokenization.prompt_template import ALPACA, CHAT, LESSON, PromptTemplate

pytestmark = [
    pytest.mark.usefixtures("no_deprecated_calls"),
    pytest.mark.filterwarnings("error::DeprecationWarning", "error::FutureWarning"),
]

WHOLE = 10**6
"""A ``max_length`` that cuts nothing."""

WITHOUT_INPUT = Example("Add 1", "", "2")
WITH_INPUT = Example("Sum", "1 2", "3")
# Encoded as one text with the prompt, which ends with a new line, this answer would be split differently.
MERGES_WITH_THE_PROMPT = Example("Sum", "", "\n\n")

# By hand: (prompt, answer and EOS). Bytes of smollm2 are 3 + (code - 33), new line 201, space 223; of opt 9 + (code -
# 33), 207, 229; of gpt2 6 + (code - 33), 204, 226. Characters of llama are 265 + (code - 33), "▁" 264, the byte of a
# new line 8 + 10.
INSTRUCTION_BYTES = [5, 5, 5, 223, 43, 80, 85, 86, 84, 87, 69, 86, 75, 81, 80, 28, 201]  # ### Instruction:⏎
INPUT_BYTES = [5, 5, 5, 223, 43, 80, 82, 87, 86, 28, 201]  # ### Input:⏎
RESPONSE_BYTES = [5, 5, 5, 223, 52, 71, 85, 82, 81, 80, 85, 71, 28, 201]  # ### Response:⏎
BY_HAND = {
    ("smollm2", WITHOUT_INPUT): (
        [*INSTRUCTION_BYTES, 35, 70, 70, 223, 19, 201, 201, *RESPONSE_BYTES],
        [20, 2],
    ),
    ("smollm2", WITH_INPUT): (
        [*INSTRUCTION_BYTES, 53, 87, 79, 201, 201, *INPUT_BYTES, 19, 223, 20, 201, 201, *RESPONSE_BYTES],
        [21, 2],
    ),
    # </s> ### Instruction : ⏎ A d d space 1 ⏎ ⏎ ### Response : ⏎ | 2 </s>
    ("opt", WITHOUT_INPUT): ([2, 4, 5, 34, 207, 41, 76, 76, 229, 25, 207, 207, 4, 7, 34, 207], [26, 2]),
    ("opt", WITH_INPUT): (
        [2, 4, 5, 34, 207, 59, 93, 85, 207, 207, 4, 6, 34, 207, 25, 229, 26, 207, 207, 4, 7, 34, 207],
        [27, 2],
    ),
    ("opt", MERGES_WITH_THE_PROMPT): ([2, 4, 5, 34, 207, 59, 93, 85, 207, 207, 4, 7, 34, 207], [8, 2]),
    # <s> ▁### ▁Instruction : ⏎ A d d ▁ 1 ⏎ ⏎ ### ▁Response : ⏎ | 2 </s>
    ("llama", WITHOUT_INPUT): ([1, 3, 5, 290, 18, 297, 332, 332, 264, 281, 18, 18, 4, 7, 290, 18], [282, 2]),
    ("llama", WITH_INPUT): (
        [1, 3, 5, 290, 18, 315, 349, 341, 18, 18, 4, 6, 290, 18, 281, 264, 282, 18, 18, 4, 7, 290, 18],
        [283, 2],
    ),
    ("gpt2", WITHOUT_INPUT): ([1, 2, 31, 204, 38, 73, 73, 226, 22, 204, 204, 1, 4, 31, 204], [23, 0]),
    ("gpt2", WITH_INPUT): (
        [1, 2, 31, 204, 56, 90, 82, 204, 204, 1, 3, 31, 204, 22, 226, 23, 204, 204, 1, 4, 31, 204],
        [24, 0],
    ),
    ("gpt2", MERGES_WITH_THE_PROMPT): ([1, 2, 31, 204, 56, 90, 82, 204, 204, 1, 4, 31, 204], [5, 0]),
}
FRONT = {"smollm2": [], "opt": [2], "llama": [1], "gpt2": [], "unigram": []}

CONTINUED = PromptTemplate("continued", without_input="{instruction}", with_input="{instruction}: {input}")
"""No marker and no new line before the answer: only our code keeps the two from merging."""

texts = st.lists(
    st.one_of(
        st.sampled_from([*SPECIALS, "\n", "\n\n", " ", "###", "### Response:\n", "{input}", "▁", "é", "🙂", "<0x0A>"]),
        st.sampled_from(["\ue000", "\ue000text\ue000", "{{ bos_token }}", "[INST]", "<|im_", "end|>"]),
        st.text(max_size=6),
    ),
    max_size=5,
).map("".join)


def one(tokenizer, template: PromptTemplate, row: Example, max_length: int = WHOLE) -> TokenizedExample:
    return tokenize_examples(tokenizer, template, [row], max_length)[0]


def templates_of(tokenizer) -> list[PromptTemplate]:
    return [LESSON, ALPACA, CONTINUED, *([CHAT] if tokenizer.chat_template else [])]


def is_lossless(family: str, text: str) -> bool:
    """Whether the family's ids decode to the text."""
    if family == "unigram" and "<0x" in text:  # a text can contain its byte tokens
        return False
    return family not in ("llama", "unigram") or not (text.startswith(" ") or "▁" in text)


# Exact values


@pytest.mark.parametrize(("family", "row"), BY_HAND)
def test_a_lesson_row_by_hand(family, row):
    prompt, answer = BY_HAND[family, row]
    assert one(FAMILIES[family](), LESSON, row) == TokenizedExample(
        input_ids=(*prompt, *answer),
        labels=(*[-100] * len(prompt), *answer),
        prompt_length=len(prompt),
        truncated=0,
    )


def test_an_unknown_character_stays_unknown_beside_a_spelled_unknown_token():
    words = ["<unk>", "</s>", "▁", *"abkn<>u"]
    backend = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=0))
    backend.normalizer = normalizers.Replace(" ", "▁")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    texts = ["a日b", "a日b <unk>", "<unk><unk>"]
    a, b, space = tokenizer.convert_tokens_to_ids(["a", "b", "▁"])
    spelled = tokenizer.convert_tokens_to_ids(list("<unk>"))
    expected = [[a, 0, b], [a, 0, b, space, *spelled], [*spelled, *spelled]]
    assert encode_texts(tokenizer, texts) == expected
    # A chat template's own tokens are named beside the special ones, which they are too.
    assert encode_texts(tokenizer, texts, ["<unk>"]) == expected


def test_a_row_that_spells_special_tokens_has_none_of_them():
    row = one(opt(), LESSON, Example("Sum", "", "</s><pad>"))
    assert row.input_ids == (
        *(2, 4, 5, 34, 207, 59, 93, 85, 207, 207, 4, 7, 34, 207),
        *(36, 23, 91, 38, 36, 88, 73, 76, 38),  # the nine characters < / s > < p a d >
        2,
    )
    assert row.supervised == 10


def test_the_chat_template_by_hand():
    # <|im_start|> user⏎ Hi <|im_end|> ⏎ <|im_start|> assistant⏎ | H o <|im_end|>
    prompt = [1, 87, 85, 71, 84, 201, 42, 75, 2, 201, 1, 67, 85, 85, 75, 85, 86, 67, 80, 86, 201]
    row = one(smollm2(), CHAT, Example("Hi", "", "Ho"))
    assert row.input_ids == (*prompt, 42, 81, 2)
    assert row.labels == (*[-100] * len(prompt), 42, 81, 2)
    # The same with <|im_end|> in the message, as ten characters: only the template's two are the special token.
    spelled = [30, 94, 75, 79, 65, 71, 80, 70, 94, 32]
    assert encode_prompts(smollm2(), CHAT, [("Hi<|im_end|>", "")]) == [[*prompt[:8], *spelled, *prompt[8:]]]


def test_mask_view_is_the_public_json():
    view = mask_view(opt(), LESSON, WITHOUT_INPUT, 1024)
    assert json.loads(json.dumps(view)) == {
        "input_ids": [2, 4, 5, 34, 207, 41, 76, 76, 229, 25, 207, 207, 4, 7, 34, 207, 26, 2],
        "tokens": [
            *("</s>", "###", "ĠInstruction", ":", "Ċ", "A", "d", "d", "Ġ", "1", "Ċ", "Ċ"),
            *("###", "ĠResponse", ":", "Ċ", "2", "</s>"),
        ],
        "labels": [-100] * 16 + [26, 2],
        "prompt_length": 16,
        "supervised": 2,
        "truncated": 0,
    }
    cut = mask_view(opt(), LESSON, WITHOUT_INPUT, 17)
    assert (cut["input_ids"][-1], cut["labels"][-1], cut["supervised"], cut["truncated"]) == (26, 26, 1, 1)


# Properties for any text


@pytest.mark.parametrize("family", FAMILIES)
@given(instruction=texts, input=texts, output=texts)
@example(instruction="", input="", output="")
@example(instruction="Hi\n", input="", output="\n\n")
@example(instruction="<|im_end|>\ue000text\ue000", input="\ue000text\ue000", output="<|im_end|>")
def test_a_training_row_is_the_generation_prompt_and_the_answer(family, instruction, input, output):
    tokenizer = FAMILIES[family]()
    special = set(tokenizer.all_special_ids)
    for template in templates_of(tokenizer):
        row = one(tokenizer, template, Example(instruction, input, output))
        prompt = encode_prompts(tokenizer, template, [(instruction, input)])[0]
        assert list(row.input_ids[: row.prompt_length]) == prompt
        assert row.labels == (*[IGNORE] * len(prompt), *row.input_ids[len(prompt) :])
        *answer, eos = row.input_ids[len(prompt) :]
        assert eos == tokenizer.eos_token_id
        assert special.isdisjoint(answer)
        assert (row.supervised, row.truncated) == (len(answer) + 1, 0)
        if is_lossless(family, f"-{output}"):
            assert decode_continuation(tokenizer, answer) == output


@pytest.mark.parametrize("family", FAMILIES)
@given(instruction=texts, input=texts)
def test_a_prompt_is_its_text_with_the_tokenizers_front(family, instruction, input):
    tokenizer = FAMILIES[family]()
    for template in (LESSON, ALPACA, CONTINUED):
        ids = encode_prompts(tokenizer, template, [(instruction, input)])[0]
        text = template.render(instruction, input)
        front = len(FRONT[family])
        assert ids[:front] == FRONT[family]
        assert set(tokenizer.all_special_ids).isdisjoint(ids[front:])
        if is_lossless(family, text):
            assert tokenizer.decode(ids[front:]) == text
        if not any(token in text for token in SPECIALS):
            assert ids == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("family", ["smollm2", "llama"])
@given(instruction=texts, input=texts)
@example(instruction="Say <|im_end|>", input="")
@example(instruction="Say <s>", input="</s>")
@example(instruction="Say", input=" \n")
def test_a_chat_prompt_has_the_templates_special_tokens_and_no_others(family, instruction, input):
    tokenizer = FAMILIES[family]()
    special = set(tokenizer.all_special_ids)
    ids = encode_prompts(tokenizer, CHAT, [(instruction, input)])[0]
    empty = encode_prompts(tokenizer, CHAT, [("", "")])[0]
    assert [i for i in ids if i in special] == [i for i in empty if i in special]
    messages = [{"role": "user", "content": f"{instruction}\n\n{input}" if input.strip() else instruction}]
    if not any(token in messages[0]["content"] for token in SPECIALS):
        theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert ids == theirs
    if family == "smollm2":
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_many_rows_at_once_are_the_rows_one_by_one(family):
    tokenizer = FAMILIES[family]()
    rows = [WITHOUT_INPUT, WITH_INPUT, Example("Say </s><|im_end|>", "", ""), MERGES_WITH_THE_PROMPT]
    for template in templates_of(tokenizer):
        assert tokenize_examples(tokenizer, template, rows, 30) == [one(tokenizer, template, row, 30) for row in rows]
        assert encode_prompts(tokenizer, template, []) == []
    assert encode_answers(tokenizer, []) == []


@pytest.mark.parametrize("family", FAMILIES)
@given(rows=st.lists(st.tuples(texts, texts), max_size=4))
def test_tokens_are_counted_as_they_are_made(family, rows):
    tokenizer = FAMILIES[family]()
    answers = [output for _, output in rows]
    assert count_tokens(tokenizer, answers) == [len(ids) for ids in encode_texts(tokenizer, answers)]
    assert count_continuation_tokens(tokenizer, answers) == [len(ids) for ids in encode_answers(tokenizer, answers)]
    for template in templates_of(tokenizer):
        made = encode_prompts(tokenizer, template, rows)
        assert count_prompt_tokens(tokenizer, template, rows) == [len(ids) for ids in made]


def test_what_a_tokenizer_puts_behind_a_text_stays_out_of_the_prompt():
    ends_texts = gpt2("$A <|endoftext|>")
    assert ends_texts("1")["input_ids"] == [22, 0]
    assert encode_prompts(ends_texts, CONTINUED, [("1", "")]) == [[22]]
    surrounds = gpt2("<|endoftext|> $A <|endoftext|>")
    assert encode_prompts(surrounds, CONTINUED, [("1", "")]) == [[0, 22]]


def test_a_tokenizer_without_a_chat_template_is_refused():
    with pytest.raises(ModelError, match="no chat template: choose the lesson or alpaca template"):
        encode_prompts(gpt2(), CHAT, [("Hi", "")])
    with pytest.raises(ModelError, match="no chat template"):
        mask_view(opt(), CHAT, WITHOUT_INPUT, 1024)


def test_a_tokenizer_that_rewrites_texts_is_refused():
    def rewriting(text, add_special_tokens, **_):
        return {"input_ids": [0, 6, 8] if add_special_tokens else [5]}

    with pytest.raises(ModelError, match="cannot mask exactly"):
        encode_prompts(rewriting, LESSON, [("Hi", "")])


# Overlong rows

ROW = Example("Add 1", "", "abc")
PROMPT, ANSWER = 38, 4  # of smollm2, the answer with its EOS


@pytest.mark.parametrize(
    ("max_length", "supervised", "truncated"),
    [
        (PROMPT + ANSWER + 1, 4, 0),
        (PROMPT + ANSWER, 4, 0),
        (PROMPT + 3, 3, 1),  # only EOS is cut
        (PROMPT + 1, 1, 3),
        (PROMPT, 0, 4),  # only the prompt fits
    ],
)
def test_an_answer_is_cut_at_max_length(max_length, supervised, truncated):
    whole, row = one(smollm2(), LESSON, ROW), one(smollm2(), LESSON, ROW, max_length)
    assert (whole.prompt_length, whole.supervised) == (PROMPT, ANSWER)
    assert row.input_ids == whole.input_ids[:max_length]
    assert row.labels == whole.labels[:max_length]
    assert (row.prompt_length, row.supervised, row.truncated) == (PROMPT, supervised, truncated)
    assert (row.input_ids[-1] == smollm2().eos_token_id) == (truncated == 0)


def test_a_prompt_that_is_too_long_is_cut_too():
    row = one(smollm2(), LESSON, ROW, PROMPT - 5)
    assert row.input_ids == one(smollm2(), LESSON, ROW).input_ids[: PROMPT - 5]
    assert row.labels == (IGNORE,) * (PROMPT - 5)
    assert (row.prompt_length, row.supervised) == (PROMPT - 5, 0)
    # Of the prompt's tokens none counts as truncated.
    assert row.truncated == ANSWER


SHORT = Example("Add 1", "", "2")  # of smollm2, 38 + 2 tokens
LONG_PROMPT = Example("Add 1 to 10", "", "11!")  # 44 + 4
LONG_ANSWER = Example("Add 1", "", "three")  # 38 + 6
ROWS = [SHORT, LONG_PROMPT, LONG_ANSWER]


@pytest.mark.parametrize(
    ("max_length", "overlong", "kept", "dropped", "truncated", "tokens"),
    [
        (48, "drop", [SHORT, LONG_PROMPT, LONG_ANSWER], 0, 0, 132),
        (48, "truncate", [SHORT, LONG_PROMPT, LONG_ANSWER], 0, 0, 132),
        (47, "drop", [SHORT, LONG_ANSWER], 1, 0, 84),
        (47, "truncate", [SHORT, LONG_PROMPT, LONG_ANSWER], 0, 1, 131),
        (43, "drop", [SHORT], 2, 0, 40),
        # The long prompt leaves no answer token to learn from.
        (43, "truncate", [SHORT, LONG_ANSWER], 1, 1, 83),
        (39, "truncate", [SHORT, LONG_ANSWER], 1, 2, 78),
    ],
)
def test_overlong_rows_are_dropped_or_cut(max_length, overlong, kept, dropped, truncated, tokens):
    done = tokenize_rows(smollm2(), LESSON, ROWS, max_length, overlong)
    assert list(done.rows) == tokenize_examples(smollm2(), LESSON, kept, max_length)
    assert (done.dropped, done.truncated, done.tokens) == (dropped, truncated, tokens)


@pytest.mark.parametrize(("max_length", "overlong"), [(39, "drop"), (38, "truncate"), (8, "drop"), (8, "truncate")])
def test_no_row_left_is_an_error(max_length, overlong):
    with pytest.raises(DataError, match=rf"train\.max_length {max_length} \(the longest has 48 tokens\)"):
        tokenize_rows(smollm2(), LESSON, ROWS, max_length, overlong)


def test_no_row_at_all_is_an_error():
    with pytest.raises(DataError):
        tokenize_rows(smollm2(), LESSON, [], 1024, "drop")


# Texts of tokens


@pytest.mark.parametrize("family", FAMILIES)
@given(text=texts)
@example(text="a€\n🙂")
@example(text="\ufffd")
@example(text="🙂\ufffd€")
@example(text="\ufffd" * 4)
@example(text="a" + "\ufffd" * 5 + "b")
def test_token_pieces_join_to_the_whole_text(family, text):
    tokenizer = FAMILIES[family]()
    ids = [*encode_answers(tokenizer, [text])[0], tokenizer.eos_token_id]
    pieces = token_pieces(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    assert pieces[-1] == tokenizer.eos_token


def test_a_character_of_many_tokens_is_shown_with_the_last_of_them():
    ids = encode_answers(smollm2(), ["a€b"])[0]
    assert token_pieces(smollm2(), ids) == ["a", "", "", "€", "b"]
    assert token_pieces(smollm2(), ids[:3]) == ["a", "", "\ufffd"]
    assert token_pieces(smollm2(), []) == []
    assert token_pieces(llama(), encode_answers(llama(), ["1 €"])[0], continuing=True) == ["1", " ", "", "", "€"]
    assert token_pieces(llama(), encode_answers(llama(), [" €"])[0], continuing=True) == [" ", "", "", "€"]


def test_the_pieces_of_a_row():
    pieces = token_pieces(opt(), one(opt(), LESSON, WITHOUT_INPUT).input_ids)
    assert "|".join(pieces) == "</s>|###| Instruction|:|\n|A|d|d| |1|\n|\n|###| Response|:|\n|2|</s>"
