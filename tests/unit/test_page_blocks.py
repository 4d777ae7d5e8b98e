"""The page's blocks answer as gradio's do, and no item of a stream is changed by a later one."""

import asyncio
import copy
import threading
import urllib.request

import gradio as gr
import gradio.queueing
import pandas
import pytest
from gradio.queueing import Queue
from gradio_client import Client

from instruct_tune.ui.layout.blocks import PageBlocks
from instruct_tune.ui.layout.polling import hide_progress_on

GIVEN = {
    "nothing new": lambda: [gr.skip(), gr.skip(), gr.skip()],
    "one value": lambda: [gr.skip(), "new", gr.skip()],
    "a component": lambda: [gr.skip(), gr.skip(), gr.Dropdown(choices=["a", "b"], value="b")],
    "a state": lambda: [{"seen": 1}, gr.skip(), gr.skip()],
    "all": lambda: [3, "text", gr.Dropdown(visible=False)],
    "one skip for all": lambda: gr.skip(),
}


def answers(kind: type[gr.Blocks], function) -> list:
    with kind() as page:
        outputs = [gr.State(None), gr.Textbox(), gr.Dropdown(["a"])]
        gr.Button().click(function, None, outputs)
    (handler,) = page.fns.values()
    state = gr.blocks.SessionState(page)

    async def ask() -> list:
        first = await page.process_api(handler, [], state=state)
        again = await page.process_api(handler, [], state=state)
        return [first["data"], again["data"], state[outputs[0]._id]]

    return asyncio.run(ask())


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_it_answers_as_gradio_does(given):
    ours, gradios = answers(PageBlocks, given), answers(gr.Blocks, given)
    for each, other in zip(ours[:2], gradios[:2], strict=True):
        # A browser searches for a state to give it gradio's None, and never uses it.
        assert (each.pop(0), other.pop(0)) in ((gr.skip(), None), (None, None))
    assert ours == gradios


def test_a_wrong_number_of_outputs_is_an_error():
    with pytest.raises(ValueError, match="enough output values"):
        answers(PageBlocks, lambda: [gr.skip()])


def test_an_idle_queue_is_hardly_looked_at(monkeypatch):
    with PageBlocks() as page:
        gr.Button().click(lambda: None)
    queue = page.queue()._queue
    looks, sleep = [], asyncio.sleep
    monkeypatch.setattr(gradio.queueing.asyncio, "sleep", lambda seconds: looks.append(seconds) or sleep(seconds))

    async def idle(seconds: float) -> None:
        tasks = [asyncio.create_task(work()) for work in (queue.start_processing, queue.start_progress_updates)]
        await sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(idle(0.5))
    assert 2 <= len(looks) <= 20


@pytest.mark.parametrize(("kind", "summaries", "kept"), [(PageBlocks, 0, 1), (gr.Blocks, 3, 3)])
def test_its_events_are_not_summarized(kind, summaries, kept, monkeypatch):
    frames = []
    monkeypatch.setattr(Queue, "_get_df", lambda _, records: frames.append(records) or pandas.DataFrame(records))
    with kind() as page:
        gr.Button().click(lambda: None, api_name="nothing")
    page.queue().launch(prevent_thread_lock=True, quiet=True, _frontend=False)
    client = Client(page.local_url, verbose=False)
    for _ in range(3):
        client.predict(api_name="/nothing")
    page.close(verbose=False)
    assert (len(frames), len(page._queue.event_analytics)) == (summaries, kept)


def test_progress_that_is_not_shown_goes_to_one_component():
    with gr.Blocks() as page:
        line, first, second = gr.Markdown(), gr.Textbox(), gr.Textbox()
        button = gr.Button()
        button.click(lambda: ["", ""], None, [first, second], show_progress="hidden")
        button.click(lambda: ["", ""], None, [first, second])
        button.click(lambda: None, None, None, show_progress="hidden")
        hide_progress_on(page, line)
    progress = [(each["show_progress"], each["show_progress_on"]) for each in page.get_config_file()["dependencies"]]
    assert progress == [("hidden", [line._id]), ("full", None), ("hidden", None)]


