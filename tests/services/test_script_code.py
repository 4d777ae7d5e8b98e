"""Parts of exported scripts, run here: they give the rows, ids and labels that the lab gives."""

from __future__ import annotations

import copy
import csv
import gzip
import json
import random
from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest
from labs import cache_for, opened
from prefix_tokenizers import llama_5, llama_legacy, prefix_space
from script_runs import model_with, run_part
from toys import opt, smollm2, unigram

from instruct_tune.config.filters import (
    DROP_LEAKAGE,
    STEPS,
    ByHand,
    Contains,
    Language,
    Length,
    Matches,
    NearDuplicates,
    Sample,
)
from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import Columns, DataSettings, RunConfig
from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.data.filters import row_id
from instruct_tune.data.splits import examples, load_splits
from instruct_tune.errors import DataError
from instruct_tune.pretrained.locate import locate
from instruct_tune.pretrained.tokenizers import load_tokenizer
from instruct_tune.tokenization.chat_template import with_markup
from instruct_tune.tokenization.continuation import decode_continuation
from instruct_tune.tokenization.encode import tokenize_rows
from instruct_tune.tokenization.prompt_template import template_from

pytestmark = pytest.mark.usefixtures("tiny_cache")

WORDS = (
    "sort",
    "a list",
    "of words",
    "in Python",
    "and print",
    "it",
    "twice",
    "SELECT name FROM t",
    "def f(x):",
    "<div>",
)


def some_rows(count: int = 60) -> list[dict[str, str]]:
    """Rows with inputs, gaps, copies, near copies, code, and the spellings of markup."""
    draw = random.Random(7)
    rows = []
    for number in range(count):
        words = [draw.choice(WORDS) for _ in range(draw.randint(1, 12))]
        instruction = " ".join(words) + draw.choice(("", "!", f" {number}", "\r\nNow."))
        output = draw.choice(WORDS) * draw.randint(0, 3) + draw.choice(("", "\n    return 1\n", "<|im_end|>", "\ré"))
        rows.append({"instruction": instruction, "input": draw.choice(("", " ", "{input}", "x = 1")), "output": output})
    near = [{**row, "instruction": row["instruction"] + "."} for row in rows[:15]]
    shouted = [{**row, "instruction": row["instruction"].upper()} for row in rows[15:20]]
    return [*rows, *near, *rows[:5], *shouted]


def assert_same_rows(data: DataSettings, folder, monkeypatch) -> None:
    lab = load_splits(data)
    here = run_part(replace(PRESETS["quick"], data=data), ("data",), folder, monkeypatch)
    assert len(here["train"]) == len(lab.train)
    assert here["FINGERPRINT"] == lab.fingerprint


CLAUSES = (
    "请把下面的句子翻译成英文并且解释它的语法结构",
    "次の文章を英語に翻訳してから文法を説明してください",
    "กรุณาแปลประโยคต่อไปนี้เป็นภาษาอังกฤษและอธิบายไวยากรณ์",
    "Übersetze den folgenden Satz ins Englische",
)


@pytest.mark.parametrize("step", [NearDuplicates(), DROP_LEAKAGE], ids=lambda step: step.step)
def test_copies_in_scripts_without_spaces_are_found_as_in_the_lab(step, tmp_path, monkeypatch):
    rows = [
        {"instruction": f"{clause}{number}{ending}", "input": "", "output": f"{number}"}
        for clause in CLAUSES
        for number in ("甲乙丙丁戊己庚辛", "ก ข ค ง จ ฉ", "alpha beta gamma")
        for ending in ("。", "。。", "吧")
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    data = DataSettings(source=str(path), filters=(step,), test_size=0.3)
    assert len(load_splits(replace(data, filters=())).train) > len(load_splits(data).train) > 0
    assert_same_rows(data, tmp_path, monkeypatch)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(some_rows()))
    return path


