"""Column detection where a source uses other names, and conversations in place of columns."""

import json
import shlex

import pytest

from instruct_tune.config.run_config import Columns, DataSettings, RunConfig
from instruct_tune.config.validation import merge, parse_override
from instruct_tune.data.columns import ColumnsError, as_settings, propose
from instruct_tune.data.splits import examples, load_splits
from instruct_tune.errors import DataError, SettingsError


@pytest.mark.parametrize(
    ("found", "instruction", "input", "output"),
    [
        (["instruction", "input", "output"], "instruction", "input", "output"),
        (["Instruction", "Input", "Output"], "Instruction", "Input", "Output"),
        (["prompt", "completion"], "prompt", None, "completion"),
        (["question", "answer"], "question", None, "answer"),
        (["answer", "question"], "question", None, "answer"),
        (["id", "title", "context", "question", "answers"], "question", "context", "answers"),
        (["instruction", "context", "response", "category"], "instruction", "context", "response"),
        (["input", "output"], "input", None, "output"),
        (["inputs", "targets"], "inputs", None, "targets"),
        (["source", "target"], "source", None, "target"),
        (["source", "question", "answer"], "question", None, "answer"),
        (["document", "summary"], "document", None, "summary"),
        (["User Prompt", "Model Response"], "User Prompt", None, "Model Response"),
        (["prompt_id", "userQuery", "bestAnswer", "answer_length"], "userQuery", None, "bestAnswer"),
        (["text1", "text2"], "text1", None, "text2"),
        (["id", "sentence_b", "sentence_a"], "sentence_a", None, "sentence_b"),
        (["id", "messages"], "instruction", "input", "output"),
        (["Question:", "Answer:"], "Question:", None, "Answer:"),
        # One of several answers is the good one.
        (["question", "incorrect_answer", "correct_answer"], "question", None, "correct_answer"),
        (["question", "rejected_answer", "chosen_answer"], "question", None, "chosen_answer"),
        (["bad_response", "good_response", "prompt"], "prompt", None, "good_response"),
        (["wrongAnswer", "answer", "question", "Worse Answer"], "question", None, "answer"),
        (["type", "question", "best_answer", "correct_answers", "incorrect_answers"], "question", None, "best_answer"),
        (["question", "distractor1", "distractor2", "correct_answer", "support"], "question", None, "correct_answer"),
        # The choices are what the question is about.
        (["question", "options", "answer"], "question", "options", "answer"),
        (["question", "answer", "choices", "context"], "question", "context", "answer"),
    ],
)
def test_names_in_use_are_recognised(found, instruction, input, output):
    assert propose(found) == Columns(instruction, input, output)


@pytest.mark.parametrize("found", [[], ["text"], ["id", "label"], ["prompt"], ["answer"], ["a", "b"], ["question_id"]])
def test_nothing_is_proposed_where_nothing_is_known(found):
    assert propose(found) is None


@pytest.mark.parametrize(
    "found",
    [
        ["question", "incorrect_answer"],
        ["prompt", "rejected_response", "bad completion"],
        ["prompt", "response_0", "response_1", "better_response_id", "is_response_0_safe"],
        ["prompt", "response_1", "response_2", "preference_strength"],
        ["response_1", "response_2"],
        ["question", "option_a", "option_b"],
        ["Pre-Revision Question", "Pre-Revision Correct Answer", "Pre-Revision Incorrect Answer 1", "Question",
         "Correct Answer", "Incorrect Answer 1"],
        ["instruction_en", "instruction_de", "output"],
        ["Answer the question: what is 2+2?", "This question is simple: four."],
        ["Tell me the capital of this question", "code"],
    ],
)  # fmt: skip
def test_nothing_is_proposed_where_the_names_do_not_tell_which_is_meant(found):
    assert propose(found) is None


