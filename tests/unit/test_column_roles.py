"""Columns that change what a row means are mapped, or the load states that it leaves them out; none is dropped
silently."""

import dataclasses
import json
import shlex

import pytest
from data_files import everything, load_error, make_rows, settings, write

from instruct_tune.config.run_config import Columns, DataSettings, RunConfig
from instruct_tune.config.validation import merge, parse_override
from instruct_tune.data.columns import ColumnsError, as_settings, propose
from instruct_tune.data.splits import load_splits
from instruct_tune.errors import SettingsError

TURN = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
PLAIN = {"instruction": "Hi", "output": "Hello"}


def rows_of(source, **changes):
    """The loaded rows as a set of (instruction, input, output)."""
    return {
        (e.instruction, e.input, e.output)
        for part in everything(load_splits(settings(source, **changes)))
        for e in part
    }


def refused(source, **changes):
    with pytest.raises(ColumnsError) as caught:
        load_splits(settings(source, **changes))
    return caught.value


@pytest.mark.parametrize("row", [{"conversations": TURN}, PLAIN])
@pytest.mark.parametrize("name", ["system", "system_prompt", "System Message", "systemPrompt"])
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_system_prompt_is_proposed_and_goes_in_front_of_the_instruction(tmp_path, row, name, ending):
    source = write(
        tmp_path / f"rows{ending}", [{**row, name: text} for text in ("Be kind.", "", None, " ", "Be brief.")]
    )
    error = refused(source)
    assert f"{name!r} in 2 rows, the first is row 1" in str(error)
    assert error.proposal == Columns(system=name)
    assert rows_of(source, columns=error.proposal) == {
        ("Be kind.\n\nHi", "", "Hello"),
        ("Hi", "", "Hello"),
        ("Be brief.\n\nHi", "", "Hello"),
    }
    assert rows_of(source, columns=Columns(ignore=(name,))) == {("Hi", "", "Hello")}


def test_the_settings_in_the_message_load_the_rows(tmp_path):
    """OpenOrca's columns: the settings that the message names map all four."""
    rows = [{"id": str(n), "system_prompt": "Think.", "question": f"Do {n}", "response": f"Done {n}"} for n in range(5)]
    source = write(tmp_path / "rows.json", rows)
    error = refused(source)
    overrides = as_settings(error.proposal, Columns(), list(rows[0]))
    assert overrides.endswith("data.columns.system=system_prompt")
    assert f": set {overrides}." in str(error)
    config = {}
    for override in shlex.split(overrides):
        merge(config, *parse_override(override))
    columns = RunConfig.from_dict(config).data.columns
    assert rows_of(source, columns=columns) == {(f"Think.\n\nDo {n}", "", f"Done {n}") for n in range(5)}


@pytest.mark.parametrize("row", [{"conversations": TURN}, PLAIN])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"name": "search"}]),
        ("tools", '[{"name": "search"}]'),
        ("functions", [{"name": "search"}]),
        ("history", [["Who?", "I."]]),
        ("chat_history", "User: Who?"),
        ("conversationHistory", {"turns": ["Who?"]}),
        ("system", {"persona": "pirate"}),
        ("chat_template_kwargs", {"enable_thinking": False}),
        ("documents", [{"title": "Rome", "text": "A city."}]),
        ("image", "00453/1.jpg"),
        ("images", [{"bytes": None, "path": "1.jpg"}]),
        ("image_path", "00453/1.jpg"),
        ("imageUrls", ["https://example.org/1.jpg"]),
        ("audio_file", "1.wav"),
        ("previous_messages", [{"role": "user", "content": "Who?"}]),
        ("choices", {"text": ["Rome", "Paris"], "label": ["A", "B"]}),
        ("options", ["Rome", "Paris"]),
        ("answer_choices", ["Rome", "Paris"]),
        ("option_a", "Rome"),
        ("passages", ["Rome is a city.", "So is Paris."]),
        ("contexts", [{"title": "Rome"}]),
        # Their texts are for an input, and lists or objects for none.
        ("context", {"title": ["Rome"], "sentences": [["A city."]]}),
        ("document", [{"text": "a", "start": 1}]),
    ],
)
def test_what_no_text_can_hold_is_refused_unless_it_is_left_out_on_purpose(tmp_path, row, name, value):
    source = write(tmp_path / "rows.json", [row, row, {**row, name: value}, row, {**row, name: value}])
    message = load_error(settings(source))
    assert f"{name!r} in 2 rows, the first is row 3" in message
    override = message.partition("or set ")[2].rpartition(" to train without")[0]
    config = {}
    merge(config, *parse_override(*shlex.split(override)))
    assert rows_of(source, columns=RunConfig.from_dict(config).data.columns) == {("Hi", "", "Hello")}


