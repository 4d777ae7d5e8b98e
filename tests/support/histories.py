"""Histories of runs for the tests of their recovery, and all that one holds about a run."""

import json

from labs import smoke

from instruct_tune.config.viewer import known_by

ANN = known_by("ann's own long secret")
CONFIG = smoke().to_dict()


def fill(store, count=60):
    """Create a public run with some history and a private run of Ann's; return both ids."""
    public = store.create("public", CONFIG)
    for step in range(1, count + 1):
        store.add_metric(public.id, "train", step, step / count, {"loss": 1 / step, "tokens": step})
    store.add_samples(public.id, count, [("an answer", True)])
    store.add_event(public.id, "An event.")
    store.update(public.id, status="finished", phase=None, step=count, ended=50.0, message="Done.", provenance={"a": 1})
    store.add_evaluation(public.id, {"rows": 4, "predictions": "there"})
    private = store.create("private", CONFIG, owner=ANN.id, started_by=ANN.id)
    return public.id, private.id


def everything(store, run_id):
    parts = (store.get(run_id), store.metrics(run_id), store.samples(run_id), store.events(run_id))
    return *parts, store.evaluations(run_id), store.changes(run_id)


def without_seq(value):
    """The value as JSON without ``seq``, which numbers the entries in the order of writing."""
    return json.loads(
        json.dumps(value, default=lambda run: run.__dict__), object_hook=lambda d: {k: d[k] for k in d if k != "seq"}
    )
