"""What Evaluate shows of a run while another one is chosen."""

import gradio as gr
import pytest
from labs import opened

from instruct_tune.config.viewer import HOST
from instruct_tune.runs.examples import put_recorded
from instruct_tune.ui.evaluate.result import EvaluationPanel
from instruct_tune.ui.evaluate.text import SHOWS, SORTS

WISHES = ("", next(iter(SHOWS)), next(iter(SORTS)))


@pytest.fixture
def lab(tmp_path):
    with opened(tmp_path / "data") as lab:
        put_recorded(lab.store)
        yield lab


@pytest.fixture
def panel(lab):
    services = {name: getattr(lab, name) for name in ("runs", "evaluations", "transfers", "access")}
    with gr.Blocks():
        panel = EvaluationPanel(gr.Dropdown(), gr.Dropdown(), gr.Button(), **services)
        panel.result_tab()
        panel.rows_tab()
    return panel


def test_an_earlier_evaluation_that_comes_late_gives_way_to_the_run_that_was_chosen_since(lab, panel):
    one, other = [run["id"] for run in lab.runs.summaries(HOST) if lab.runs.evaluations(HOST, run["id"])][:2]
    newest = lab.runs.evaluations(HOST, one)[0]["seq"]
    seen, *shown = panel._show_chosen(one, newest, *WISHES)
    assert len(shown) == len(panel.shown)
    assert all(value == gr.skip() for value in panel.show(one, seen, *WISHES)), "it stays"
    after = panel.show(other, seen, *WISHES)
    assert after[0][0] == other
    sentence = panel.outputs.index(panel.sentence)
    assert after[sentence] not in (gr.skip(), shown[0])