def test_a_headerless_file_gets_no_proposal_of_its_first_row(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("Answer the question: what is 2+2?,This question is simple: four.\nWhat is 3+3?,Six.\n" * 5)
    with pytest.raises(ColumnsError, match=r"set data\.columns\.instruction and data\.columns\.output") as caught:
        load_splits(DataSettings(source=str(path)))
    assert caught.value.proposal is None


def rows_of(path, rows, **changes):
    """The loaded rows as a set of (instruction, input, output)."""
    path.write_text(json.dumps(rows))
    splits = load_splits(DataSettings(**{"source": str(path), "filters": (), "limit": None, **changes}))
    return {(e.instruction, e.input, e.output) for part in (splits.train, splits.test) for e in examples(part)}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("question", "answer"), "set data.columns.instruction=question data.columns.output=answer."),
        (("input", "output"), "set data.columns.instruction=input data.columns.input=null."),
        (("Question text", "Answer text"), "set 'data.columns.instruction=Question text' 'data.columns.output="),
    ],
)
def test_the_message_names_what_to_set_and_setting_that_loads_the_rows(tmp_path, names, message):
    rows = [dict(zip(names, (f"Do {n}", f"Done {n}"), strict=True)) for n in range(10)]
    with pytest.raises(ColumnsError) as caught:
        rows_of(tmp_path / "rows.json", rows)
    assert message in str(caught.value)
    assert caught.value.found == names
    config = {}
    for override in shlex.split(as_settings(caught.value.proposal, Columns(), names)):
        merge(config, *parse_override(override))
    columns = RunConfig.from_dict(config).data.columns
    assert rows_of(tmp_path / "rows.json", rows, columns=columns) == {(f"Do {n}", "", f"Done {n}") for n in range(10)}


def test_a_column_is_only_one_of_the_three():
    with pytest.raises(SettingsError) as caught:
        RunConfig.from_dict({"data": {"columns": {"instruction": "text", "output": "text"}}})
    assert str(caught.value) == (
        "data.columns.instruction and data.columns.output both name 'text': a column can be only one of them."
    )
    with pytest.raises(SettingsError, match=r"set data.columns.input to null where there is none"):
        RunConfig.from_dict({"data": {"columns": {"instruction": "input"}}})


# Conversations

OPENAI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
SHAREGPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
SYSTEM = {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize("column", ["messages", "conversations", "Conversation"])
@pytest.mark.parametrize(
    ("conversation", "instruction"), [(OPENAI, "Hi"), (SHAREGPT, "Hi"), ([SYSTEM, *OPENAI], "Be kind.\n\nHi")]
)
def test_a_single_turn_becomes_instruction_and_output(tmp_path, column, conversation, instruction):
    rows = [{"id": n, column: conversation} for n in range(5)]
    assert rows_of(tmp_path / "rows.json", rows) == {(instruction, "", "Hello")}


def test_conversations_in_parquet(tmp_path):
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": OPENAI}] * 5), tmp_path / "rows.parquet")
    splits = load_splits(DataSettings(source=str(tmp_path / "rows.parquet"), limit=None))
    assert splits.rows_loaded == 5
    assert splits.columns == ("messages",)
    assert examples(splits.test)[0].instruction == "Hi"


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (OPENAI * 2, "it has 4 messages beside the system's, not 2"),
        (OPENAI[:1], "it has 1 message beside the system's, not 2"),
        ([], "it has 0 messages"),
        (OPENAI[::-1], "it is not a user's message followed by an assistant's"),
        ([*OPENAI, SYSTEM], "it has a system message that is not at its beginning"),
        ([SYSTEM, SYSTEM, *OPENAI], "it has a system message that is not at its beginning"),
        ("Hi", "it is not a list of messages"),
        (None, "it is not a list of messages"),
        (["Hi", "Hello"], "it is not a list of messages"),
        ([{"content": "Hi"}, OPENAI[1]], "a message in it has no role or no text"),
        ([{"role": "user", "content": [{"type": "image"}]}, OPENAI[1]], "a message in it has no role or no text"),
    ],
)
def test_other_conversations_are_refused_with_the_reason(tmp_path, conversation, reason):
    rows = [{"messages": OPENAI}] * 4 + [{"messages": conversation}] * 2
    with pytest.raises(DataError) as caught:
        rows_of(tmp_path / "rows.json", rows)
    assert "Column 'messages' of rows.json holds conversations" in str(caught.value)
    assert f"2 rows cannot, the first is row 5 ({reason}" in str(caught.value)


def test_columns_of_the_usual_names_come_before_conversations(tmp_path):
    rows = [{"instruction": "Do", "output": "Done", "messages": OPENAI * 3}] * 5
    assert rows_of(tmp_path / "rows.json", rows) == {("Do", "", "Done")}
    rows = [{"question": "Do", "answer": "Done", "messages": OPENAI}] * 5
    with pytest.raises(ColumnsError, match=r"instruction=question"):
        rows_of(tmp_path / "rows.json", rows)


def test_a_column_requested_by_name_is_never_replaced_by_a_conversation(tmp_path):
    with pytest.raises(ColumnsError, match="no column 'ask'"):
        rows_of(tmp_path / "rows.json", [{"messages": OPENAI}] * 5, columns=Columns("ask", None, "tell"))
