"""What is beside a chosen run: details that follow it, notes that keep text added elsewhere, and Share."""

import json

import gradio as gr
import pytest
from labs import opened

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import LabError
from instruct_tune.services.runs import OWN_DATA
from instruct_tune.ui.runs import details
from instruct_tune.ui.runs.details import SHARE, UNSHARE, ChosenRun, NotesPanel, ShareButton


@pytest.fixture
def lab(tmp_path):
    with opened(tmp_path / "data") as lab:
        lab.store.create("one", RunConfig.from_dict({}, "smoke").to_dict())
        yield lab


@pytest.fixture
def panel(lab):
    with gr.Blocks():
        return NotesPanel(gr.State(), runs=lab.runs, access=lab.access)


def only(lab):
    return lab.runs.summaries(HOST)[0]


def test_what_compare_added_meanwhile_stays_behind_what_is_typed(lab, panel):
    run_id = only(lab)["id"]
    lab.runs.annotate(HOST, run_id, "a", "mine")
    _, shown, read, _ = panel._show(run_id)
    assert (shown.value, json.loads(read)) == ("mine", [run_id, "mine", ["a"]])
    lab.runs.annotate(HOST, run_id, "a", "mine\n\nkept from Compare")
    tags, notes, read = json.loads(panel._save("a,  b", "mine, and more", read))
    assert (tags, notes) == ("a, b", "mine, and more\n\nkept from Compare")
    assert only(lab)["notes"] == notes
    tags, notes, read = json.loads(panel._save("b", "all anew", json.dumps(read)))
    assert tags is notes is None, "somebody may be typing on"
    assert only(lab)["notes"] == "all anew"
    assert read == [run_id, "all anew", ["b"]]


@pytest.mark.parametrize(
    ("elsewhere", "typed", "both"),
    [
        ("good", "", "good"),
        ("", "seen, tried", "tried"),
        ("seen, good", "seen, tried", "seen, good, tried"),
        ("good, seen", "", "good"),
        ("good", "good", "good"),
        ("seen", "tried, seen", "tried, seen"),
    ],
)
def test_tags_of_two_windows_come_together(lab, panel, elsewhere, typed, both):
    run_id, before = only(lab)["id"], "" if typed == "" and elsewhere == "good" else "seen"
    lab.runs.annotate(HOST, run_id, before, "")
    *_, read, _ = panel._show(run_id)
    lab.runs.annotate(HOST, run_id, elsewhere, "")
    tags, _, _ = json.loads(panel._save(typed, "", read))
    assert ", ".join(only(lab)["tags"]) == (typed if tags is None else tags) == both


@pytest.mark.parametrize("read", ["[]", "3", '["a", "b"]', '["a", "b", "c", "d"]', "{"])
def test_what_no_page_sends_is_a_sentence(panel, read):
    with pytest.raises(LabError, match="Click the run's row"):
        panel._save("", "mine", read)


def test_what_another_window_rewrote_is_not_written_over(lab, panel):
    run_id = only(lab)["id"]
    lab.runs.annotate(HOST, run_id, "", "first")
    *_, read, _ = panel._show(run_id)
    lab.runs.annotate(HOST, run_id, "", "of another window")
    with pytest.raises(LabError, match="changed in another window"):
        panel._save("", "mine", read)
    assert only(lab)["notes"] == "of another window"


def test_without_a_run_there_is_nothing_to_save(panel):
    *_, read, _ = panel._show(None)
    with pytest.raises(LabError, match="click its row"):
        panel._save("", "mine", read)


@pytest.fixture
def private(lab):
    """A run of somebody's own rows, who may share it."""
    config = RunConfig.from_dict({}, "smoke").to_dict()
    run = lab.store.create("mine", config, owner="somebody", started_by="somebody")
    lab.store.update(run.id, provenance={OWN_DATA: True})
    return run.id


@pytest.fixture
def button(lab, monkeypatch):
    monkeypatch.setattr(details, "viewer", lambda access: HOST)
    with gr.Blocks():
        return ShareButton(gr.State(), runs=lab.runs, access=lab.access)


def test_the_share_button_does_what_it_says(lab, button, private):
    lab.runs.share(HOST, private, True)
    # Another window made it private meanwhile; this one still offers that.
    lab.runs.share(HOST, private, False)
    shown, _ = button._press(private, UNSHARE, 0.0)
    assert (lab.runs.is_shared(HOST, private), shown.value) == (False, SHARE)


def test_a_double_click_shares_nothing(lab, button, private, monkeypatch):
    lab.runs.share(HOST, private, True)
    monkeypatch.setattr(details.time, "monotonic", lambda: 1000.0)
    _, pressed = button._press(private, UNSHARE, 0.0)
    button._press(private, SHARE, pressed)
    assert lab.runs.is_shared(HOST, private) is False
    monkeypatch.setattr(details.time, "monotonic", lambda: 1002.0)
    shown, _ = button._press(private, SHARE, pressed)
    assert (lab.runs.is_shared(HOST, private), shown.value) == (True, UNSHARE)


def test_the_details_follow_a_run_to_its_end(lab):
    run_id = only(lab)["id"]
    with gr.Blocks():
        chosen = ChosenRun(gr.State(), runs=lab.runs, access=lab.access)
        chosen.curve()
        chosen.happened()
        chosen.configuration()
    at = {name: chosen.outputs.index(getattr(chosen, name)) for name in ("words", "changes", "failed")}
    skipped = [gr.skip()] * len(chosen.outputs)

    def polled(seen):
        updates = chosen.show(run_id, seen)
        return (seen if updates[0] == gr.skip() else updates[0]), updates

    seen, *_ = chosen.of(run_id)
    assert polled(seen) == (seen, skipped)
    lab.store.add_metric(
        run_id, "train", 1, 0.1, {"loss": 3.0, "learning_rate": 1e-3, "grad_norm": 1.0, "seconds": 0.1}
    )
    seen, updates = polled(seen)
    assert updates[1:] == skipped[1:], "not at each step"
    lab.store.add_metric(run_id, "probe", 1, 0.1, {"probe_loss": 2.5})
    seen, updates = polled(seen)
    assert "2.5" in updates[at["words"]]
    lab.store.update(run_id, status="failed", message="The disk is full.")
    seen, updates = polled(seen)
    assert "The disk is full" in updates[at["failed"]]
    assert polled(seen) == (seen, skipped)
    assert chosen.show(None, seen) == skipped
    lab.runs.trash(HOST, run_id)
    assert chosen.show(run_id, seen) == skipped
