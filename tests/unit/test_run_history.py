"""A run's metrics, events, samples and evaluations are read back in order, the newer one of a step alone."""

import time

import stores
from stores import CONFIG

store = stores.store


def test_metrics_come_in_order_with_all_their_values(store):
    run = store.create("", CONFIG)
    store.add_metric(run.id, "probe", 0, 0.0, {"probe_loss": 3.0})
    store.add_metric(run.id, "train", 1, 0.25, {"loss": 2.5, "tokens": 40})
    first, second = store.metrics(run.id)
    assert (first["kind"], first["step"], first["epoch"], first["probe_loss"]) == ("probe", 0, 0.0, 3.0)
    assert (second["kind"], second["step"], second["epoch"]) == ("train", 1, 0.25)
    assert (second["loss"], second["tokens"]) == (2.5, 40)
    assert first["seq"] < second["seq"]


def test_a_step_done_again_replaces_the_old_one_under_a_greater_seq(store):
    run, other = store.create("", CONFIG), store.create("", CONFIG)
    for step in (1, 2, 3):
        store.add_metric(run.id, "train", step, step / 4, {"loss": float(step)})
    store.add_metric(run.id, "eval", 2, 0.5, {"eval_loss": 9.0})
    store.add_metric(other.id, "train", 2, 0.5, {"loss": 7.0})
    seen = store.metrics(run.id)[-1]["seq"]
    store.add_metric(run.id, "train", 2, 0.5, {"loss": 20.0})
    metrics = store.metrics(run.id)
    assert [(m["kind"], m["step"]) for m in metrics] == [("train", 1), ("train", 3), ("eval", 2), ("train", 2)]
    assert metrics[-1]["loss"] == 20.0
    assert [m["loss"] for m in store.metrics(run.id, after=seen)] == [20.0]
    assert store.metrics(other.id)[0]["loss"] == 7.0


def test_after_gives_only_what_a_reader_has_not_seen(store):
    run = store.create("", CONFIG)
    seen, got = 0, []
    for step in range(1, 6):
        store.add_metric(run.id, "train", step, 0.0, {"loss": 1.0})
        if step % 2 == 0:
            new = store.metrics(run.id, after=seen)
            seen = new[-1]["seq"]
            got += [m["step"] for m in new]
    assert got == [1, 2, 3, 4]
    assert [m["step"] for m in store.metrics(run.id, after=seen)] == [5]
    assert store.metrics(run.id, after=seen + 1) == []


def test_a_seq_is_never_given_twice(store):
    """Otherwise a reader that has seen it would miss what is written after a resume."""
    run = store.create("", CONFIG)
    for step in (1, 2, 3):
        store.add_metric(run.id, "train", step, 0.0, {"loss": 1.0})
    seen = store.metrics(run.id)[-1]["seq"]
    store.forget_metrics_after(run.id, 0)
    store.add_metric(run.id, "train", 1, 0.0, {"loss": 2.0})
    assert [m["loss"] for m in store.metrics(run.id, after=seen)] == [2.0]


def test_metrics_beyond_a_checkpoint_are_forgotten(store):
    run, other = store.create("", CONFIG), store.create("", CONFIG)
    for step in range(5):
        for each in (run, other):
            store.add_metric(each.id, "train", step, 0.0, {"loss": 1.0})
            store.add_metric(each.id, "probe", step, 0.0, {"probe_loss": 1.0})
    store.forget_metrics_after(run.id, 2)
    assert {(m["kind"], m["step"]) for m in store.metrics(run.id)} == {
        (k, s) for k in ("train", "probe") for s in range(3)
    }
    store.forget_metrics_after(run.id, -1)
    assert store.metrics(run.id) == []
    assert len(store.metrics(other.id)) == 10


def test_events_are_the_last_ones_oldest_first(store):
    run, other = store.create("", CONFIG), store.create("", CONFIG)
    for number in range(5):
        store.add_event(run.id, f"event {number}")
    store.add_event(other.id, "elsewhere")
    assert [event["text"] for event in store.events(run.id)] == [f"event {n}" for n in range(5)]
    assert [event["text"] for event in store.events(run.id, last=2)] == ["event 3", "event 4"]
    assert abs(store.events(run.id)[0]["time"] - time.time()) < 60


def test_evaluations_are_newest_first(store):
    run, other = store.create("", CONFIG), store.create("", CONFIG)
    for number in range(3):
        store.add_evaluation(run.id, {"rows": number, "base": {"bleu": 1.5}})
    evaluations = store.evaluations(run.id)
    assert [each["rows"] for each in evaluations] == [2, 1, 0]
    assert evaluations[0]["base"] == {"bleu": 1.5}
    assert store.evaluations(other.id) == []


def test_samples_come_by_step_and_the_newer_one_of_a_step_counts(store):
    run = store.create("", CONFIG).id
    for step, text in ((4, "b"), (0, "a"), (4, "c")):
        store.add_samples(run, step, [(text, step == 4), ("<b>", False)])
    assert [(s["step"], s["prompt"], s["text"], s["ended"]) for s in store.samples(run)] == [
        (0, 0, "a", False), (0, 1, "<b>", False), (4, 0, "c", True), (4, 1, "<b>", False),
    ]  # fmt: skip
    store.add_samples(run, 4, [("alone", True)])
    assert [s["text"] for s in store.samples(run)] == ["a", "<b>", "alone"]
    store.forget_metrics_after(run, 0)
    assert {s["step"] for s in store.samples(run)} == {0}


def test_a_run_without_answers_has_none(store):
    run = store.create("", CONFIG).id
    store.add_samples(run, 0, [])
    assert store.samples(run) == []


def test_the_last_metric_is_that_of_the_greatest_step(store):
    run = store.create("one", CONFIG)
    assert store.last_metric(run.id, "probe") is None
    for step in (2, 10, 4):
        store.add_metric(run.id, "probe", step, 0.5, {"probe_loss": step / 10})
    store.add_metric(run.id, "train", 11, 0.5, {"loss": 9.0})
    assert store.last_metric(run.id, "probe") == {"probe_loss": 1.0}


def test_the_last_evaluation_of_each_run(store):
    first, second = store.create("a", CONFIG), store.create("b", CONFIG)
    for run, bleu in ((first, 1), (second, 2), (first, 3)):
        store.add_evaluation(run.id, {"bleu": bleu})
    assert store.last_evaluations() == {first.id: {"bleu": 3}, second.id: {"bleu": 2}}
