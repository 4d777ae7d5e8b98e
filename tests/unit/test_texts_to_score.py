"""Files of texts to score are read as they were written, or refused with a message that names the line."""

from __future__ import annotations

import json

import pytest

from instruct_tune.errors import DataError
from instruct_tune.evaluation.bleu import read_texts


def test_texts_come_back_as_they_were_written(tmp_path):
    # Text that a line-based reader loses: line breaks, Unicode's own line separator, edges, nothing.
    texts = ["a\nb\r\n", "one\u2028two\x85three", " spaced ", "", 'say "héllo"', "\ttab\x1c"]
    for ensure_ascii in (True, False):
        path = tmp_path / f"{ensure_ascii}.jsonl"
        path.write_text("".join(json.dumps(t, ensure_ascii=ensure_ascii) + "\n" for t in texts), encoding="utf-8")
        assert read_texts(path) == texts


@pytest.mark.parametrize("content", [b'"a"\n"b"', b'"a"\r\n"b"\r\n', b'\xef\xbb\xbf"a"\n"b"\n\n'])
def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path, content):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(content)
    assert read_texts(path) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{path} is empty: it should have one JSON string a line."),
        (b"\n \n", "{path} is empty: it should have one JSON string a line."),
        (b'"a"\nplain text\n', "Line 2 of {path} is not JSON: each line should be one JSON string."),
        (b'"a"\n\n"b"\n', "Line 2 of {path} is not JSON: each line should be one JSON string."),
        (b'"a" "b"\n', "Line 1 of {path} is not JSON: each line should be one JSON string."),
        (
            b'"a"\n"b"\n{"text": "c"}\n',
            "Line 3 of {path} is not a JSON string: each line should be one text in quotes.",
        ),
        (b'["a", "b"]\n', "Line 1 of {path} is not a JSON string: each line should be one text in quotes."),
        (b"null\n", "Line 1 of {path} is not a JSON string: each line should be one text in quotes."),
        (b'"\xff\xfe"\n', "{path} is not UTF-8 text (byte 2 is the first that is wrong): save it as UTF-8."),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, content, message):
    path = tmp_path / "texts.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_texts(path)
    assert str(caught.value) == message.format(path=path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError) as caught:
        read_texts(tmp_path / "nowhere.jsonl")
    assert str(caught.value) == (
        f"{tmp_path / 'nowhere.jsonl'} cannot be read (No such file or directory): check the path and who may read it."
    )
    with pytest.raises(DataError, match="Is a directory"):
        read_texts(tmp_path)