@pytest.mark.parametrize("nothing", [None, "", "  ", [], {}, "[]", "{}", "null", [[]], [{"name": ""}], float("nan")])
@pytest.mark.parametrize("name", ["tools", "history", "system", "functions"])
def test_nothing_in_all_rows_does_no_harm(tmp_path, name, nothing):
    source = write(tmp_path / "rows.json", [{**PLAIN, name: nothing} for _ in range(5)])
    assert rows_of(source) == {("Hi", "", "Hello")}


def test_columns_about_a_row_do_not_change_what_it_means(tmp_path):
    rows = [{**PLAIN, "id": n, "category": "a", "source": "web", "weight_kg": 3, "system_id": 4} for n in range(5)]
    assert rows_of(write(tmp_path / "rows.json", rows)) == {("Hi", "", "Hello")}


@pytest.mark.parametrize("name", ["choices", "options", "passages", "contexts"])
def test_a_text_that_an_input_can_hold_is_refused_until_it_is_mapped(tmp_path, name):
    source = write(tmp_path / "rows.json", [{**PLAIN, name: "A: Rome, B: Paris"}] * 5)
    assert f"Set data.columns.input={name} to make '{name}' the input, or set " in load_error(settings(source))
    assert rows_of(source, columns=Columns(input=name)) == {("Hi", "A: Rome, B: Paris", "Hello")}
    both = write(tmp_path / "both.json", [{"question": "Hi", "answer": "Hello", "context": "It.", name: "A"}] * 5)
    message = load_error(settings(both))
    assert "data.columns.input=context" in message
    assert f"{name!r} in 5 rows" in message


def test_a_context_that_is_a_text_or_a_number_does_no_harm(tmp_path):
    rows = [{**PLAIN, "context": ["one"], "passage": "text", "document": 17, "article": []} for _ in range(5)]
    assert rows_of(write(tmp_path / "rows.json", rows)) == {("Hi", "", "Hello")}


# Verdicts on the answers

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
UNPAIRED = Columns("prompt", None, "completion")


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"messages": CHAT}, Columns()),
        ({"conversations": TURN}, Columns()),
        ({"prompt": "Hi", "completion": "Hello"}, UNPAIRED),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, UNPAIRED),
        (PLAIN, Columns()),
    ],
)
@pytest.mark.parametrize("name", ["label", "kto_tag", "is_correct"])
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_answers_that_are_marked_as_bad_are_refused_unless_on_purpose(tmp_path, row, columns, name, ending):
    rows = [{**row, name: verdict} for verdict in (True, None, False, True, False)]
    source = write(tmp_path / f"rows{ending}", rows)
    message = load_error(settings(source, columns=columns))
    assert f"{name!r} is false in 2 rows, the first is row 3. Remove the rows where {name!r} is false" in message
    config = {}
    merge(config, *parse_override(*shlex.split(message.partition("or set ")[2].rpartition(" to train on them")[0])))
    ignore = RunConfig.from_dict(config).data.columns.ignore
    assert rows_of(source, columns=dataclasses.replace(columns, ignore=ignore)) == {("Hi", "", "Hello")}


def test_a_proposal_that_would_train_on_bad_answers_is_none(tmp_path):
    source = write(tmp_path / "rows.json", [{"prompt": "Hi", "completion": "Hello", "label": False}] * 5)
    error = refused(source)
    assert error.proposal is None
    assert "'label' is false in 5 rows" in str(error)


