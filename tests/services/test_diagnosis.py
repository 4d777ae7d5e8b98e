"""Findings on a run: each rule on a table of numbers, and the findings on the recorded runs."""

import json

import pytest
from labs import finished, opened, smoke

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.runs.diagnostics import diagnose
from instruct_tune.runs.examples import ASSETS, put_recorded
from instruct_tune.ui.charts import loss_figure
from instruct_tune.ui.run_text import findings_text


def findings_of(
    held_out=(), own=(), samples=(), *, answer_texts=(), step=None, total=None, every=2, grad=1.0, provenance=None,
    status="running", **train
):  # fmt: skip
    """The findings on a run with these losses; ``held_out`` and ``samples`` have one entry per ``every`` steps."""
    metrics = [{"kind": "probe", "step": every * at, "probe_loss": loss} for at, loss in enumerate(held_out)]
    metrics += [{"kind": "train", "step": at, "loss": loss, "grad_norm": grad} for at, loss in enumerate(own, 1)]
    texts = answer_texts or ["A sentence of some length, as one would say it."] * len(samples)
    answers = [{"step": every * at, "ended": ended, "text": texts[at]} for at, ended in enumerate(samples)]
    last = step or max((metric["step"] for metric in metrics), default=0)
    config = RunConfig.from_dict({"train": train}).to_dict()
    run = {"status": status, "config": config, "facts": provenance or {}, "step": last, "total_steps": total or last}
    return diagnose(run, metrics, answers)


def kinds(*args, **options):
    return [finding.kind for finding in findings_of(*args, **options)]


def test_a_run_that_learns_gives_nothing_to_look_at():
    assert kinds((2.05, 1.9, 1.8, 1.75, 1.75, 1.74, 1.72), (1.2, 1.2, 2.3, 2.0, 1.5, 1.9, 1.6, 1.8)) == []
    assert kinds() == []


@pytest.mark.parametrize(
    ("own", "explodes"),
    [
        ((2.0, 2.0, 2.0, 2.0, 5.0, 6.0, 9.0), True),
        ((1.2, 1.2, 2.3, 2.0, 1.5, 1.9, 1.6, 1.8, 1.5, 0.9, 2.6, 2.0), False),
        ((0.01, 0.01, 0.01, 0.01, 0.04, 0.04, 0.04, 0.04), False),
        ((2.0, 9.0, 9.0), False),
        ((3.0, 3.0, 3.0, 3.0, 9.0, 9.0, 9.0, 9.0, 3.0, 3.0, 3.0, 3.0), False),
    ],
)
def test_a_loss_explodes_when_its_mean_has_doubled(own, explodes):
    assert ("exploding" in kinds(own=own)) is explodes


def test_the_evidence_of_an_explosion_is_in_the_sentence():
    (finding,) = findings_of(own=(2.0,) * 4 + (9.0,) * 4, grad=123.4, learning_rate=0.01)
    assert "2.00 at step 4 and is 9.00 at step 8, with a gradient norm of 123" in finding.sentence
    assert finding.steps == (4, 8)
    assert finding.advice == "Stop it and try a learning rate of 0.001."


@pytest.mark.parametrize("status", ["finished", "stopped", "interrupted", "failed"])
def test_an_ended_run_gets_no_advice_to_stop(status):
    rising, falling = (2.0, 1.7, 1.6, 1.7, 1.9, 2.2), (2.0, 2.0, 1.8, 1.6, 1.2, 0.8, 0.5, 0.3, 0.2, 0.1)
    courses = [
        ((), (2.0,) * 4 + (9.0,) * 4), (rising, falling), ((2.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0), ()),
        ((2.0, 1.7, 1.6, 1.6, 1.599, 1.601, 1.6), ()), ((2.0,) * 7, ()),
    ]  # fmt: skip
    live, ended = (
        [finding for course in courses for finding in findings_of(*course, learning_rate=0.01, status=each)]
        for each in ("running", status)
    )
    assert {finding.kind for finding in ended} == {
        "exploding", "overfitting", "rate_too_high", "plateau", "rate_too_low"
    }  # fmt: skip
    assert [finding.kind for finding in live if "Stop" in finding.advice] == ["exploding", "overfitting"]
    assert not [finding for finding in ended if "stop" in finding.advice.lower()]
    assert ended[0].advice == "Try a learning rate of 0.001."


