"""Runs side by side: which settings differ, the sentences on the result, and whose runs are drawn."""

import gradio as gr
import pytest
from labs import opened

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.runs.differences import differing, held_out, rows, same_measurement, sentences
from instruct_tune.runs.examples import put_recorded
from instruct_tune.store.run import Run
from instruct_tune.ui.runs import side_by_side
from instruct_tune.ui.runs.side_by_side import LOOKS, SHARE, STEPS, names_of, overlay_figure


def run(name, losses=(), steps=4, evaluation=None, run_id=None, **config):
    metrics = [{"kind": "probe", "step": 2 * n, "probe_loss": loss} for n, loss in enumerate(losses)]
    metrics += [{"kind": "train", "step": n, "loss": 2.0} for n in range(1, steps + 1)]
    return {
        "id": run_id or f"id-{name}", "name": name, "status": "finished", "step": steps, "total_steps": steps,
        "config": RunConfig.from_dict(config, "smoke").to_dict(), "facts": {}, "metrics": metrics,
        "evaluations": [evaluation] if evaluation else [],
    }  # fmt: skip


def test_only_what_differs_is_listed_by_its_dotted_name():
    configs = [run("a")["config"], run("b", train={"learning_rate": 0.5}, template="chat")["config"]]
    assert differing(configs) == {"template": ["lesson", "chat"], "train.learning_rate": [1e-2, 0.5]}
    assert differing([configs[0], configs[0]]) == {}


def test_a_template_in_words_beside_a_named_one_is_listed_too():
    mine = {"template": {"with_input": "{instruction}{input}", "without_input": "{instruction}"}}
    assert {"template", "template.with_input"} <= set(differing([run("a")["config"], {**run("b")["config"], **mine}]))


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"train": {"learning_rate": 0.5}}, True),
        ({"data": {"limit": 3}}, True),
        ({"lora": {"r": 2}}, True),
        ({"data": {"seed": 3}}, False),
        ({"data": {"columns": {"output": "answer"}}}, False),
        ({"model": "facebook/opt-350m"}, False),
        ({"train": {"probe_rows": 2}}, False),
    ],
)
def test_losses_are_compared_only_where_they_were_measured_alike(changed, same):
    runs = [run("a", (3.0, 2.0)), run("b", (3.0, 1.5), **changed)]
    assert same_measurement(runs) is same
    assert ("ended lowest in b" in sentences(runs, ["a", "b"])) is same


@pytest.mark.parametrize(
    ("facts", "limit", "same"),
    [
        ({"weights_sha256": "a"}, None, True),
        ({"weights_sha256": "b"}, None, False),
        ({"data_fingerprint": "other"}, None, False),
        # With another limit there are other training rows, and the same held-out ones.
        ({"data_fingerprint": "other"}, 3, True),
    ],
)
def test_other_weights_or_rows_of_the_same_name_are_another_measurement(facts, limit, same):
    runs = [run("a", (3.0, 2.0)), run("b", (3.0, 1.5), **({"data": {"limit": limit}} if limit else {}))]
    runs[0]["facts"] |= {"weights_sha256": "a", "data_fingerprint": "one"}
    runs[1]["facts"] |= facts
    assert same_measurement(runs) is same


def test_the_evaluation_rows_stand_in_where_there_was_no_probe():
    details = run("a")
    details["metrics"] += [{"kind": "eval", "step": 4, "eval_loss": 1.5}]
    assert held_out(details) == [(4, 1.5)]
    assert sentences([run("b")], ["b"]) == "b: nothing measured yet."


