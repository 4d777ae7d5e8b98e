"""Files named on the command line are read with the same tolerance as a dataset."""

import json

from commands import _folders, answer_of, refused, run
from data_files import make_rows

BREAKS = "a\u2028b\u2029c\x85d"
MARK = "\ufeff"


def test_prompts_may_hold_any_separator_and_stand_in_a_list(answer_of, tmp_path):
    file, texts = tmp_path / "prompts.jsonl", []
    rows = [{"instruction": BREAKS, "input": BREAKS}, {"instruction": "b"}]
    for content in ("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), json.dumps(rows)):
        file.write_text(MARK + content, encoding="utf-8")
        texts.append(answer_of("generate", "--run", "base", "--preset", "smoke", "--prompts", file)["texts"])
    assert len(texts[0]) == 2
    assert texts[0] == texts[1]


def test_a_configuration_may_have_a_byte_order_mark(answer_of, refused, tmp_path):
    rows, file = tmp_path / "rows.json", tmp_path / "config.json"
    rows.write_text(json.dumps(make_rows(10)))
    data = {"source": str(rows), "filters": [{"step": "contains", "text": BREAKS, "exclude": True}]}
    file.write_text(MARK + json.dumps({"data": data}, ensure_ascii=False), encoding="utf-8")
    assert answer_of("data", "--config", file)["rows_loaded"] == 10
    file.write_text('{"data":\n{"source" 1}}')
    assert f"--config {file} is not valid JSON at line 2" in refused("data", "--config", file)
    file.write_text("[" * 100_000)
    assert "lists too deep" in refused("data", "--config", file)
    assert "cannot be read (No such file" in refused("data", "--config", tmp_path / "none.json")
