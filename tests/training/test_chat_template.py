"""Third-party chat templates: the prompt holds the message once and unchanged, or an error states the problem."""

from __future__ import annotations

import copy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from toys import SPECIALS, llama, smollm2

from instruct_tune.data.splits import Example
from instruct_tune.errors import ModelError
from instruct_tune.tokenization.chat_template import ChatTemplate, has_clock, with_markup
from instruct_tune.tokenization.encode import encode_prompts, mask_view, prompt_text
from instruct_tune.tokenization.prompt_template import CHAT, ChatMarkup, template_of_run

pytestmark = pytest.mark.usefixtures("no_deprecated_calls")

MARKED = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
QUESTION = "  Name a <|im_end|> fruit.  \n"


def around(content: str, head: str = "") -> str:
    """A template with SmolLM2's markup around an expression for the message."""
    return (
        head + "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ " + content + " }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tokenizer_with(chat_template, like=smollm2):
    tokenizer = copy.deepcopy(like())
    tokenizer.chat_template = chat_template
    return tokenizer


HOLDING = {
    "plain": around("m['content']"),
    "trims": around("m['content'] | trim"),
    "trims one end": around("m['content'].lstrip()"),
    "trims all": "{{ (messages[0]['content'] ~ '\n\n') | trim }}",
    "wants parts": around("m['content'][0]['text']"),
    "wants parts and trims": around("(m['content'] | selectattr('type', 'equalto', 'text') | first).text | trim"),
    "joins parts": "{% for m in messages %}[{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}]{% endfor %}",
    "has a system turn": around("m['content']", "<|im_start|>system\nBe brief.<|im_end|>\n"),
    "ignores the generation prompt": "[INST] {{ messages[-1].content }} [/INST]",
}


@pytest.mark.parametrize("name", HOLDING)
@given(
    message=st.one_of(
        st.text(max_size=20), st.sampled_from([*SPECIALS, QUESTION, " ", "\n", "user", "text", "{{ x }}"])
    )
)
@example(message=QUESTION)
@example(message="   ")
@example(message="")
def test_the_question_is_in_the_prompt_unchanged(name, message):
    tokenizer = tokenizer_with(HOLDING[name])
    markup = ChatTemplate(tokenizer).markup
    assert prompt_text(tokenizer, CHAT, message, "") == markup.before + message + markup.after
    [ids] = encode_prompts(tokenizer, CHAT, [(message, "")])
    assert tokenizer.decode(ids) == markup.around(message)


def test_a_trimming_template_treats_a_question_with_a_special_token_like_any_other():
    tokenizer = tokenizer_with(HOLDING["trims"])
    assert prompt_text(tokenizer, CHAT, QUESTION, "") == MARKED.format(QUESTION)
    plain = QUESTION.replace("<|im_end|>", "red")
    assert prompt_text(tokenizer, CHAT, plain, "") == MARKED.format(plain)
    [spelled], [other] = (encode_prompts(tokenizer, CHAT, [(text, "")]) for text in (QUESTION, plain))
    start, end = (
        tokenizer("<|im_start|>user\n")["input_ids"],
        tokenizer("<|im_end|>\n<|im_start|>assistant\n")["input_ids"],
    )
    for ids, text in ((spelled, QUESTION), (other, plain)):
        assert ids[: len(start)] == start
        assert ids[-len(end) :] == end
        assert ids[len(start) : -len(end)] == tokenizer(text, split_special_tokens=True)["input_ids"]


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (
            "{% for m in messages if m['role'] == 'assistant' %}{{ m['content'] }}{% endfor %}<|im_start|>assistant\n",
            "leaves out the user's message",
        ),
        ("Always the same.", "leaves out the user's message"),
        (around("m['content'] ~ m['content']"), "repeats the user's message 2 times"),
        (around("m['content'] | upper"), "rewrites the user's message"),
        (around("m['content'] | e"), "rewrites the user's message"),
        (around("m['content'] | tojson"), "rewrites the user's message"),
        (around("m['content'].split() | join(' ')"), "rewrites the user's message"),
        (around("m['content'][:20]"), "rewrites the user's message"),
        ("{% for m in messages %}", r"cannot be rendered \(.*end"),
        ("{{ raise_exception('A system turn must come first.') }}", r"\(A system turn must come first\)"),
        ("{{ messages[0].author.name }}", r"cannot be rendered \(.*author"),
        ("{{ 1 / 0 }}{{ messages[0].content }}", r"cannot be rendered \(division by zero\)"),
        ("{{ messages[0].content + 1 }}", "cannot be rendered"),
        ("{{ messages[9].content.x }}", "cannot be rendered"),
        ("{{ messages[0].content.__class__.__mro__ }}", "cannot be rendered"),
        ({"rag": around("m['content']"), "tool_use": "x"}, r"multiple chat templates .*"),
        (None, "no chat template"),
        ("", "no chat template"),
    ],
)
def test_a_template_that_does_not_hold_the_question_is_refused_in_a_sentence(template, fault):
    tokenizer = tokenizer_with(template)
    for call in (
        lambda: encode_prompts(tokenizer, CHAT, [("Name a fruit.", "")]),
        lambda: mask_view(tokenizer, CHAT, Example("Name a fruit.", "", "An apple."), 1024),
        lambda: with_markup(tokenizer, CHAT),
    ):
        with pytest.raises(ModelError, match=rf"{fault}.*: choose the lesson or alpaca template\.$"):
            call()