@pytest.mark.parametrize(
    ("held_out", "total", "leaps"),
    [
        ((2.0, 3.0), 12, True),
        ((2.0, 3.0, 1.5, 1.4), 12, True),
        ((2.0, 2.1), 12, False),
        ((2.0, 1.9, 1.9, 2.5), 6, False),
        ((2.0, 3.0), 4, False),
    ],
)
def test_a_leap_counts_in_the_first_third_of_the_run(held_out, total, leaps):
    assert ("rate_too_high" in kinds(held_out, total=total)) is leaps


@pytest.mark.parametrize(
    ("held_out", "step", "total", "nothing_moves"),
    [
        ((2.0, 2.005, 1.995), 4, 4, True),
        ((2.0, 2.005, 1.995), 4, 40, False),
        ((2.0, 2.005, 1.9), 4, 4, False),
        ((2.0, 2.0), 2, 2, False),
    ],
)
def test_nothing_moves_is_reported_once_half_the_run_is_over(held_out, step, total, nothing_moves):
    assert (kinds(held_out, step=step, total=total) == ["rate_too_low"]) is nothing_moves


def test_learning_by_heart_is_a_held_out_loss_that_rises_while_the_other_falls():
    rising, falling = (2.0, 1.7, 1.6, 1.7, 1.9, 2.2), (2.0, 2.0, 1.8, 1.6, 1.2, 0.8, 0.5, 0.3, 0.2, 0.1)
    (finding,) = findings_of(rising, falling)
    assert (finding.kind, finding.steps) == ("overfitting", (4, 10))
    assert "from 1.60 to 2.20" in finding.sentence
    assert "up to about step 4" in finding.advice
    assert kinds(rising, (1.5,) * 10) == []
    (intended,) = findings_of(rising, falling, recite_rows=8)
    assert "asked for" in intended.advice


def test_a_plateau_is_four_measurements_without_a_lower_loss():
    assert kinds((2.0, 1.7, 1.6, 1.6, 1.599, 1.601, 1.6)) == ["plateau"]
    assert kinds((2.0, 1.7, 1.6, 1.6, 1.599, 1.58, 1.6)) == []
    assert kinds((2.0, 1.7, 1.6, 1.6, 1.6)) == []


@pytest.mark.parametrize(
    ("ended", "given", "found"),
    [
        ([False] * 4, {}, True),
        ([True, False, False, False], {}, True),
        ([False, False, False, True], {}, False),
        ([False] * 3, {}, False),
        ([False] * 4, {"total": 40}, False),
        ([False] * 4, {"provenance": {"fixed_prompt": {"output": "x" * 121}}}, False),
        ([False] * 4, {"provenance": {"fixed_prompt": {"output": "x" * 120}}}, True),
        # Chinese has more tokens than characters; the run's own count says so.
        ([False] * 4, {"provenance": {"fixed_prompt": {"output": "好" * 58}, "answer_tokens": 97}}, False),
        ([False] * 4, {"provenance": {"fixed_prompt": {"output": "x" * 500}, "answer_tokens": 40}}, True),
    ],
)
def test_answers_that_never_end(ended, given, found):
    assert (kinds(samples=ended, **{"step": 6, "total": 6, **given}) == ["never_ends"]) is found


def test_an_adapter_that_is_as_it_began_explains_the_flat_loss():
    flat = (2.0, 2.0, 2.0)
    assert kinds(flat, provenance={"adapter_norm": 1e-5}) == ["unchanged"]
    assert kinds(flat, (1.0,) * 4, grad=0.0) == ["unchanged"]
    assert kinds(flat, provenance={"adapter_norm": 2.0}) == ["rate_too_low"]


