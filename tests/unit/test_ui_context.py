"""Errors at the page's edge: other people's text appears as plain letters in a toast, and one feed's fault stays its
own."""

import asyncio

import gradio as gr
import pytest

from instruct_tune.errors import DataError, SettingsError, StoreError
from instruct_tune.ui import context, setting_labels
from instruct_tune.ui.layout.blocks import PageBlocks

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


def steps(handler, **options):
    """Each step of ``handler`` as the page runs it."""
    with PageBlocks() as page:
        gr.Button().click(handler, None, gr.Textbox(), **options)
    (event,) = page.fns.values()

    async def run():
        result = await page.call_function(event, [])
        while result["is_generating"]:
            result = await page.call_function(event, [], result["iterator"])

    return run()


@pytest.mark.parametrize("handler", [refusing, refusing_later])
def test_an_error_quotes_it_as_letters_too_at_once_and_in_a_stream(handler):
    with pytest.raises(gr.Error) as caught:
        asyncio.run(steps(handler))
    assert caught.value.message.startswith("&lt;img src=")


def test_a_setting_has_its_label_on_the_page_and_its_name_in_a_script(monkeypatch):
    monkeypatch.setitem(setting_labels._LABELS, "train.learning_rate", ("Learning rate", ""))

    def too_high():
        raise SettingsError(["train.learning_rate must be at most 1"])

    messages = []
    for options in (context.PRIVATE, {}):
        with pytest.raises(gr.Error) as caught:
            asyncio.run(steps(too_high, **options))
        messages.append(caught.value.message)
    assert messages == ["\u201cLearning rate\u201d must be at most 1.", "train.learning_rate must be at most 1."]


@pytest.mark.parametrize(
    ("variable", "shown"), [("SPACE_ID", "data"), ("LAB_ADMIN_TOKEN", "data"), ("X", "/srv/lab/data")]
)
def test_visitors_read_no_folder_of_the_machine(monkeypatch, variable, shown):
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.delenv("LAB_ADMIN_TOKEN", raising=False)
    monkeypatch.setenv(variable, "x")

    error = context.toast(StoreError("The disk with /srv/lab/data is full."), in_words_of_form=True)
    assert error.message == f"The disk with {shown} is full."


def test_a_fault_of_the_labs_own_is_not_shown_as_a_persons():
    with pytest.raises(ZeroDivisionError):
        asyncio.run(steps(lambda: 1 // 0))


@pytest.mark.parametrize(("feed", "logged"), [(refusing, 0), (lambda: [1 // 0], 1)])
def test_a_feed_that_cannot_tell_tells_nothing_new(feed, logged, caplog):
    assert context.polled(feed, [], 2) == [gr.skip(), gr.skip()]
    assert len(caplog.records) == logged
