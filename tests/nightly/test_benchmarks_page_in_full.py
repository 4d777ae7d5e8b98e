"""The slow tests of tests/browser/test_benchmarks_page.py, for the nightly run."""

import re

import pytest
from test_benchmarks_page import OPENED, SERVED, few_rows, printed

from benchmarks import opened, page, served


def test_every_line_of_a_served_page_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(served, "REPEAT", 1)
    monkeypatch.setattr(served, "PRESET", "smoke")
    monkeypatch.setattr(served, "WATCHED_SECONDS", 1)
    monkeypatch.setattr(served, "WARM_UP_SECONDS", 1)
    assert printed(SERVED, monkeypatch, capsys) == []


OF_SEVERAL = {
    "page_bytes": r"[\d.]+ MB in \d+ requests",
    "first_content": ", ".join(rf"{tab} [\d.]+ s" for tab in opened.FIRST_CONTENT),
    "poll_bytes": r"[\d.]+ KB and [\d.]+ KB",
    "scrubbing": r"\d+ ms, \d+ ms",
}
"""What the lines with several values print."""


def test_every_line_of_an_opened_page_is_measured(monkeypatch, capsys):
    for name, few in {"REPEAT": 1, "WARM_UP_SECONDS": 5, "WATCHED_SECONDS": 2, "DRAGS": 20}.items():
        monkeypatch.setattr(opened, name, few)
    several = printed(OPENED, monkeypatch, capsys)
    assert len(several) == len(OF_SEVERAL)
    for line, form in zip(several, OF_SEVERAL.values(), strict=True):
        assert re.search(rf" \| {form} \| ", line), line
