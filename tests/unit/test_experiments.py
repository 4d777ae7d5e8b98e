"""The experiments: their statistics, their sentences, what was recorded, and the table made of it."""

import json
from pathlib import Path

import pytest
from made_results import made_results

from benchmarks import experiments_report
from benchmarks.experiments import ASKED_AS, DECODED, FAULTY, LEAKED, PROBES, STRENGTHS, choose, result_file
from instruct_tune.config.run_config import RunConfig
from instruct_tune.data.splits import Example
from instruct_tune.experiments import sentences
from instruct_tune.experiments.arms import ARMS, BASELINE, SEEDS, SHARED
from instruct_tune.experiments.paired import Direction, Effect, paired_effect
from instruct_tune.experiments.questions import EXPERIMENTS, MEASURES, OVER_STEPS
from instruct_tune.experiments.recorded import ASSET, Results, recorded, shown
from instruct_tune.ui.experiments import text
from instruct_tune.ui.experiments.own_data import KINDS, ROWS, own_config

ALL = list(EXPERIMENTS.values())
EFFECTS = {
    Direction.HIGHER: Effect(2.0, 1.0, 3.0),
    Direction.LOWER: Effect(-2.0, -3.0, -1.0),
    Direction.NONE: Effect(0.5, -1.0, 2.0),
}


def test_the_interval_is_that_of_a_paired_t_test():
    # R: t.test(c(2, 4, 6, 8, 10), c(1, 2, 3, 4, 5), paired = TRUE)
    effect = paired_effect([2, 4, 6, 8, 10], [1, 2, 3, 4, 5])
    assert effect.mean == 3
    assert (effect.low, effect.high) == pytest.approx((1.036757, 4.963243), abs=2e-4)
    # R: t.test(c(1.1, 0.9), mu = 0)
    two = paired_effect([1.1, 0.9], [0, 0])
    assert (two.low, two.high) == pytest.approx((-0.2706205, 2.2706205), abs=1e-4)


def test_what_all_seeds_share_is_no_spread():
    assert paired_effect([1.5, 3.5, 9.5], [1, 3, 9]) == Effect(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "direction"),
    [(0.1, 1, Direction.HIGHER), (-1, -0.1, Direction.LOWER), (-0.1, 1, Direction.NONE), (0, 1, Direction.NONE)],
)
def test_an_interval_with_zero_in_it_shows_no_difference(low, high, direction):
    assert Effect((low + high) / 2, low, high).direction is direction


@pytest.mark.parametrize("values", [([1], [1]), ([1] * 11, [2] * 11), ([1, 2], [1])])
def test_an_effect_needs_pairs(values):
    with pytest.raises(ValueError, match=r"seeds|shorter"):
        paired_effect(*values)


def test_there_are_at_least_twelve_questions_and_each_names_what_there_is():
    assert len(EXPERIMENTS) >= 12
    assert len({experiment.title for experiment in ALL}) == len(ALL)
    for experiment in ALL:
        assert {experiment.arm, experiment.against} <= set(experiment.arms) <= set(ARMS)
        assert experiment.measure in MEASURES
        assert Direction.NONE not in experiment.because
        assert experiment.question.endswith("?")
        if experiment.ticks:
            assert len(experiment.ticks) == len(experiment.arms)
        if experiment.pair:
            assert experiment.measure in KINDS
    assert {arm for experiment in ALL for arm in experiment.arms} == set(ARMS), "each arm answers something"


def test_an_arm_that_is_no_configuration_is_one_that_the_benchmark_makes():
    made = {*FAULTY, LEAKED, *ASKED_AS, *STRENGTHS}
    assert {name for name, arm in ARMS.items() if not arm.configurable} == made
    for name in made:
        assert ARMS[name].config == ARMS[BASELINE].config
    # A measure of answers is taken of arms that answer.
    for experiment in ALL:
        if experiment.measure in ("bleu", "stopped", "tokens"):
            assert all(ARMS[arm].answers_only or arm in DECODED for arm in experiment.arms)


