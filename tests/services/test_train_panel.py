"""The panel that shows a run: it sends only what changed, and a long run's plot stays small."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace

import pytest
from labs import cache_for, finished, opened, smoke

from instruct_tune.config.viewer import HOST

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("pause", "resume", "stop", "discard", "sure")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    cache = cache_for(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache))
        with opened(tmp_path_factory.mktemp("panel") / "data") as lab:
            yield lab


@pytest.fixture(scope="module")
def run_id(lab):
    return finished(lab, smoke(), "followed")


@pytest.fixture
def panel(lab):
    import gradio as gr

    from instruct_tune.ui.device_choice import DeviceChoice
    from instruct_tune.ui.train.run_view import TrainPanel

    with gr.Blocks():
        yield TrainPanel(
            DeviceChoice(lab.devices, "device"),
            runs=lab.runs,
            training=lab.training,
            evaluations=lab.evaluations,
            transfers=lab.transfers,
            access=lab.access,
        )


def skipped(value) -> bool:
    return isinstance(value, dict) and value.get("__type__") == "update" and len(value) == 1


def long_run(steps: int):
    """The metrics of a run of ``steps`` steps, with all their digits."""
    for step in range(1, steps + 1):
        loss = 2 * math.exp(-step / 700) + 0.1 * math.sin(step * 1.7) + 1 / 3
        yield {
            "kind": "train",
            "step": step,
            "epoch": step / 97,
            "loss": loss,
            "learning_rate": 5e-4 * (1 - step / 2001),
        }
        if step % 97 == 0:
            yield {"kind": "eval", "step": step, "epoch": step / 97, "eval_loss": loss * 1.01}
        if step % 333 == 0:
            yield {"kind": "probe", "step": step, "epoch": step / 97, "probe_loss": loss * 0.99}


@pytest.mark.parametrize("steps", [2000, 50_000])
def test_a_plot_update_stays_under_20_kb(steps):
    from instruct_tune.ui.charts import loss_figure

    figure = loss_figure(list(long_run(steps)), "20261124-220049-c38c", log_scale=True)
    assert len(json.dumps(figure).encode()) < 20_000
    # On the true step axis, from the first to the last.
    for trace in figure["data"][:2]:
        assert (trace["x"][0], trace["x"][-1]) == (1, steps)
        assert len(trace["x"]) == len(trace["y"])


def test_the_smooth_line_is_that_of_all_steps():
    from instruct_tune.ui.charts import loss_figure
    from instruct_tune.util.curves import smooth

    metrics = list(long_run(2000))
    figure = loss_figure(metrics, "run", log_scale=False)
    whole = smooth([m["loss"] for m in metrics if m["kind"] == "train"])
    line = figure["data"][1]
    assert line["y"] == [pytest.approx(whole[step - 1], rel=1e-3) for step in line["x"]]


def test_hover_has_step_epoch_and_learning_rate(lab, run_id):
    from instruct_tune.ui.charts import loss_figure

    dots = loss_figure(lab.runs.metrics(HOST, run_id), run_id, log_scale=False)["data"][0]
    assert dots["x"] == [1, 2, 3, 4]
    assert [epoch for epoch, _ in dots["customdata"]] == [0.25, 0.5, 0.75, 1.0]
    assert [rate for _, rate in dots["customdata"]] == [0.01, 0.0075, 0.005, 0.0025]
    assert "%{customdata[0]}" in dots["hovertemplate"]
    assert "%{customdata[1]}" in dots["hovertemplate"]


def metric(kind: str, step: int, **values):
    return {"kind": kind, "step": step, "epoch": 0.0, "learning_rate": 1e-3, "loss": 2.0, **values}


ALL_KINDS = [
    *(metric("train", step) for step in (1, 2)),
    metric("eval", 2, eval_loss=2.0),
    metric("general", 2, general_loss=3.0),
    metric("probe", 2, probe_loss=2.0),
    metric("bleu", 2, bleu=7.0),
]


def at_first(metrics, **options):
    """The lines' names, and those of the visible ones."""
    from instruct_tune.ui.charts import loss_figure

    data = loss_figure(metrics, "run", log_scale=False, **options)["data"]
    assert len({trace["uid"] for trace in data}) == len(data)
    names = [trace["name"] for trace in data]
    return names, [trace["name"] for trace in data if trace.get("visible", True) is True]