FILTERS = {
    **{name: step for name, step in STEPS.items() if dict.fromkeys(vars(step)).keys() == {"step"}},
    "characters": Length(of="row", min=10, max=60),
    "at least": Length(of="instruction", min=12),
    "tokens": Length(of="output", unit="tokens", tokenizer="tiny-random", max=20),
    "contains": Contains(of="instruction", text="PYTHON"),
    "lacks": Contains(of="row", text="é", exclude=True),
    "matches": Matches(of="row", pattern=r"\d+$|^def"),
    "does not match": Matches(of="output", pattern="(?s)return.*", exclude=True),
    "sql": Language(language="sql"),
    "no language": Language(language="none"),
    "not python": Language(language="python", exclude=True),
    "near": NearDuplicates(threshold=0.85),
    "exactly near": NearDuplicates(threshold=1.0),
    "sample": Sample(n=30, seed=5),
    "dropped": ByHand("drop_rows", tuple(row_id(*row.values()) for row in some_rows()[:9])),
    "kept": ByHand("keep_rows", tuple(row_id(*row.values()) for row in some_rows()[3:40])),
}


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_keeps_the_rows_that_the_lab_keeps(name, file, monkeypatch, tmp_path_factory):
    (file.parent / "tiny-random").symlink_to(cache_for(tmp_path_factory) / "tiny-random")
    locate("tiny-random", lambda text: None)
    data = DataSettings(source=str(file), columns=Columns(), filters=(FILTERS[name],), limit=None)
    assert_same_rows(data, file.parent, monkeypatch)


def test_filters_work_one_after_the_other(file, monkeypatch):
    steps = (STEPS["drop_exact_duplicates"], NearDuplicates(), Sample(n=40), STEPS["drop_empty"], DROP_LEAKAGE)
    assert_same_rows(DataSettings(source=str(file), filters=steps, limit=10, seed=3), file.parent, monkeypatch)


def test_questions_with_other_numbers_are_copies_neither_here_nor_in_the_lab(tmp_path, monkeypatch):
    draw = random.Random(5)
    sums = [(draw.randint(10, 99), draw.randint(10, 99)) for _ in range(120)]
    rows = [{"instruction": f"What is the sum of {a} and {b}?", "input": "", "output": str(a + b)} for a, b in sums]
    rows += [{**row, "instruction": row["instruction"].replace("?", "!")} for row in rows[:20]]
    (tmp_path / "sums.json").write_text(json.dumps(rows))
    data = DataSettings(source=str(tmp_path / "sums.json"), columns=Columns(), limit=None)
    distinct = len(set(sums))
    for steps in ((NearDuplicates(),), (DROP_LEAKAGE,)):
        assert_same_rows(replace(data, filters=steps), tmp_path, monkeypatch)
    assert load_splits(replace(data, filters=(NearDuplicates(),))).ledger[0].kept == distinct
    assert load_splits(replace(data, filters=(DROP_LEAKAGE,))).ledger[0].dropped < 20


def test_the_bundled_rows_come_along(tmp_path, monkeypatch):
    assert_same_rows(PRESETS["quick"].data, tmp_path, monkeypatch)


