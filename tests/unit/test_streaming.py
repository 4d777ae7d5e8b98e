"""How often growing text is sent, whose decoding a Stop ends, and which of several rows is shown."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import gradio as gr
import pytest

from instruct_tune.config.run_config import RunConfig
from instruct_tune.errors import ModelError, Stopped
from instruct_tune.services.answer_stream import AnswerStream
from instruct_tune.ui import streaming
from instruct_tune.ui.compare.decoding import as_json
from instruct_tune.ui.compare.tab import CompareTab
from instruct_tune.ui.compare.text import answer_details, decoding, state_sentence
from instruct_tune.ui.streaming import Newest, Turns, at_most

GREEDY = {"max_new_tokens": 96, "max_length": None, "num_beams": 1, "do_sample": False}


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets by hand."""
    now = [100.0]
    monkeypatch.setattr(streaming.time, "monotonic", lambda: now[0])
    return now


def test_texts_that_come_too_fast_are_left_out_but_never_the_last(clock):
    def updates():
        for step in range(30):
            clock[0] += 0.01
            yield {"base": "x" * step, "done": step == 29}

    sent = list(at_most(updates(), seconds=0.1))
    assert [len(texts["base"]) for texts in sent] == [0, 10, 20, 29]
    assert sent[-1]["done"]


def test_every_message_is_sent(clock):
    messages = [{"message": word, "done": False} for word in ("waiting", "loading", "reading")]
    assert list(at_most(messages, seconds=100)) == messages


def test_of_a_windows_requests_only_the_newest_counts():
    newest = Newest()
    with newest.of("a") as first, newest.of("b") as of_another:
        assert first()
        with newest.of("a") as second:
            assert (first(), second(), of_another()) == (False, True, True)
        assert not first(), "a later one was shown meanwhile"
        assert of_another()
    with newest.of("a") as third:
        newest.drop("a")
        assert (third(), newest.is_under_way("a")) == (False, False), "somebody typed meanwhile"
    assert newest._begun == {}


def test_a_window_stops_its_own_decoding_only():
    turns = Turns()
    with turns.of("mine") as mine, turns.of("yours") as yours:
        turns.stop("mine")
        assert (mine.is_set(), yours.is_set()) == (True, False)
        turns.stop("nobody's")


@pytest.mark.slow
def test_what_was_stopped_may_still_be_shown_but_not_what_was_dropped():
    turns = Turns()
    with turns.of("mine") as stop:
        turns.stop("mine")
        assert turns.holds("mine", stop)
        turns.drop("mine")
        assert not turns.holds("mine", stop)
    turns.drop("mine")


@pytest.mark.slow
def test_asking_again_ends_the_question_before():
    turns = Turns()
    with turns.of("mine") as first:
        with turns.of("mine") as second:
            assert (first.is_set(), second.is_set()) == (True, False)
        with turns.of("mine") as third:
            assert not third.is_set()
    assert third.is_set()


def test_a_stop_while_waiting_for_a_turn_waits_no_longer():
    future: Future[None] = Future()  # a job that the queue has not started
    stream = AnswerStream(threading.Event())
    stream.message("Waiting…")
    answers = stream.follow(future)
    assert next(answers)["message"] == "Waiting…"
    stream.stop.set()
    assert next(answers)["stopped"]
    assert future.cancelled()
    assert list(answers) == []


def test_a_stop_keeps_the_texts_and_an_error_is_raised():
    for error, expected in ((Stopped(), {"stopped": True}), (ModelError("gone"), None)):
        future: Future[None] = Future()
        stream = AnswerStream()
        stream._news.put({"base": "one", "tuned": "two", "seconds": 1.0})
        answers = stream.follow(future)
        assert next(answers)["tuned"] == "two"
        future.set_running_or_notify_cancel()
        future.set_exception(error)
        if expected:
            (last,) = answers
            assert (last["base"], last["tuned"], last["stopped"], last["done"]) == ("one", "two", True, True)
        else:
            with pytest.raises(ModelError, match="gone"):
                next(answers)