def test_an_arm_changes_what_it_says_and_nothing_else():
    baseline = ARMS[BASELINE].config
    assert baseline == RunConfig.from_dict(dict(SHARED), "minute")
    for arm in ARMS.values():
        sections = arm.config.to_dict()
        for section, values in baseline.to_dict().items():
            changed = arm.settings.get(section, {})
            expected = {**values, **changed} if changed else values
            assert sections[section] == expected


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("experiment", ALL, ids=EXPERIMENTS)
def test_a_sentence_claims_the_direction_of_its_interval(experiment, direction):
    sentence = sentences.effect_sentence(experiment, EFFECTS[direction])
    verbs = {Direction.HIGHER: " rises,", Direction.LOWER: " falls,", Direction.NONE: " shows no difference,"}
    assert [each for each, verb in verbs.items() if verb in sentence] == [direction]
    why = sentences.because(experiment, direction)
    if direction is Direction.NONE:
        assert why == sentences.NO_DIFFERENCE
    else:
        assert why == experiment.because.get(direction, sentences.UNEXPLAINED)


@pytest.mark.parametrize("experiment", ALL, ids=EXPERIMENTS)
def test_the_view_shows_the_effect_that_was_measured(experiment):
    for change in (0.5, -0.5):
        value = text.view_value(made_results(change), experiment)
        expected = 0 if experiment.against != BASELINE else change
        direction = Direction.NONE if not expected else Direction.HIGHER if expected > 0 else Direction.LOWER
        assert value["direction"] == direction
        assert len(value["labels"]) == len(value["mean"]) == len(value["seeds"][0])
        assert len(value["seeds"]) == len(SEEDS)
        assert value["drawn"] == (experiment.drawn is not None)
        if experiment.drawn:
            # A guess begins at what is known.
            assert {line[0] for line in value["seeds"]} == {2}
        if experiment.drawn == OVER_STEPS:
            assert value["reference"]["values"][-1] == pytest.approx(1.03)


def test_curves_of_other_steps_are_not_laid_beside_each_other():
    measured = made_results()
    for curve in measured.arms["ten-epochs"]["curves"]["general_loss"]:
        curve["steps"] = [0, 30, 60, 90, 120]
    arms = {**measured.arms, BASELINE: made_results().arms[BASELINE]}
    value = text.view_value(Results(measured.about, arms), EXPERIMENTS["forgetting"])
    assert value["reference"] is None
    assert value["labels"][-1] == "step 120"


def test_a_curve_is_described_in_words():
    words = text.curve_text(MEASURES["held_out_loss"], ["step 0", "step 3"], [2.0, 1.75], [[2.0, 1.7], [2.0, 1.8]])
    assert words == (
        "The held-out loss, nats a token, mean and range of 2 seeds: step 0 2.000; step 3 1.750 (1.700 to 1.800)."
    )


def test_with_fewer_than_five_seeds_an_experiment_is_not_shown():
    measured = made_results()
    assert shown(measured) == ALL
    short = {**measured.arms["no-eos"], "measures": dict.fromkeys(MEASURES, [1.0] * 4)}
    assert "no-eos" not in [each.arm for each in shown(Results(measured.about, {**measured.arms, "no-eos": short}))]
    gone = {name: arm for name, arm in measured.arms.items() if name != BASELINE}
    assert shown(Results(measured.about, gone)) == [], "every experiment is compared with the baseline"


def test_ones_own_rows_and_model_stay():
    form = RunConfig.from_dict(
        {"model": "tiny-random", "data": {"source": "mine.jsonl", "filters": [], "limit": 7}}
    ).to_dict()
    config = own_config(ARMS["rows-200"], form)
    assert {name: config["data"][name] for name in ROWS if name in config["data"]} == {
        name: form["data"][name] for name in ROWS if name in form["data"]
    }
    assert config["data"]["limit"] == 200
    assert config["model"] == "tiny-random"
    assert config["train"] == ARMS["rows-200"].config.to_dict()["train"]