@pytest.mark.parametrize(
    "labels", [(True,) * 5, (True, None, True, True, None), ("spam", "ham"), (0, 1), ("false", "mixed"), ([], [False])]
)
def test_a_label_that_marks_no_answer_as_bad_does_no_harm(tmp_path, labels):
    source = write(tmp_path / "rows.json", [{**PLAIN, "label": label} for label in (*labels, *labels, *labels)])
    assert rows_of(source) == {("Hi", "", "Hello")}


def test_booleans_of_csv_are_verdicts_too_unless_they_are_the_answers(tmp_path):
    rows = [{"prompt": "Hi", "completion": "Hello", "label": verdict} for verdict in (True, "", False, True, True)]
    source = write(tmp_path / "rows.csv", rows)
    assert "'label' is false in 1 row, the first is row 3" in load_error(settings(source, columns=UNPAIRED))
    rows = [{"prompt": "Hi", "label": verdict} for verdict in (True, False)] * 3
    source = write(tmp_path / "classes.csv", rows)
    assert rows_of(source, columns=Columns("prompt", None, "label")) == {("Hi", "", "True"), ("Hi", "", "False")}


def test_a_verdict_is_named_beside_all_else_that_is_left_out(tmp_path):
    source = write(tmp_path / "rows.json", [{**PLAIN, "tools": ["search"], "label": False}] * 5)
    message = load_error(settings(source))
    assert "'tools' in 5 rows, the first is row 1 and 'label' is false in 5 rows" in message
    assert """or set 'data.columns.ignore=["tools", "label"]'""" in message


def test_cells_of_csv_are_looked_at_too(tmp_path):
    source = write(tmp_path / "rows.csv", [{**PLAIN, "tools": "[]" if n else '[{"name": "x"}]'} for n in range(5)])
    assert "'tools' in 1 row, the first is row 1" in load_error(settings(source))


def test_a_column_that_comes_late_in_a_file_is_seen(tmp_path):
    source = write(tmp_path / "rows.jsonl", [*make_rows(30), {**PLAIN, "input": "", "tools": ["search"]}])
    assert "'tools' in 1 row, the first is row 31" in load_error(settings(source))


def test_all_that_is_left_out_is_named_in_one_message(tmp_path):
    rows = [{"question": "Hi", "answer": "Hello", "system": "Be kind.", "tools": ["search"], "history": ["x"]}] * 5
    source = write(tmp_path / "rows.json", rows)
    message = load_error(settings(source))
    assert "data.columns.instruction=question data.columns.output=answer data.columns.system=system" in message
    assert "'tools' in 5 rows, the first is row 1 and 'history' in 5 rows" in message
    assert """set 'data.columns.ignore=["tools", "history"]'""" in message
    columns = Columns("question", None, "answer", "system", ("tools", "history"))
    assert rows_of(source, columns=columns) == {("Be kind.\n\nHi", "", "Hello")}
    # The same with the usual names.
    rows = [{**PLAIN, "system": "Be kind.", "tools": ["search"]}] * 5
    message = load_error(settings(write(tmp_path / "usual.json", rows)))
    assert "Set data.columns.system=system" in message
    assert """or set 'data.columns.ignore=["tools"]'""" in message


def test_a_proposal_keeps_what_is_left_out_on_purpose(tmp_path):
    rows = [{"question": "Hi", "answer": "Hello", "tools": ["search"]}] * 5
    error = refused(write(tmp_path / "rows.json", rows), columns=Columns(ignore=("tools",)))
    assert error.proposal == Columns("question", None, "answer", None, ("tools",))


def test_a_system_column_that_repeats_the_conversations_is_not_put_there_twice(tmp_path):
    conversation = [{"from": "system", "value": "Be kind."}, *TURN]
    source = write(tmp_path / "rows.json", [{"system": "Be kind.", "conversations": conversation}] * 5)
    assert rows_of(source, columns=Columns(system="system")) == {("Be kind.\n\nHi", "", "Hello")}