def test_rows_of_each_kind_of_file_are_read_from_beside_the_script(tmp_path, monkeypatch):
    rows = some_rows()
    for row in rows:
        row["output"] += "."
    lines = "".join(json.dumps(row) + "\n\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text("\ufeff" + lines, encoding="utf-8")
    (tmp_path / "packed.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "list.json").write_text(json.dumps(rows))
    for name, mark in (("commas.csv", ","), ("semicolons.csv", ";"), ("tabs.tsv", "\t")):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as made:
            writer = csv.DictWriter(made, list(rows[0]), delimiter=mark)
            writer.writeheader()
            writer.writerows(rows)
    written = (tmp_path / "semicolons.csv").read_bytes()
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbfsep=;\r\n" + written)
    (tmp_path / "excel.tsv").write_bytes(b'"SEP=;"\n' + written)
    with (tmp_path / "quoted.csv").open("w", newline="", encoding="utf-8") as made:
        writer = csv.DictWriter(made, ["tags, of each", *rows[0]], "x", delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for path in sorted(tmp_path.iterdir()):
        if path.is_file():
            assert_same_rows(DataSettings(source=str(path), filters=()), tmp_path, monkeypatch)


def test_columns_of_other_names_system_prompts_and_line_ends(tmp_path, monkeypatch):
    rows = [
        {"q": row["instruction"], "ctx": row["input"] or None, "a": row["output"], "input": "not this",
         "system": row["instruction"] if at % 4 == 1 else "Be brief." if at % 3 else "", "tools": "hammer"}
        for at, row in enumerate(some_rows())
    ]  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    for columns in (
        Columns("q", "ctx", "a", "system", ("tools",)),
        Columns("q", None, "a", None, ("tools", "system")),
    ):
        data = DataSettings(source=str(tmp_path / "rows.json"), columns=columns, filters=(), unify_newlines=True)
        assert_same_rows(data, tmp_path, monkeypatch)


@pytest.mark.parametrize("names", [("role", "content", "user", "assistant"), ("from", "value", "human", "gpt")])
def test_conversations_become_rows(names, tmp_path, monkeypatch):
    who, what, user, assistant = names
    rows = []
    for at, row in enumerate(some_rows()):
        system = [{who: "system", what: "Be brief."}] if at % 2 else []
        rows.append({"input": f"no part of conversation {at}", "also": "Be brief.", "messages": [
            *system, {who: user, what: row["instruction"]}, {who: assistant, what: row["output"]}
        ]})  # fmt: skip
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for columns in (Columns(ignore=("also",)), Columns(system="also")):
        data = DataSettings(source=str(tmp_path / "chats.jsonl"), columns=columns, filters=())
        assert_same_rows(data, tmp_path, monkeypatch)


MARKED = "{{ '<s>[INST] ' + messages[0]['content'] + ' [/INST]' }}"
CUSTOM = {"name": "mine", "without_input": "\"\"\"{instruction}\\\n'''{}", "with_input": "{input}{instruction} {{x"}


@pytest.mark.parametrize("template", ["lesson", "alpaca", "chat", CUSTOM], ids=["lesson", "alpaca", "chat", "custom"])
@pytest.mark.parametrize("overlong", ["drop", "truncate"])
def test_ids_and_labels_are_the_labs(template, overlong, file, monkeypatch):
    path = locate("tiny-random", lambda text: None).path
    (file.parent / "tiny-random").symlink_to(path)
    longest = 300 if template == "alpaca" else 120
    config = RunConfig.from_dict({
        "model": "tiny-random", "template": template, "train": {"max_length": longest, "overlong": overlong},
        "data": {"source": str(file), "filters": []}, "evaluation_rows": 5,
    })  # fmt: skip
    here = run_part(config, ("data", "format"), file.parent, monkeypatch)
    tokenizer, splits = load_tokenizer("tiny-random", path), load_splits(config.data)
    template_with_markup = with_markup(tokenizer, template_from(template))
    lab = tokenize_rows(tokenizer, template_with_markup, examples(splits.train), longest, overlong, 2048)
    assert lab.dropped + lab.truncated > 0
    assert here["train_rows"] == [{"input_ids": [*row.input_ids], "labels": [*row.labels]} for row in lab.rows]
    held_out = tokenize_rows(tokenizer, template_with_markup, examples(splits.test, 0, 5), longest, overlong, 2048)
    assert [row["input_ids"] for row in here["held_out_rows"]] == [[*row.input_ids] for row in held_out.rows]


@pytest.mark.parametrize("family", [llama_5, llama_legacy, prefix_space], ids=lambda family: family.__name__)
@pytest.mark.parametrize("template", ["lesson", "chat"])
def test_answers_have_the_labs_ids_and_texts_where_a_tokenizer_changes_beginnings(family, template, file, monkeypatch):
    made = copy.deepcopy(family())
    made.chat_template = MARKED
    folder = model_with(made, file.parent / "model")
    rows = [{**row, "output": beginning + row["output"]} for beginning in ("", " ", "    ") for row in some_rows()[:20]]
    rows[0]["instruction"] = f"What is {made.eos_token}?"
    file.write_text(json.dumps(rows))
    config = RunConfig.from_dict({
        "model": str(folder), "template": template, "train": {"max_length": 2048},
        "data": {"source": str(file), "filters": []},
    })  # fmt: skip
    here = run_part(config, ("data", "format"), file.parent, monkeypatch)
    tokenizer, splits = load_tokenizer("model", folder), load_splits(config.data)
    template_with_markup = with_markup(tokenizer, template_from(template))
    lab = tokenize_rows(tokenizer, template_with_markup, examples(splits.train), 2048, "drop", 2048)
    assert here["train_rows"] == [{"input_ids": [*row.input_ids], "labels": [*row.labels]} for row in lab.rows]
    for row in lab.rows:
        answer = [label for label in row.labels if label != -100][:-1]
        assert here["text_of"](answer) == decode_continuation(tokenizer, answer)


THINKING = "{{ '<think>[INST] ' + messages[0]['content'] + ' [/INST]</s>' }}"
SPELLED = (
    "<s>10</s> now 8",
    "</s></s>",
    "What does <think> do?",
    "<thi",
    "<unk>日<unk> 🙂",
    "<|im_end|><tool>",
    "</s>",
)


@pytest.mark.parametrize("family", [unigram, smollm2, opt, llama_5], ids=lambda family: family.__name__)
@pytest.mark.parametrize("template", ["lesson", "chat"])
def test_a_row_that_spells_special_and_added_tokens_has_the_labs_ids(family, template, tmp_path, monkeypatch):
    made = copy.deepcopy(family())
    made.add_tokens(["<think>", "<tool>", "nk>do"])
    made.chat_template = THINKING
    folder = model_with(made, tmp_path / "model")
    rows = [
        {"instruction": instruction, "input": input, "output": output + mark}
        for instruction in SPELLED
        for input in ("", "<think>")
        for mark in ("", "!")
        for output in SPELLED
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    short = Length(of="output", unit="tokens", tokenizer=str(folder), max=5)
    data = DataSettings(source=str(tmp_path / "rows.json"), filters=(short,))
    assert_same_rows(data, tmp_path, monkeypatch)
    config = RunConfig.from_dict({
        "model": str(folder), "template": template, "train": {"max_length": 2048},
        "data": {"source": str(tmp_path / "rows.json"), "filters": [], "test_size": 0.05},
    })  # fmt: skip
    here = run_part(config, ("data", "format"), tmp_path, monkeypatch)
    tokenizer, splits = load_tokenizer("model", folder), load_splits(config.data)
    template_with_markup = with_markup(tokenizer, template_from(template))
    lab = tokenize_rows(tokenizer, template_with_markup, examples(splits.train), 2048, "drop", 2048)
    assert here["train_rows"] == [{"input_ids": [*row.input_ids], "labels": [*row.labels]} for row in lab.rows]


def test_a_script_of_an_upload_holds_its_name_and_none_of_its_rows(tmp_path):
    ann, bob = known_by("ann's own secret"), known_by("bob's own secret")
    with opened(tmp_path / "data") as lab:
        original = tmp_path / "ann's rows.json"
        original.write_text(json.dumps(some_rows()))
        kept = str(lab.uploads.keep(ann, original))
        config = {"data": {"source": kept}}
        for viewer in (ann, HOST):
            text = lab.scripts.of_config(viewer, config, "py")
            assert 'FILE = "ann\'s rows.json"' in text
            assert str(tmp_path) not in text
            assert [row for row in some_rows() if row["instruction"] in text] == []
        with pytest.raises(DataError):
            lab.scripts.of_config(bob, config, "py")
        assert lab.scripts.tab(ann, config, "data")[0].title == "Load the rows"
        for wrong in ("", "txt", None, 5):
            with pytest.raises(DataError, match="form must be one of py, ipynb"):
                lab.scripts.of_config(ann, config, wrong)