def test_three_lines_are_visible_at_first_and_each_names_its_rows():
    provenance = {"probe_rows": 8, "evaluation_rows": 1187, "base_bleu": 3.0, "bleu_rows": 40}
    names, visible = at_first(ALL_KINDS, provenance=provenance)
    assert visible == ["training loss, smoothed", "held-out loss, 8 probe rows", "BLEU on 40 rows"]
    assert {"held-out loss, 1,187 evaluation rows", "BLEU of base", "training loss, each batch"} < set(names)


def test_the_only_held_out_loss_is_visible_and_without_one_the_batches_are():
    _, visible = at_first([each for each in ALL_KINDS if each["kind"] in ("train", "eval")])
    assert visible == ["training loss, smoothed", "held-out loss, evaluation rows"]
    _, visible = at_first(ALL_KINDS[:2])
    assert visible == ["training loss, each batch", "training loss, smoothed"]


@pytest.mark.parametrize(
    "provenance", [{}, {"probe_rows": 8, "evaluation_rows": 4}, {"probe_rows": "<b>", "bleu_rows": "<b>"}]
)
def test_a_number_of_rows_that_is_not_known_is_not_shown(provenance):
    names, _ = at_first(ALL_KINDS, provenance=provenance)
    assert "BLEU" in names
    assert not any("<" in name for name in names)


def test_the_axis_of_a_run_that_trains_reaches_to_its_last_step_and_counts_whole_steps():
    from instruct_tune.ui.charts import loss_figure

    axis = loss_figure(ALL_KINDS, "run", log_scale=False, total_steps=12)["layout"]["xaxis"]
    assert axis["autorangeoptions"] == {"include": 12}
    assert axis["dtick"] == 1
    ended = loss_figure(ALL_KINDS, "run", log_scale=False)["layout"]["xaxis"]
    assert "autorangeoptions" not in ended
    assert ended["dtick"] == 1
    assert "dtick" not in loss_figure(ALL_KINDS, "run", log_scale=False, total_steps=500)["layout"]["xaxis"]


@pytest.mark.parametrize(
    ("steps", "place"), [([0, 2], (0, "left")), ([4, 8], (6, "center")), ([10, 12], (12, "right"))]
)
def test_a_label_stays_inside_the_axis(steps, place):
    from instruct_tune.ui.charts import loss_figure

    findings = [{"label": "learning rate too high", "steps": steps}]
    label = loss_figure([], "run", False, findings, total_steps=12)["layout"]["annotations"][0]
    assert (label["x"], label["xanchor"]) == place


def test_before_the_first_probe_there_is_a_sentence(panel, run_id):
    from instruct_tune.ui.train.scrubber import nothing_measured

    assert "come with the first probe" in nothing_measured(live=True, probes=True)
    assert nothing_measured(live=True, probes=False) == "Nothing measured yet."
    assert "ended without" in nothing_measured(live=False, probes=True)
    value = unpacked(dict(zip(panel.outputs, panel.show(run_id, None, False), strict=True))[panel.scrubber])
    assert value["total"] == 4
    assert value["nothing"] == nothing_measured(live=False, probes=True)


def unpacked(value):
    """What the browser reads of a component's value."""
    return json.loads(base64.b64decode(value["packed"]))


def test_a_poll_where_nothing_changed_sends_nothing(panel, run_id):
    first = panel.show(run_id, None, False)
    assert len(first) == len(panel.outputs)
    assert not any(skipped(value) for value in first)
    assert all(skipped(value) for value in panel.show(run_id, first[0], False))


def test_only_the_plot_follows_the_axis(panel, run_id):
    first = panel.show(run_id, None, False)
    sent = dict(zip(panel.outputs, panel.show(run_id, first[0], True), strict=True))
    changed = [component for component, value in sent.items() if not skipped(value)]
    assert changed == [panel.seen, panel.chart]
    assert sent[panel.chart]["layout"]["yaxis"]["type"] == "log"


