"""The page's benchmark runs, and measures what its lines say."""

import re

import pytest

from benchmarks import page


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(page, "ROWS", 60)
    yield
    page.settings.cache_clear()
    page.splits.cache_clear()


def test_every_line_is_measured(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["page"])
    page.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == len(page.LINES)
    assert all(re.fullmatch(r"\| .+ \| [\d,.]+ \S+ \| .+ \|", line) for line in lines), lines


def test_the_rows_are_as_many_as_it_says():
    assert len(page.splits().train) + len(page.splits().test) == 60
