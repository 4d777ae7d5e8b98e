"""One JSON reader: datasets, prompts, configurations, ledgers, scores and imported runs accept the same texts."""

import io
import json

import pytest

from instruct_tune.data import json_text, ledger
from instruct_tune.errors import DataError
from instruct_tune.evaluation.bleu import read_texts
from instruct_tune.export import import_run
from instruct_tune.runs.examples import _lines

# Characters at which str.splitlines splits, although they may occur inside a JSON text.
BREAKS = "a\u2028b\u2029c\x85d"
MARK = "\ufeff"


def test_lines_end_where_a_new_line_begins_alone():
    rows = [{"instruction": BREAKS}, {"instruction": "b"}]
    content = MARK + "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert json_text.values(content.encode(), "rows") == rows
    assert json_text.values((MARK + json.dumps(rows, indent=1, ensure_ascii=False)).encode(), "rows") == rows
    assert json_text.values(b"\xef\xbb\xbf\n", "rows") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": 1, "b": 2, "a": 3}', "rows has the key a twice in one object at line 2"),
        (b'[{"a": 1}, {"b": {"c": 1, "c": 1}}]', "rows has the key c twice in one object: keep"),
        (b'{"a": 1}\n\n{"a', "rows is not valid JSON at line 3"),
        (b"[1,\n2,\n", "rows is not valid JSON at line 3"),
        (b'{"a": 1}\n"\xff"', "rows is not UTF-8 text (byte 11 is the first that is wrong)"),
        ('{"a": 1}'.encode("utf-16"), "looks like UTF-16"),
        (b'{"a": ' + b"[" * 100_000, "lists too deep"),
        (b"1" * 5000, "a number too long"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(content, message):
    with pytest.raises(DataError) as caught:
        json_text.values(content, "rows")
    assert message in str(caught.value)


def test_texts_to_be_scored_say_where_too(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text(MARK + json.dumps(BREAKS, ensure_ascii=False) + "\r\n" + '"b"\r\n', encoding="utf-8")
    assert read_texts(file) == [BREAKS, "b"]
    for wrong in ("[" * 100_000, "1" * 5000):
        file.write_text('"a"\n' + wrong)
        with pytest.raises(DataError, match="Line 2 of"):
            read_texts(file)


def test_a_ledger_may_have_a_byte_order_mark_and_a_broken_one_says_where(tmp_path):
    file = tmp_path / "ledger.json"
    data = {"source": "bundled", "filters": [{"step": "contains", "text": BREAKS}]}
    file.write_text(MARK + json.dumps({"data": data, "fingerprint": "f"}, ensure_ascii=False), encoding="utf-8")
    assert ledger.read(file).data == data
    file.write_text('{"data":\n{"a" 1}}')
    with pytest.raises(DataError, match=r"ledger.json is not valid JSON at line 2 .*: mend it, or give one"):
        ledger.read(file)


@pytest.mark.parametrize("mark", ["", MARK])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\n\r\n"])
def test_the_texts_of_a_zip_may_be_edited_anywhere(mark, end):
    metric = {"kind": "eval", "step": 1, "epoch": 1.0, "time": 1.0, "eval_loss": 2.0}
    metrics = [metric, {**metric, "step": 2}]
    content = mark + "".join(json.dumps(each) + end for each in metrics)
    assert import_run._metrics(content.encode()) == metrics
    note = {"peft_type": "LORA", "note": BREAKS}
    content = mark + json.dumps(note, indent=1, ensure_ascii=False)
    assert import_run._object(content.encode(), "adapter_config.json") == note
    with pytest.raises(DataError, match=r"metrics.jsonl in the zip is not valid JSON at line 2"):
        import_run._metrics((mark + json.dumps(metric) + "\n{").encode())


def test_recorded_runs_are_read_alike(tmp_path):
    (tmp_path / "samples.jsonl").write_text(json.dumps({"text": BREAKS}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert _lines(tmp_path / "samples.jsonl") == [{"text": BREAKS}]


def test_looking_at_the_beginning_leaves_the_file_there():
    file = io.BytesIO(f"{MARK} \n[1]".encode())
    assert json_text.begins_a_list(file)
    assert file.tell() == 0
