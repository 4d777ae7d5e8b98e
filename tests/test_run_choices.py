"""The runs that Compare and Evaluate offer: what somebody may be choosing just now is not chosen for them."""

from types import SimpleNamespace

import gradio as gr
import pytest

from instruct_tune.runs.examples import BEST
from instruct_tune.ui.run_picker import RunChoices


def run(run_id, recorded=None):
    return {"id": run_id, "name": f"run {run_id}", "status": "finished", "recorded": recorded, "model": "a/b"}


class Lab(SimpleNamespace):
    runs = ()

    def list_runs(self, viewer):
        return list(self.runs)

    def has_adapter(self, run_id, viewer):
        return True


@pytest.fixture
def lab():
    return Lab(visitors=SimpleNamespace(of=lambda session: None))


@pytest.fixture
def choices(lab):
    with gr.Blocks():
        return RunChoices(lab, gr.State(), gr.Dropdown(), gr.Dropdown())


def value(dropdown):
    """What an update sets the value to; "said nothing" where it leaves it alone."""
    return dropdown._constructor_args[0].get("value", "said nothing")


def test_the_newest_of_ones_own_is_chosen_first_and_a_recorded_one_where_there_is_no_other(lab, choices):
    lab.runs = [run("r2", "recorded"), run(BEST, "recorded")]
    seen, first, second = choices.show(None, None, None, None)
    assert [value(first), value(second)] == [BEST, BEST]
    lab.runs = [run("new"), run("old"), *lab.runs]
    assert value(choices.show(None, None, None, None)[1]) == "new"
    assert choices.show(None, BEST, BEST, [*choices.show(None, BEST, BEST, seen)[0]]) == [gr.skip()] * 3


def test_what_stays_is_not_said(lab, choices):
    lab.runs = [run("a"), run("b")]
    seen, *_ = choices.show(None, "a", "b", None)
    lab.runs = [run("c"), run("a"), run("b")]
    _, first, second = choices.show(None, "a", "b", seen)
    assert [value(first), value(second)] == ["said nothing", "said nothing"]
    assert [each for _, each in first.choices] == ["c", "a", "b"]


def test_the_run_that_train_follows_is_chosen_when_it_can_answer_and_once(lab, choices):
    lab.runs = [run("a")]
    seen, *_ = choices.show("mine", "a", "a", None)
    lab.runs = [run("mine"), run("a")]
    seen, first, second = choices.show("mine", "a", "a", seen)
    assert [value(first), value(second)] == ["mine", "mine"]
    lab.runs = [run("other"), *lab.runs]
    assert value(choices.show("mine", "a", "a", seen)[1]) == "said nothing"


def test_where_a_run_is_gone_all_is_said(lab, choices):
    lab.runs = [run("a"), run("b")]
    seen, *_ = choices.show(None, "a", "b", None)
    lab.runs = [run("a")]
    _, first, second = choices.show(None, "a", "b", seen)
    assert [value(first), value(second)] == ["a", "a"]
