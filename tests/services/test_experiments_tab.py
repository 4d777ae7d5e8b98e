"""The Experiments tab's handlers: its settings in the form, and both arms as runs on a visitor's own rows."""

import json

import gradio as gr
import pytest
from made_results import made_results

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import BusyError, LabError
from instruct_tune.experiments.arms import ARMS, BASELINE
from instruct_tune.experiments.questions import EXPERIMENTS
from instruct_tune.experiments.recorded import Results
from instruct_tune.ui.experiments import tab as tab_module
from instruct_tune.ui.experiments.tab import ExperimentsTab
from instruct_tune.ui.form import Form, shown_value

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")
RATE, TEMPLATE = EXPERIMENTS["rate-high"], EXPERIMENTS["template"]


def built(lab, form, tabs):
    return ExperimentsTab(
        form, tabs, configs=lab.configs, runs=lab.runs, training=lab.training, access=lab.access
    )  # fmt: skip


@pytest.fixture
def tab(lab, tmp_path, monkeypatch):
    """The tab, with a form that names forty rows and the tiny model."""
    monkeypatch.setattr(tab_module, "recorded", made_results)
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([{"instruction": f"Say {n}", "input": "", "output": f"{n}!"} for n in range(40)]))
    settings = RunConfig.from_dict({"model": "tiny-random", "data": {"source": str(file), "filters": []}}).to_dict()
    with gr.Blocks(), gr.Tabs() as tabs, gr.Tab():
        form = Form()
        for name in ("model", "template", "data.source", "data.filters", "data.limit", "train.learning_rate"):
            form.add(name, gr.Textbox(shown_value(settings, name)))
        form["data.limit"].value = 7
        yield built(lab, form, tabs)


def values_of(tab, experiment):
    values = {control: control.value for control in tab._form.controls}
    return {**values, tab._which: experiment.title, tab._own.started: {}, tab._own.pending.control: False}


def test_its_settings_fill_the_form_and_leave_rows_and_model(tab):
    updates = tab._use(values_of(tab, RATE))
    named = {name: updates[control] for name, control in tab._form.named.items()}
    assert named["train.learning_rate"] == 2e-2
    assert named["model"] == "tiny-random"
    assert named["data.source"].endswith("mine.json")
    assert named["data.limit"] == 48
    assert updates[tab._tabs].selected == "Train"
    with pytest.raises(LabError, match="no configuration of a run"):
        tab._use(values_of(tab, TEMPLATE))


def test_what_cannot_be_done_is_not_offered(tab):
    for experiment, offers in ((RATE, (True, True)), (TEMPLATE, (False, False)), (EXPERIMENTS["beams"], (True, False))):
        _, *buttons, _, _ = tab._choose(experiment.title, {})
        assert tuple(button.visible for button in buttons) == offers


@pytest.mark.slow
def test_both_arms_are_trained_in_the_queue_and_shown_beside_the_recorded_ones(lab, tab):
    started = tab._own._begin(values_of(tab, RATE))
    runs = started[RATE.title]
    assert list(runs) == [BASELINE, "rate-high"]
    for arm, run_id in runs.items():
        run = lab.runs.get(HOST, run_id)
        assert run.name == f"{RATE.title}: {ARMS[arm].label}"
        assert run.config["train"]["learning_rate"] == ARMS[arm].config.train.learning_rate
        assert lab.training.wait(run_id).status == "finished"
    table, seen = tab._own.show(RATE.title, started, "")
    losses = [lab.runs.last_metric(HOST, run_id, "eval")["eval_loss"] for run_id in runs.values()]
    assert f"| {ARMS[BASELINE].label} | 1.030 | {losses[0]:.3f} |" in table
    assert f"| {ARMS['rate-high'].label} | 1.030 | {losses[1]:.3f} |" in table
    assert tab._own.show(RATE.title, started, seen) == [gr.skip(), gr.skip()], "a poll sends what has changed"
    assert tab._own.show(TEMPLATE.title, started, seen) == ["", ""]


def test_a_run_on_its_way_says_so(lab, tab, engine_held):
    started = tab._own._begin(values_of(tab, RATE))
    table, _ = tab._own.show(RATE.title, started, "")
    assert table.count("queued") == 2
    again = {**values_of(tab, RATE), tab._own.started: started}
    with pytest.raises(LabError, match="on their way already"):
        tab._own._begin(again)
    for run_id in started[RATE.title].values():
        lab.training.stop(HOST, run_id)
        lab.training.delete(HOST, run_id)
    table, _ = tab._own.show(RATE.title, started, "")
    assert table.count("deleted") == 2


def test_a_mistake_in_the_form_starts_neither(lab, tab):
    values = {**values_of(tab, RATE), tab._form["data.filters"]: "no JSON"}
    with pytest.raises(LabError, match="must be a list of steps"):
        tab._own._begin(values)
    assert lab.runs.summaries(HOST) == []


def test_where_only_one_can_start_none_does(lab, tab, engine_held, monkeypatch):
    start, begun = lab.training.start, []

    def once(*args):
        if begun:
            raise BusyError("Too many runs wait.")
        begun.append(start(*args))
        return begun[0]

    monkeypatch.setattr(lab.training, "start", once)
    with pytest.raises(LabError, match="Too many"):
        tab._own._begin(values_of(tab, RATE))
    assert not lab.runs.get(HOST, begun[0]).live


def test_without_any_results_the_tab_says_so(lab, monkeypatch):
    monkeypatch.setattr(tab_module, "recorded", lambda: Results({}, {}))
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab():
        empty = built(lab, Form(), tabs)
    assert empty.polled == empty.fill_events == []
    assert [block.value for block in page.blocks.values() if isinstance(block, gr.Markdown)] == [
        tab_module.text.NOTHING
    ]
