"""The slow tests of tests/browser/test_benchmarks_page.py, for the nightly run."""

import re

import pytest
from test_benchmarks_page import SERVED, few_rows, printed

from benchmarks import page, served


def test_every_line_of_a_served_page_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(served, "REPEAT", 1)
    monkeypatch.setattr(served, "PRESET", "smoke")
    monkeypatch.setattr(served, "WATCHED_SECONDS", 1)
    monkeypatch.setattr(served, "WARM_UP_SECONDS", 1)
    assert printed(SERVED, monkeypatch, capsys) == []