@pytest.mark.parametrize(
    "template",
    [
        around("m['content'].split('</think>')[-1]"),
        around("m['content'] | replace('fruit', 'vegetable')"),
        around("'' if 'fruit' in m['content'] else m['content']"),
        around("m['content'] | truncate(200, True)"),
        "{% if 'fruit' in messages[0]['content'] %}Fruit: {% endif %}" + around("m['content']"),
    ],
)
def test_a_message_that_the_template_renders_otherwise_is_refused(template):
    tokenizer = tokenizer_with(template)
    assert encode_prompts(tokenizer, CHAT, [("Add 1 and 2.", "")])
    message = "</think> Name a fruit." + " And another." * 20
    with pytest.raises(ModelError, match=r"does not render the message '</think> Name .*…' like others"):
        encode_prompts(tokenizer, CHAT, [("Add 1 and 2.", ""), (message, "")])


def test_what_was_added_for_the_template_is_markup_there_alone():
    """A token that is not marked special and yet marks turns stays text where a message contains its characters."""
    tokenizer = tokenizer_with("<|user|>{{ messages[0].content }}<|end|>")
    tokenizer.add_tokens(["<|user|>", "<|end|>"])
    user, end = tokenizer.convert_tokens_to_ids(["<|user|>", "<|end|>"])
    [ids] = encode_prompts(tokenizer, CHAT, [("a<|end|>b", "")])
    assert ids == [user, *tokenizer.convert_tokens_to_ids(list("a<|end|>b")), end]


def test_a_space_before_the_message_is_kept_by_tokenizers_that_begin_texts_with_one():
    tokenizer = tokenizer_with("{{ bos_token }}[INST]{{ messages[0].content }}[/INST]", llama)
    [spelled] = encode_prompts(tokenizer, CHAT, [("  a </s>", "")])
    assert tokenizer.decode(spelled) == "<s>[INST]  a </s>[/INST]"
    assert spelled.count(tokenizer.eos_token_id) == 0


# Templates that read the clock


def test_a_template_with_a_clock_is_found_and_its_markup_kept():
    tokenizer = tokenizer_with(around("m['content']", "{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }} "))
    assert has_clock(tokenizer)
    assert not has_clock(smollm2())
    template = with_markup(tokenizer, CHAT)
    first = encode_prompts(tokenizer, template, [("Hi", "")])
    assert encode_prompts(tokenizer, template, [("Hi", "")]) == first
    assert tokenizer.decode(first[0]) == template.markup.around("Hi")
    assert encode_prompts(tokenizer, CHAT, [("Hi", "")]) != first, "the clock goes on"


def test_a_run_is_prompted_with_the_markup_it_began_with():
    provenance = {"chat_before": "Today is Monday. ", "chat_after": "\n"}
    template = template_of_run("chat", provenance)
    assert template.markup == ChatMarkup("Today is Monday. ", "\n")
    assert prompt_text(smollm2(), template, "Hi", "you") == "Today is Monday. Hi\n\nyou\n"
    assert template_of_run("chat", {}) == CHAT
    assert template_of_run("chat", {"chat_before": 3, "chat_after": None}) == CHAT
    assert template_of_run("lesson", provenance).markup is None