def test_a_system_column_that_repeats_a_prompt_of_messages_is_not_put_there_twice(tmp_path):
    prompts = [[{"role": "system", "content": "Be kind."}, CHAT[0]], CHAT[:1]]
    rows = [{"system": "Be kind.", "prompt": prompt, "completion": CHAT[1:]} for prompt in prompts] * 3
    columns = dataclasses.replace(UNPAIRED, system="system")
    assert rows_of(write(tmp_path / "rows.json", rows), columns=columns) == {("Be kind.\n\nHi", "", "Hello")}
    # A text is a text, however it begins.
    texts = [{"system": "Be kind.", "prompt": "Be kind.\n\nHi", "completion": "Hello"}] * 5
    assert rows_of(write(tmp_path / "texts.json", texts), columns=columns) == {
        ("Be kind.\n\nBe kind.\n\nHi", "", "Hello")
    }


def test_a_system_column_must_be_there_and_hold_texts(tmp_path):
    source = write(tmp_path / "rows.json", [{**PLAIN, "persona": 5}] * 5)
    assert "no column 'role'" in load_error(settings(source, columns=Columns(system="role")))
    assert "'persona' of rows.json holds a number" in load_error(settings(source, columns=Columns(system="persona")))
    source = write(tmp_path / "chats.json", [{"conversations": TURN}] * 5)
    assert "no column 'role'" in load_error(settings(source, columns=Columns(system="role")))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"weight": 0}, "its answer has weight '0'"),
        ({"train": False}, "its answer has train 'False'"),
        ({"training": False}, "its answer has training 'False'"),
        ({"weight": 0.5}, "its answer has weight '0.5'"),
        ({"tool_calls": [{"name": "search"}]}, "a message in it has tool_calls"),
        ({"reasoning_content": "Let me see."}, "a message in it has reasoning_content"),
        ({"reasoning": "Let me see."}, "a message in it has reasoning"),
        ({"images": ["1.jpg"]}, "a message in it has images"),
    ],
)
def test_a_message_that_is_more_than_its_text_is_refused_unless_on_purpose(tmp_path, message, reason):
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [{"messages": chat}] * 4 + [{"messages": [chat[0], {**chat[1], **message}]}]
    source = write(tmp_path / "rows.json", rows)
    text = load_error(settings(source))
    assert f"1 row cannot, the first is row 5 ({reason}" in text
    assert rows_of(source, columns=Columns(ignore=tuple(message))) == {("Hi", "", "Hello")}


@pytest.mark.parametrize(
    "message", [{"weight": 1}, {"weight": None}, {"train": True}, {"tool_calls": []}, {"name": "a"}]
)
def test_what_a_message_says_of_itself_without_changing_it_does_no_harm(tmp_path, message):
    chat = [{"role": "user", "content": "Hi", "weight": 0}, {"role": "assistant", "content": "Hello", **message}]
    assert rows_of(write(tmp_path / "rows.json", [{"messages": chat}] * 5)) == {("Hi", "", "Hello")}


def test_an_input_requested_by_name_stands_beside_a_conversation(tmp_path):
    source = write(tmp_path / "rows.json", [{"conversations": TURN, "context": "Here."}] * 5)
    assert rows_of(source) == {("Hi", "", "Hello")}
    assert rows_of(source, columns=Columns(input="context")) == {("Hi", "Here.", "Hello")}


# The settings


def test_settings_without_these_columns_are_written_as_before():
    data = RunConfig().to_dict()["data"]
    assert data["columns"] == {"instruction": "instruction", "input": "input", "output": "output"}
    assert RunConfig.from_dict({"data": data}).data == DataSettings()
    columns = {"system": "system", "ignore": ["tools"]}
    config = RunConfig.from_dict({"data": {"columns": columns}})
    assert config.data.columns == Columns(system="system", ignore=("tools",))
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ignore": "tools"}, "data.columns.ignore must be a list of texts"),
        ({"ignore": [3]}, "data.columns.ignore must be a list of texts"),
        ({"system": "output"}, "data.columns.output and data.columns.system both name 'output'"),
        ({"ignore": ["input"]}, "data.columns.input and data.columns.ignore both name 'input'"),
        ({"system": 3}, "data.columns.system must be"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(columns, message):
    with pytest.raises(SettingsError) as caught:
        RunConfig.from_dict({"data": {"columns": columns}})
    assert message in str(caught.value)


def test_a_system_prompt_is_never_taken_for_the_question():
    assert propose(["system_prompt", "prompt", "response"]) == Columns("prompt", None, "response", "system_prompt")
    assert propose(["system_prompt", "response"]) is None