def test_the_recorded_results_are_whole_and_small():
    measured = recorded()
    assert ASSET.stat().st_size < 200_000
    assert set(measured.arms) <= set(ARMS)
    for name, arm in measured.arms.items():
        assert len(arm["seconds"]) == len(SEEDS), name
        for values in (*arm["measures"].values(), *arm["curves"].values()):
            assert len(values) == len(SEEDS), name
        for curves in arm["curves"].values():
            assert {tuple(curve["steps"]) for curve in curves} == {tuple(curves[0]["steps"])}
            assert all(len(curve["losses"]) == len(curve["steps"]) <= PROBES + 1 for curve in curves)
    assert shown(measured), "the gallery is not empty"


def test_each_published_sentence_agrees_with_the_recorded_interval():
    measured = recorded()
    for experiment in shown(measured):
        effect = measured.effect(experiment)
        value = text.view_value(measured, experiment)
        includes_zero = effect.low <= 0 <= effect.high
        assert ("no difference" in value["effect"]) == includes_zero
        assert (value["because"] == sentences.NO_DIFFERENCE) == includes_zero
        if not includes_zero:
            assert (" rises" in value["effect"]) == (effect.mean > 0)


def test_the_table_is_made_of_the_asset():
    document = experiments_report.DOC.read_text(encoding="utf-8")
    table = document.partition(experiments_report.BEGIN)[2].partition(experiments_report.END)[0]
    assert table.strip() == experiments_report.table(recorded())


def test_the_asset_and_the_table_are_written_from_the_results_of_each_seed(tmp_path: Path):
    common = {"machine": "m", "weights_sha256": "w", "data": "d", "versions": {"torch": "2"}}
    folder = tmp_path / "results"
    folder.mkdir()
    for arm in (BASELINE, "no-eos", "rate-high"):
        for seed in SEEDS if arm != "rate-high" else SEEDS[1:]:
            measures = dict.fromkeys(MEASURES, 50.0 + seed - (20 if arm == "no-eos" else 0))
            result = {
                "seed": seed,
                "measures": measures,
                "curves": {"held_out_loss": [[0, 2.0], [3, 1.0]]},
                "seconds": 60,
            }
            (folder / f"{arm}-{seed}.json").write_text(json.dumps({**common, **result}))
    asset, document = tmp_path / "asset.json", tmp_path / "experiments.md"
    document.write_text(f"before\n{experiments_report.BEGIN}\nold\n{experiments_report.END}\nafter\n")
    assert experiments_report.write(tmp_path, asset, document).startswith("2 arms, 1 experiments")
    written = document.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "old" not in written
    assert "stop by themselves falls, -20 percentage points (95% interval -20 to -20, 5 seeds)" in written
    assert "rate-high: 4 of 5 seeds" in experiments_report.state(tmp_path)
    # Results of two machines make no pairs.
    other = json.loads((folder / "no-eos-1.json").read_text()) | {"machine": "another"}
    (folder / "no-eos-1.json").write_text(json.dumps(other))
    with pytest.raises(SystemExit, match="another"):
        experiments_report.write(tmp_path, asset, document)


def test_measuring_goes_on_from_the_asset_where_its_results_are_gone(tmp_path: Path):
    own = result_file(tmp_path, BASELINE, SEEDS[0])
    own.parent.mkdir()
    own.write_text("measured here")
    restored = len(recorded().arms) * len(SEEDS) - 1
    assert experiments_report.restore(tmp_path) == f"{restored} results restored"
    assert own.read_text() == "measured here"
    own.unlink()
    experiments_report.restore(tmp_path)
    # Made again of what was restored, the asset is the same.
    asset, document = tmp_path / "asset.json", tmp_path / "experiments.md"
    document.write_text(f"{experiments_report.BEGIN}\n{experiments_report.END}\n")
    experiments_report.write(tmp_path, asset, document)
    assert recorded(asset).arms == recorded().arms


def test_a_seed_chooses_rows_and_more_rows_are_the_same_and_more():
    rows = [Example(str(number), "", "") for number in range(50)]
    few, many = choose(rows, 8, 1), choose(rows, 30, 1)
    assert many[:8] == few
    assert choose(rows, 8, 2) != few
    assert choose(rows, 8, 1) == few
    assert [row.instruction for row in rows] == [str(number) for number in range(50)]
