"""Paging through rows: search, order and page numbers."""

import datasets
import pytest

from instruct_tune.data.paging import ORDERS, Browser
from instruct_tune.errors import DataError

ROWS = [
    {"instruction": "Beta", "input": "", "output": "xxx"},
    {"instruction": "alpha", "input": "Größe 1.5", "output": "x"},
    {"instruction": "Gamma (a+b)*", "input": "", "output": "BETA 😀"},
    {"instruction": "alpha", "input": "", "output": "xx"},
]
PART = datasets.Dataset.from_list(ROWS)


def numbers(search="", order="split", page=1, size=10, part=PART):
    return [number for number, _ in Browser(part).page(search, order, page, size).rows]


@pytest.mark.parametrize(
    ("search", "expected"),
    [("", [1, 2, 3, 4]), ("beta", [1, 3]), ("GRÖßE", [2]), ("größe", [2]), ("(A+B)*", [3]), (".", [2]), ("😀", [3]),
     ("nowhere", []), (" ", [2, 3])],
)  # fmt: skip
def test_search_is_a_substring_of_any_text_in_any_case(search, expected):
    assert numbers(search) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [("split", [1, 2, 3, 4]), ("shortest", [2, 4, 1, 3]), ("longest", [3, 1, 4, 2]), ("instruction", [2, 4, 1, 3])],
)
def test_orders(order, expected):
    assert numbers(order=order) == expected


@pytest.mark.parametrize("order", ORDERS)
def test_rows_keep_their_numbers_and_equals_keep_their_order(order):
    part = datasets.Dataset.from_list(ROWS * 5)
    browser = Browser(part)
    whole = browser.page("a", order, 1, 100)
    assert whole.matches == 20
    for number, row in whole.rows:
        assert row.instruction == ROWS[(number - 1) % 4]["instruction"]
    paged = [each for page in range(1, 8) for each in browser.page("a", order, page, 3).rows]
    assert tuple(paged) == whole.rows
    same = [number for number, row in whole.rows if row.instruction == "alpha" and row.output == "x"]
    assert same == sorted(same)


def test_a_split_that_was_shuffled_is_searched_by_its_own_numbers():
    part = datasets.Dataset.from_list(ROWS * 5).shuffle(seed=1)
    matches = numbers("größe", part=part)
    assert len(matches) == 5
    assert all(part[number - 1]["input"] for number in matches)


@pytest.mark.parametrize(("page", "shown"), [(1, [1, 2, 3]), (2, [4]), (3, [4]), (0, [1, 2, 3]), (-5, [1, 2, 3])])
def test_pages_end_where_the_rows_do(page, shown):
    assert numbers(page=page, size=3) == shown


def test_nothing_found_is_one_empty_page():
    page = Browser(PART).page("nowhere", "split", 3, 10)
    assert (page.rows, page.page, page.pages, page.matches) == ((), 1, 1, 0)


def test_odd_questions_are_refused_in_a_sentence():
    with pytest.raises(DataError, match="cannot be sorted by 'size'"):
        Browser(PART).page("", "size", 1, 10)
    with pytest.raises(DataError, match="at most 200"):
        Browser(PART).page("x" * 201, "split", 1, 10)
