"""The run picker of Compare and Evaluate: updates do not change a choice that somebody may be making."""

from types import SimpleNamespace

import gradio as gr
import pytest

from instruct_tune.runs.examples import BEST
from instruct_tune.ui.run_picker import RunPicker


def run(run_id, recorded=None):
    return {"id": run_id, "name": f"run {run_id}", "status": "finished", "recorded": recorded, "model": "a/b"}


@pytest.fixture
def lab():
    lab = SimpleNamespace(
        listed=[],
        access=SimpleNamespace(of=lambda session: None),
        answerers=SimpleNamespace(has_adapter=lambda viewer, run_id: True),
    )
    lab.runs = SimpleNamespace(summaries=lambda viewer: list(lab.listed))
    return lab


@pytest.fixture
def choices(lab):
    with gr.Blocks():
        return RunPicker(
            gr.State(), gr.Dropdown(), gr.Dropdown(), runs=lab.runs, answerers=lab.answerers, access=lab.access
        )


def value(dropdown):
    """The value that an update sets, or "unchanged" if it sets none."""
    return dropdown._constructor_args[0].get("value", "unchanged")


def test_the_newest_of_ones_own_is_chosen_first_and_a_recorded_one_where_there_is_no_other(lab, choices):
    lab.listed = [run("r2", "recorded"), run(BEST, "recorded")]
    seen, first, second = choices.show(None, None, None, None)
    assert [value(first), value(second)] == [BEST, BEST]
    lab.listed = [run("new"), run("old"), *lab.listed]
    assert value(choices.show(None, None, None, None)[1]) == "new"
    assert choices.show(None, BEST, BEST, [*choices.show(None, BEST, BEST, seen)[0]]) == [gr.skip()] * 3


def test_what_stays_is_not_updated(lab, choices):
    lab.listed = [run("a"), run("b")]
    seen, *_ = choices.show(None, "a", "b", None)
    lab.listed = [run("c"), run("a"), run("b")]
    _, first, second = choices.show(None, "a", "b", seen)
    assert [value(first), value(second)] == ["unchanged", "unchanged"]
    assert [each for _, each in first.choices] == ["c", "a", "b"]


def test_the_run_that_train_follows_is_chosen_when_it_can_answer_and_once(lab, choices):
    lab.listed = [run("a")]
    seen, *_ = choices.show("mine", "a", "a", None)
    lab.listed = [run("mine"), run("a")]
    seen, first, second = choices.show("mine", "a", "a", seen)
    assert [value(first), value(second)] == ["mine", "mine"]
    lab.listed = [run("other"), *lab.listed]
    assert value(choices.show("mine", "a", "a", seen)[1]) == "unchanged"


def test_where_a_run_is_gone_all_is_updated(lab, choices):
    lab.listed = [run("a"), run("b")]
    seen, *_ = choices.show(None, "a", "b", None)
    lab.listed = [run("a")]
    _, first, second = choices.show(None, "a", "b", seen)
    assert [value(first), value(second)] == ["a", "a"]