def test_its_streams_are_ended_on_the_servers_own_thread():
    with PageBlocks() as page:
        gr.Textbox()
    page.launch(prevent_thread_lock=True, quiet=True, _frontend=False)
    threads = []

    class Noted(asyncio.Event):
        def set(self) -> None:
            if not self.is_set():
                threads.append(threading.current_thread())
            super().set()

    page.server_app.stop_event = Noted()
    page.close(verbose=False)
    assert threads == [page.server.thread]


STREAMS = {
    "hidden, then left out": [[gr.Textbox(visible=False), {"a": 1}], [gr.skip(), {"b": 1}]],
    "a growing text": [["Once", [1]], ["Once upon", [1]], ["Once upon a time", gr.skip()]],
    "a table": [[gr.skip(), {"rows": [1, 2, 3]}], [gr.skip(), {"rows": [1]}], ["done", {"rows": [4, 5]}]],
    "nothing, then something": [[gr.skip(), gr.skip()], [gr.Textbox("new", label="New"), {"rows": []}]],
}


def sent(kind: type[gr.Blocks], items: list) -> list[list]:
    """What ``kind`` sends of a stream: the first item, the edits of each further one, and the last item again."""

    def stream():
        yield from items

    with kind() as page:
        gr.Button().click(stream, None, [gr.Textbox(), gr.JSON()])
    (handler,) = page.fns.values()
    state = gr.blocks.SessionState(page)

    async def ask() -> list[list]:
        answers, iterator, generating = [], None, True
        while generating:
            answer = await page.process_api(
                handler, [], state=state, session_hash="window", event_id="event", iterator=iterator
            )
            iterator, generating = answer["iterator"], answer["is_generating"]
            answers.append(copy.deepcopy(answer["data"]))
        return answers

    return asyncio.run(ask())


def edited(item, edits: list):
    """``item`` after ``edits``, as gradio's page makes it (``apply_edit``): in place but for an empty path."""
    for action, path, value in edits:
        if not path:
            item = value if action == "replace" else item + value
            continue
        *to, last = path
        place = item
        for name in to:
            place = place[name]
        if action == "delete":
            del place[last]
        elif action == "add" and isinstance(place, list):
            place.insert(last, value)
        else:
            place[last] = place[last] + value if action == "append" else value
    return item


def drawn(kind: type[gr.Blocks], items: list) -> tuple[list, list]:
    """The stream's items as a page sees them that draws each at once, and as one sees them that draws at the end."""
    first, *later, last = sent(kind, items)
    held, at_once = [first], [copy.deepcopy(first)]
    for edits in later:
        held.append([edited(item, changes) for item, changes in zip(held[-1], edits, strict=True)])
        at_once.append(copy.deepcopy(held[-1]))
    assert last == held[-1]
    return at_once, held


@pytest.mark.parametrize("items", STREAMS.values(), ids=STREAMS)
def test_a_slow_page_draws_every_item_of_a_stream_as_a_fast_one_does(items):
    at_once, at_the_end = drawn(PageBlocks, items)
    assert at_once == at_the_end
    assert at_once == drawn(gr.Blocks, items)[0]


def test_gradio_changes_an_item_that_may_not_be_drawn_yet():
    """The reason why ``PageBlocks`` sends changed values whole."""
    at_once, at_the_end = drawn(gr.Blocks, STREAMS["hidden, then left out"])
    assert at_once[0][0]["visible"] is False
    assert "visible" not in at_the_end[0][0]


def test_a_growing_text_is_sent_as_what_is_added_to_it():
    assert sent(PageBlocks, STREAMS["a growing text"])[1:3] == [
        [[["append", [], " upon"]], []],
        [[["append", [], " a time"]], [["replace", [], {"__type__": "update"}]]],
    ]


def test_a_page_makes_one_server_the_one_that_serves(monkeypatch):
    made = []
    create = gr.routes.App.create_app
    monkeypatch.setattr(
        gr.routes.App, "create_app", staticmethod(lambda *args, **kw: made.append(1) or create(*args, **kw))
    )
    with PageBlocks(analytics_enabled=False) as page:
        gr.Textbox(label="A box")
    page.queue(default_concurrency_limit=3)
    assert made == []
    page.launch(prevent_thread_lock=True, quiet=True, _frontend=False)
    try:
        assert made == [1]
        with urllib.request.urlopen(f"{page.local_url}config", timeout=60) as answer:
            assert "A box" in answer.read().decode()
    finally:
        page.close(verbose=False)