@pytest.mark.parametrize(
    ("lost", "found"), [((5, 0), False), ((6, 0), True), ((0, 6), True), ((3, 3), True), ((0, 0), False)]
)
def test_most_rows_cut_or_dropped(lost, found):
    provenance = {"rows_given": 10, "rows_dropped": lost[0], "rows_truncated": lost[1]}
    assert (kinds(provenance=provenance) == ["rows_cut"]) is found


PROSE = "To reverse a list in place, call its method reverse, which gives nothing back at all."
ROUND = "It is so: " + "git fetch and pull " * 6


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([PROSE, PROSE, ROUND, ROUND, ROUND], True),
        ([PROSE, PROSE, PROSE, ROUND, ROUND], False),
        ([ROUND, PROSE, ROUND, ROUND, ROUND], False),
        ([PROSE] * 5, False),
    ],
)
def test_words_that_go_round_say_it_where_the_expected_answer_is_long(answers, found):
    long = {"provenance": {"fixed_prompt": {"output": "x" * 500}}, "step": 8, "total": 8, "learning_rate": 0.02}
    findings = findings_of(samples=[False] * 5, answer_texts=answers, **long)
    assert [finding.kind for finding in findings] == ["never_ends"] * found
    if found:
        assert "same few words again and again" in findings[0].sentence
        assert "0.002" in findings[0].advice


@pytest.mark.parametrize(
    ("name", "expected"),
    [("good", []), ("overfit", ["overfitting"]), ("too-high", ["rate_too_high"])],
)
def test_the_recorded_runs(name, expected):
    run = json.loads((ASSETS / name / "run.json").read_text())
    metrics, samples = (
        [json.loads(line) for line in (ASSETS / name / file).read_text().splitlines()]
        for file in ("metrics.jsonl", "samples.jsonl")
    )
    assert [finding.kind for finding in diagnose(run, metrics, samples)] == expected
    # During training: the good run has no finding at any step, and the leap is found from step 2 on.
    for step in range(run["total_steps"]):
        then = {**run, "status": "running", "step": step, "facts": {}}
        so_far = diagnose(then, [m for m in metrics if m["step"] <= step], [s for s in samples if s["step"] <= step])
        if name == "good":
            assert so_far == ()
        if name == "too-high" and step >= 2:
            assert so_far[0].kind == "rate_too_high"


def test_each_finding_is_shaded_on_the_plot_and_described_below_it():
    findings = [
        {"label": "plateau", "sentence": "It falls no more.", "advice": "Stop.", "steps": (4, 8)},
        {"label": "most rows cut", "sentence": "Most rows.", "advice": "Raise it.", "steps": None},
    ]
    layout = loss_figure([], "run", log_scale=False, findings=findings)["layout"]
    assert [(shape["x0"], shape["x1"]) for shape in layout["shapes"]] == [(4, 8)]
    assert [label["text"] for label in layout["annotations"]] == ["plateau"]
    assert findings_text(findings).count("\n- ") == 2
    assert findings_text([]) == ""


def test_a_run_of_the_lab_tells_its_findings_and_what_they_rest_on(tmp_path):
    with opened(tmp_path / "data") as lab:
        run_id = finished(lab, smoke(train={"max_length": 400, "learning_rate": 1e-9}))
        provenance = lab.runs.details(HOST, run_id)["facts"]
        assert 0 < provenance["adapter_norm"] < 1e-3
        assert provenance["rows_given"] == provenance["train_rows"] + provenance["rows_dropped"]
        findings = lab.training.status(HOST, run_id)["findings"]
        assert "unchanged" in [finding["kind"] for finding in findings]
        assert lab.runs.details(HOST, run_id)["findings"] == findings
        put_recorded(lab.store)
        assert lab.training.status(HOST, "recorded-good")["findings"] == []