def test_details_of_an_answer():
    done = {"base": "a", "tuned": "b", "done": True}
    done |= {"base_tokens": 62, "base_seconds": 3.14, "base_ended": True}
    done |= {"tuned_tokens": 1, "tuned_seconds": 0.2, "tuned_ended": False}
    assert answer_details(done, "base") == "62 tokens in 3.1 s, ended by itself"
    assert answer_details(done, "tuned") == "1 token in 0.2 s, **cut at the token limit**"
    assert answer_details({**done, "base": " \n"}, "base").startswith("Nothing to see")
    assert answer_details({"base": "", "tuned": "", "done": False}, "base") == ""
    assert answer_details({"base": "x", "tuned": "", "done": False, "seconds": 2}, "base") == "2.0 s…"
    stopped = {"base": "x", "tuned": "", "done": True, "stopped": True}
    assert answer_details(stopped, "base") == "Stopped; what is there is kept."
    assert answer_details(stopped, "tuned") == "Stopped before the first token."


def test_the_state_says_what_it_was_decoded_with():
    done = {"base": "a", "tuned": "b", "done": True}
    assert state_sentence(done, GREEDY) == "Done. Greedy decoding, at most 96 new tokens."
    assert "Base and tuned say the same." in state_sentence({**done, "tuned": "a"}, GREEDY)
    waiting = {"base": "", "tuned": "", "done": False, "message": "Loading…"}
    assert state_sentence(waiting, GREEDY) == "Loading…"
    assert state_sentence({**waiting, "base": "x"}, GREEDY).startswith("Answering…")
    assert decoding({**GREEDY, "num_beams": 5}) == "Beam search with 5 beams, at most 96 new tokens."
    assert decoding({**GREEDY, "max_length": 50}) == "Greedy decoding, at most 50 tokens with the prompt."
    sampled = {**GREEDY, "do_sample": True, "temperature": 0.8, "top_p": 0.95, "seed": 7}
    assert decoding(sampled) == "Sampling at temperature 0.8, top-p 0.95, seed 7, at most 96 new tokens."


@pytest.mark.parametrize(("strength", "expected"), [(1, ""), (0, "Adapter off"), (0.5, "Adapter at 0.5 times")])
def test_another_strength_is_shown(strength, expected):
    text = state_sentence({"base": "a", "tuned": "b", "done": True}, GREEDY, strength)
    assert expected in text
    assert ("Adapter" in text) == bool(expected)


@pytest.mark.parametrize(
    ("way", "wanted"),
    [
        ("greedy", {}),
        ("beams", {"num_beams": 5, "early_stopping": True}),
        ("sampling", {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "seed": 7}),
    ],
)
def test_the_settings_to_copy_are_what_the_answers_are_made_with(way, wanted):
    settings = json.loads(as_json(way, 96, 5, 0.8, 0.95, 7.0, "", 0.5))
    assert settings == {"generation": GREEDY | wanted, "adapter_strength": 0.5}
    RunConfig.from_dict({"generation": settings["generation"]})


def test_stop_texts_are_written_one_a_line():
    settings = json.loads(as_json("greedy", 96, 5, 0.8, 0.95, 7.0, "###\n\n\\n\\nQ:", 1.0))["generation"]
    assert settings["stop"] == ["###", "\n\nQ:"]
    assert RunConfig.from_dict({"generation": settings}).generation.stop == ("###", "\n\nQ:")
    assert decoding(settings).startswith("Greedy decoding, at most 96 new tokens, cut before")
    assert "###" in decoding(settings).replace("\\", "")


def test_one_who_did_not_answer_has_no_details():
    assert answer_details({"base": "a", "tuned": "b", "done": True}, "third") == ""


def test_a_row_that_comes_late_is_not_shown_and_leaves_the_button_to_ask():
    page = SimpleNamespace(rows_shown=Newest(), ask="ask", _row_outputs=["text", "ask"])
    window, skipped = SimpleNamespace(session_hash="a"), gr.skip()

    def row(meanwhile):
        def handler(run_id, source, number):
            meanwhile()
            return [f"row {number}", "ready"]

        return CompareTab._newest(page, handler)

    def click_on():
        later.append(row(lambda: None)("run", "held out", 2, window))

    later = []
    assert row(lambda: None)("run", "held out", 1, window) == ["row 1", "ready"]
    text, _ = row(click_on)("run", "held out", 1, window)
    assert (text, later) == (skipped, [["row 2", "ready"]])
    text, ask = row(lambda: page.rows_shown.drop("a"))("run", "held out", 1, window)
    assert (text, ask.interactive) == (skipped, True), "somebody typed: it can be asked"
