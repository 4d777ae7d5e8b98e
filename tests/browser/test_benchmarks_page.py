"""The page's benchmark runs and measures what its lines name."""

import re

import pytest

from benchmarks import page

SERVED = ["page_start", "report", "first_token", "first_step", "polling"]
"""The lines that need a server, a browser or the real model."""
OPENED = ["page_bytes", "first_content", "poll_bytes", "idle_page", "scrubbing"]
"""The lines that open the page in a browser; each prints several values."""


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(page, "ROWS", 60)
    yield
    page.settings.cache_clear()
    page.splits.cache_clear()


def printed(names, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["page", *names])
    page.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == len(names)
    return [line for line in lines if not re.fullmatch(r"\| .+ \| -?[\d,.]+( \S+|%) \| .+ \|", line)]


def test_every_line_in_this_process_is_measured(monkeypatch, capsys):
    names = [line.__name__ for line in page.LINES if line.__name__ not in {*SERVED, *OPENED}]
    assert printed(names, monkeypatch, capsys) == []


def test_the_rows_are_as_many_as_it_says():
    assert len(page.splits().train) + len(page.splits().test) == 60
