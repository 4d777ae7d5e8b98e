"""Errors at the page's edge: other people's text appears as plain letters in a toast, and one feed's fault stays its
own."""

import gradio as gr
import pytest

from instruct_tune.errors import DataError, StoreError
from instruct_tune.ui import context

HOSTILE = '<img src="//x.example/y" onerror=alert(1)>.json'


def test_a_toast_shows_what_somebody_else_wrote_letter_by_letter(monkeypatch):
    shown = []
    monkeypatch.setattr(gr, "Info", shown.append)
    context.inform(f"Held-out rows of {HOSTILE}.")
    assert shown == ['Held-out rows of &lt;img src="//x.example/y" onerror=alert(1)&gt;.json.']


def refusing():
    raise DataError(f"{HOSTILE} is empty.")


def refusing_later():
    yield "reading"
    raise DataError(f"{HOSTILE} is empty.")


@pytest.mark.parametrize("handler", [refusing, lambda: list(context.user_errors(refusing_later)())])
def test_an_error_quotes_it_as_letters_too(handler):
    with pytest.raises(gr.Error) as caught:
        context.user_errors(handler)()
    assert caught.value.message.startswith("&lt;img src=")


@pytest.mark.parametrize(
    ("variable", "shown"), [("SPACE_ID", "data"), ("LAB_ADMIN_TOKEN", "data"), ("X", "/srv/lab/data")]
)
def test_visitors_read_no_folder_of_the_machine(monkeypatch, variable, shown):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.delenv("LAB_ADMIN_TOKEN", raising=False)
    monkeypatch.setenv(variable, "x")

    def full():
        raise StoreError("The disk with /srv/lab/data is full.")

    with pytest.raises(gr.Error) as caught:
        context.user_errors(full)()
    assert caught.value.message == f"The disk with {shown} is full."


def test_a_fault_of_the_labs_own_is_not_shown_as_a_persons():
    with pytest.raises(ZeroDivisionError):
        context.user_errors(lambda: 1 // 0)()


@pytest.mark.parametrize(("feed", "logged"), [(refusing, 0), (lambda: [1 // 0], 1)])
def test_a_feed_that_cannot_tell_tells_nothing_new(feed, logged, caplog):
    assert context.polled(feed, [], 2) == [gr.skip(), gr.skip()]
    assert len(caplog.records) == logged