def test_what_a_run_shows(panel, lab, run_id):
    sent = dict(zip(panel.outputs, panel.show(run_id, None, False), strict=True))
    row = lab.datasets.held_out_row(HOST, smoke(), smoke().evaluation_rows)
    scrub = unpacked(sent[panel.scrubber])
    prompt = scrub["prompts"][0]
    assert (scrub["run"], prompt["instruction"], prompt["expected"]) == (run_id, row.instruction, row.output)
    assert [step["step"] for step in scrub["steps"]] == [0, 2, 4]
    assert "Adapter kept: step 4" in sent[panel.checkpoints]
    assert sent[panel.difference] == "Preset **smoke**, nothing changed."
    assert json.loads(sent[panel.config]) == smoke().to_dict()
    assert sent[panel.bar].value == {"value": 4, "max": 4}
    assert sent[panel.bar].visible is False
    assert "Held-out loss" in sent[panel.loss]


def test_another_run_is_sent_whole(panel, lab, run_id):
    first = panel.show(run_id, None, False)
    other = finished(lab, smoke(train={"sample_tokens": 0}))
    sent = dict(zip(panel.outputs, panel.show(other, first[0], False), strict=True))
    assert not any(skipped(value) for value in sent.values())
    scrub = unpacked(sent[panel.scrubber])
    assert scrub["run"] == other
    assert not any(step["answers"] for step in scrub["steps"])


@pytest.mark.parametrize(
    ("status", "can"),
    [
        ("queued", {"pause", "stop", "discard"}),
        ("running", {"pause", "stop", "discard"}),
        ("stopping", {"discard"}),
        *((status, {"resume"}) for status in ("stopped", "interrupted", "failed")),
        ("finished", set()),
    ],
)
def test_what_can_be_done_with_a_run_and_by_whom(panel, lab, run_id, monkeypatch, status, can):
    run, controls = replace(lab.store.get(run_id), status=status), panel.controls

    def pressable():
        made = {name: make() for name, (_, make) in zip(NAMES, controls.pieces(run), strict=True)}
        assert made.pop("sure").visible is False
        assert made["pause"].visible is not made["resume"].visible
        return {name for name, button in made.items() if button.interactive}

    assert pressable() == can
    monkeypatch.setattr(lab.access, "_multi_user", True)
    assert pressable() == (can if run.started_by is None else set())
    run = replace(run, started_by="somebody else")
    assert pressable() == set()


def test_a_run_that_is_deleted_while_it_is_followed_is_reported_once(panel, lab):
    gone = finished(lab, smoke(train={"sample_tokens": 0}))
    first = panel.show(gone, None, False)
    lab.training.delete(HOST, gone)
    sent = dict(zip(panel.outputs, panel.show(gone, first[0], False), strict=True))
    assert "was deleted" in sent[panel.status]
    assert sent[panel.body].visible is False
    assert all(skipped(value) for value in panel.show(gone, sent[panel.seen], False))


def test_without_a_run_or_with_a_deleted_one_nothing_is_sent(panel):
    for gone in (None, "20200101-000000-dead"):
        assert all(skipped(value) for value in panel.show(gone, None, False))


def test_the_announcer_is_silent_about_what_it_did_not_see(lab, run_id):
    import gradio as gr

    from instruct_tune.ui.layout.status_bar import Announcer

    with gr.Blocks():
        announcer = Announcer(runs=lab.runs, training=lab.training, access=lab.access)
    seen, announcement = announcer.show(run_id, None)
    assert announcement == {"text": "", "title": "Instruction-Tuning Lab"}
    assert all(skipped(value) for value in announcer.show(run_id, seen))
    # A run that was live at the last poll.
    _, announcement = announcer.show(run_id, {**seen, "live": True})
    assert announcement == {"text": "The run is done.", "title": "done · Instruction-Tuning Lab"}


def test_the_status_is_the_same_as_from_the_whole_history(lab, run_id):
    metrics = lab.runs.metrics(HOST, run_id)
    assert lab.training.status(HOST, run_id)["metrics"] == {metric["kind"]: metric for metric in metrics}
    train = [metric for metric in metrics if metric["kind"] == "train"]
    assert lab.store.metrics(run_id, after=train[0]["seq"], kind="train") == train[1:]
