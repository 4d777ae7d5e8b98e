"""Pages that only watch poll less often the more of them there are."""

import pytest

from instruct_tune.ui.layout.polling import GONE_AFTER, IDLE, POLLS_PER_SECOND, STEPS, USUAL, Pace


@pytest.mark.parametrize("pages", [1, 2, 3, 5, 20, 49, 500])
def test_watchers_together_ask_a_few_times_a_second(pages):
    pace = Pace()
    for page in range(pages):
        seconds = pace.seconds(f"page {page}", watching=True, now=0.0)
    assert seconds in STEPS
    assert pages / seconds <= POLLS_PER_SECOND or seconds == STEPS[-1]
    assert seconds == USUAL or pages > POLLS_PER_SECOND


def test_whom_the_lab_works_for_polls_every_second():
    pace = Pace()
    for page in range(50):
        pace.seconds(f"page {page}", watching=True, now=0.0)
    assert pace.seconds("the owner", watching=False, now=0.0) == USUAL
    assert pace.seconds("page 1", watching=True, now=1.0) > USUAL


def test_pages_that_were_closed_count_no_more():
    pace = Pace()
    for page in range(50):
        pace.seconds(f"page {page}", watching=True, now=0.0)
    assert pace.seconds("who stays", watching=True, now=GONE_AFTER + 1) == USUAL


def test_an_idle_lab_is_polled_less_often_and_one_at_work_is_not():
    pace = Pace()
    assert pace.seconds("a page", watching=False, idle=True) == IDLE > USUAL
    assert pace.seconds("a page", watching=False, idle=False) == USUAL
