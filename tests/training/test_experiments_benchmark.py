"""The benchmark of the experiments on the tiny model: what a seed changes, what an arm changes, and that it goes on."""

import json

import pytest
from tiny_lab import light, some_examples, tiny  # noqa: F401

from benchmarks import experiments
from benchmarks.experiments import Bench, broken, measure_all, result_file
from instruct_tune.errors import DivergedError
from instruct_tune.experiments.arms import BASELINE
from instruct_tune.experiments.questions import MEASURES
from instruct_tune.inspection.token_view import Fault, broken_token_view
from instruct_tune.models import lora
from instruct_tune.tokenization.encode import IGNORE, tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON

ARMS = (BASELINE, "no-eos", "leaked", "rank-1", "asked-alpaca", "strength-0", "max-length-50")


@pytest.fixture(scope="module")
def work(tmp_path_factory, light):  # noqa: F811
    """The results of some arms with two seeds, measured on four held-out rows."""
    folder = tmp_path_factory.mktemp("experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "HELD_OUT_ROWS", 4)
        patch.setattr(experiments, "LEAKED_ROWS", 2)
        measure_all(folder, "tiny-random", ARMS, (1, 2))
    return folder


def results(work, arm):
    return [json.loads(result_file(work, arm, seed).read_text()) for seed in (1, 2)]


@pytest.mark.nightly
@pytest.mark.slow
def test_each_arm_and_seed_has_a_result_of_its_own(work):
    for arm in ARMS:
        first, second = results(work, arm)
        assert first["measures"].keys() <= MEASURES.keys()
        assert first["machine"] == second["machine"]
        assert first["data"] == second["data"], "the held-out rows are the same"
        assert first["curves"].keys() == (
            {"held_out_loss", "general_loss"} if arm in (BASELINE, "no-eos", "leaked", "rank-1") else set()
        )
    before, changed = results(work, BASELINE), results(work, "rank-1")
    assert before[0]["measures"]["held_out_loss"] != before[1]["measures"]["held_out_loss"]
    assert before[0]["measures"]["held_out_loss"] != changed[0]["measures"]["held_out_loss"]
    assert results(work, "leaked")[0]["measures"]["leaked_loss"] != before[0]["measures"]["leaked_loss"]
    # Before the first step every arm is base.
    assert {tuple(each["curves"]["held_out_loss"][0]) for each in (*before, *changed)} == {
        tuple(before[0]["curves"]["held_out_loss"][0])
    }
    steps = [step for step, _ in before[0]["curves"]["held_out_loss"]]
    assert steps == [0, 3, 6, 9, 12]


@pytest.mark.nightly
@pytest.mark.slow
def test_what_is_there_is_not_measured_again(work, monkeypatch):
    monkeypatch.setattr(experiments, "load_model", lambda *_: pytest.fail("no model is needed"))
    measure_all(work, "tiny-random", ARMS, (1, 2))


def test_a_run_that_diverges_has_no_result_and_stops_no_other(tmp_path, monkeypatch, capsys):
    def measure(self, arm, seed):
        if seed == 1:
            raise DivergedError("The loss is not finite.")
        return {"measures": {"bleu": 1.0}, "seconds": 1}

    monkeypatch.setattr(Bench, "measure", measure)
    measure_all(tmp_path, "tiny-random", ["rate-high"], (1, 2))
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["rate-high-2.json"]
    assert "rate-high with seed 1: The loss is not finite." in capsys.readouterr().out


def test_an_arm_that_asks_needs_the_adapters_of_the_baseline(tmp_path):
    with pytest.raises(SystemExit, match="measure that first"):
        Bench(tiny(), tmp_path).measure("beams-5", 1)


def test_the_measured_adapter_is_gone_from_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "HELD_OUT_ROWS", 2)
    loaded = tiny()
    Bench(loaded, tmp_path).measure("rows-8", 1)
    assert lora.names(loaded) == []


@pytest.mark.parametrize("fault", experiments.FAULTY.values())
def test_broken_rows_are_those_that_the_format_tab_shows(fault):
    tokenizer = tiny().tokenizer
    [example] = some_examples(1, 3)
    [row] = tokenize_examples(tokenizer, LESSON, [example], 1024)
    made, shown = broken(row, fault), broken_token_view(tokenizer, LESSON, example, fault)
    assert list(made.input_ids) == [token.id for token in shown.tokens]
    assert [label != IGNORE for label in made.labels] == [token.loss for token in shown.tokens]
    assert len(made.labels) == len(made.input_ids)
    assert broken(row, Fault.NO_EOS).input_ids[-1] != tokenizer.eos_token_id