def test_the_table_has_a_cell_for_each_run_and_ends_with_the_settings():
    evaluation = {"rows": 40, "tuned": {"bleu": 18.24}, "base": {"bleu": 8.9}}
    table = rows([run("a", (3.0, 2.0, 2.5), evaluation=evaluation), run("b", train={"learning_rate": 0.5})])
    assert {len(line) for line in table} == {3}
    cells = {line[0]: line[1:] for line in table}
    assert cells["Held-out loss, lowest"] == ["2.000 at step 2", "—"]
    assert cells["Held-out loss, last"] == ["2.500 at step 4", "—"]
    assert cells["BLEU of the last evaluation"] == ["18.2 (base 8.9) on 40 rows", "—"]
    assert table[-1] == ["train.learning_rate", "0.01", "0.5"]


def test_each_run_has_a_look_of_its_own_and_both_its_lines_share_the_colour():
    runs = [run(str(n), (3.0, 2.0), run_id=f"id-{n}") for n in range(len(LOOKS))]
    data = overlay_figure(runs, STEPS, log_scale=True)["data"]
    bold = [line for line in data if line["showlegend"]]
    assert len({line["line"]["color"] for line in bold}) == len({line["line"]["dash"] for line in bold}) == len(runs)
    assert [line["name"] for line in bold] == [each["name"] for each in runs]
    for faint, line in zip(data[::2], data[1::2], strict=True):
        assert (faint["line"]["color"], faint["legendgroup"]) == (line["line"]["color"], line["legendgroup"])
        assert faint["line"]["width"] < line["line"]["width"]


def test_on_the_share_axis_every_finished_run_ends_at_a_hundred():
    runs = [run("short", (3.0, 2.0, 1.0), steps=4), run("long", (3.0,) * 6, steps=10)]
    data = overlay_figure(runs, SHARE, log_scale=False)["data"]
    assert [line["x"][-1] for line in data[1::2]] == [100, 100]
    assert [line["x"][-1] for line in overlay_figure(runs, STEPS, log_scale=False)["data"][1::2]] == [4, 10]


def test_names_that_are_the_same_are_distinguished_and_are_no_markup():
    runs = [run("x", run_id="run-aaaa"), run("x", run_id="run-bbbb"), run("<b>" + "y" * 99)]
    first, second, third = names_of(runs)
    assert (first, second) == ("x (aaaa)", "x (bbbb)")
    assert len(third) == 40
    name = overlay_figure([run('<a href=x> "rank 16"', (1.0,))], STEPS, log_scale=False)["data"][1]["name"]
    assert "<" not in name
    assert name.endswith('"rank 16"')


def test_the_recorded_runs_side_by_side(tmp_path):
    with opened(tmp_path / "data", writing=False) as lab:
        put_recorded(lab.store)
        good, high = (lab.runs.details(HOST, f"recorded-{name}") for name in ("good", "too-high"))
        assert list(differing([good["config"], high["config"]])) == [
            "train.learning_rate",
            "train.save_strategy",
            "train.save_steps",
        ]
        assert "ended lowest in g" in sentences([good, high], ["g", "h"])


def test_somebody_elses_private_run_is_neither_listed_nor_drawn(tmp_path, monkeypatch):
    mine, other = known_by("a secret that is mine"), known_by("a secret of another")
    with opened(tmp_path / "data", writing=False) as lab:
        for name, owner in (("public", None), ("private", mine.id)):
            config = RunConfig.from_dict({}, "smoke").to_dict()
            lab.store.enter(Run(name, name, "finished", None, "", 4, 4, 1.0, 2.0, config, None, {}, owner))
            (lab.data_dir / "runs" / name).mkdir()
        with gr.Blocks():
            panel = side_by_side.SideBySide(gr.State(None), runs=lab.runs, access=lab.access)
        for viewer, seen in ((mine, ["private", "public"]), (other, ["public"])):
            monkeypatch.setattr(side_by_side, "viewer", lambda access, viewer=viewer: viewer)
            assert sorted(panel.there(["public", "private"])) == seen
            text = panel._draw(["public", "private"], STEPS, False)[0]
            assert [name for name in ("private", "public") if name in text] == seen
        assert panel._draw(["private"], STEPS, False)[0] == side_by_side.NOTHING
