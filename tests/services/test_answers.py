"""Answers of base and tuned: streamed, alone, and between the steps of a training run."""

import threading
import time
from functools import partial

import pytest
from at_night import at_night_after
from labs import PATIENCE, TWELVE_STEPS, curve, finished, smoke, trained, undisturbed

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import BusyError, DataError, LabError, ModelError, NotFoundError, SettingsError

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.mark.slow
def test_both_answers_grow_and_the_last_says_done(kept):
    lab, run_id = kept
    updates = list(lab.inference.compare(HOST, run_id, "Reverse a list", generation={"max_new_tokens": 5}))
    assert [update["done"] for update in updates] == [False] * (len(updates) - 1) + [True]
    assert len(updates) >= 5
    last = updates[-1]
    assert (last["base_tokens"], last["tuned_tokens"]) == (5, 5)
    assert last["base"] != last["tuned"]
    assert updates[0]["base"] != last["base"]
    assert len(updates[2]["base"]) <= len(last["base"])


def test_the_answers_are_those_of_generate(kept):
    lab, run_id = kept
    row = {"instruction": "Reverse a list", "input": "[1, 2]"}
    last = list(lab.inference.compare(HOST, run_id, row["instruction"], row["input"]))[-1]
    assert lab.inference.generate(HOST, run_id, [row]) == [last["tuned"]]
    assert lab.inference.generate(HOST, "base", [row], smoke()) == [last["base"]]


def test_the_input_is_part_of_the_prompt(kept):
    lab, run_id = kept
    seen = []

    def first_prompt(patch):
        from instruct_tune.generation import generate as generation

        generate = generation.generate
        patch.setattr(
            generation,
            "generate",
            lambda loaded, requests, *a, **k: seen.append(requests) or generate(loaded, requests, *a, **k),
        )

    with pytest.MonkeyPatch.context() as patch:
        first_prompt(patch)
        list(lab.inference.compare(HOST, run_id, "Sort", "3 1 2"))
    tokenizer = lab.tokenizers.get("tiny-random")
    prompts = {tokenizer.decode(list(request.prompt)) for request in seen[0]}
    assert prompts == {"### Instruction:\nSort\n\n### Input:\n3 1 2\n\n### Response:\n"}


@pytest.mark.parametrize("what", ["", "   ", None, 5, ["a"]])
def test_without_an_instruction_there_is_no_answer(kept, what):
    lab, run_id = kept
    with pytest.raises(DataError, match="instruction"):
        next(lab.inference.compare(HOST, run_id, what))


def test_generation_settings_are_laid_over_the_runs_and_checked(kept):
    lab, run_id = kept
    last = list(lab.inference.compare(HOST, run_id, "Hi", generation={"max_new_tokens": 2}))[-1]
    assert last["tuned_tokens"] == 2
    with pytest.raises(
        SettingsError, match=r"generation\.max_new_tokens.*generation\.beams|generation\.beams.*max_new"
    ):
        next(lab.inference.compare(HOST, run_id, "Hi", generation={"max_new_tokens": 0, "beams": 3}))
    with pytest.raises(LabError):
        next(lab.inference.compare(HOST, run_id, "Hi", generation=[1]))


def test_closing_a_comparison_stops_it(kept):
    lab, run_id = kept
    answers = lab.inference.compare(HOST, run_id, "Hi", generation={"max_new_tokens": 1500})
    next(answers)
    began = time.monotonic()
    answers.close()
    lab.queue.submit_short(lambda: None).result(PATIENCE)
    assert time.monotonic() - began < 2


def test_a_stop_keeps_the_answer_so_far(kept):
    lab, run_id = kept
    stop = threading.Event()
    updates = []
    for texts in lab.inference.compare(HOST, run_id, "Hi", generation={"max_new_tokens": 1500}, stop=stop):
        updates.append(texts)
        if texts["base"] and texts["tuned"]:
            stop.set()
    last = updates[-1]
    assert (last["done"], last["stopped"]) == (True, True)
    assert last["base"].startswith(updates[-2]["base"])
    assert last["tuned"]
    assert "tuned_tokens" not in last
    assert list(lab.inference.compare(HOST, run_id, "Hi", generation={"max_new_tokens": 2}))[-1]["tuned_tokens"] == 2


def test_the_last_answer_tells_seconds(kept):
    lab, run_id = kept
    for generation in ({"max_new_tokens": 5}, {"max_new_tokens": 5, "num_beams": 2}):
        last = list(lab.inference.compare(HOST, run_id, "Reverse a list", generation=generation))[-1]
        assert 0 < last["base_seconds"] <= last["seconds"]
        assert 0 < last["tuned_seconds"] <= last["seconds"]


def test_a_run_without_an_adapter_cannot_answer(lab, tmp_path):
    run = lab.training.wait(lab.training.start(HOST, smoke(data={"source": "/nowhere.json"}), "broken"), PATIENCE)
    assert lab.answerers.has_adapter(HOST, run.id) is False
    for ask in (
        lambda: next(lab.inference.compare(HOST, run.id, "Hi")),
        lambda: lab.inference.generate(HOST, run.id, [{"instruction": "Hi"}]),
        lambda: next(lab.evaluations.stream(HOST, run.id)),
        lambda: lab.evaluations.start(HOST, run.id),
        lambda: lab.transfers.export(HOST, run.id, tmp_path / "x.zip"),
    ):
        with pytest.raises(ModelError, match=r"Run broken \(failed\) has no adapter"):
            ask()
    assert lab.queue.busy_with is None


@pytest.mark.parametrize("odd", ["../x", "", 5, "nope", None, "base/.."])
def test_an_id_that_is_none_is_not_found_by_any_request(kept, odd, tmp_path):
    lab, run_id = kept
    for ask in (
        *(partial(ask, HOST) for ask in (
            lab.training.status, lab.runs.metrics, lab.runs.result, lab.runs.details, lab.training.stop,
            lab.training.resume, lab.training.delete, lab.answerers.has_adapter, lab.evaluations.predictions,
            lab.evaluations.start,
        )),
        lambda odd: next(lab.inference.compare(HOST, odd, "Hi")),
        lambda odd: next(lab.evaluations.stream(HOST, odd)),
        lambda odd: lab.inference.generate(HOST, odd, [{"instruction": "Hi"}]),
        lambda odd: lab.transfers.export(HOST, odd, tmp_path / "x.zip"),
        lambda odd: lab.training.stop(HOST, odd, keep=False),
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            ask(odd)
    assert [run["id"] for run in lab.runs.summaries(HOST)] == [run_id]
    assert list(tmp_path.iterdir()) == []


def test_base_answers_without_any_run(lab):
    rows = [{"instruction": "Hi"}, {"instruction": "Sort", "input": "3 1 2"}]
    answers = lab.inference.generate(HOST, "base", rows, smoke())
    assert len(answers) == 2
    assert all(isinstance(text, str) for text in answers)
    assert lab.inference.generate(HOST, "base", rows[::-1], smoke()) == answers[::-1]


@pytest.mark.parametrize("row", [{"input": "x"}, {"instruction": 5}, {"instruction": "a", "input": 5}, "text", None])
def test_a_prompt_that_is_none_is_named_by_its_number(kept, row):
    lab, run_id = kept
    for answerer in ("base", run_id):
        with pytest.raises(DataError, match="Prompt 2"):
            lab.inference.generate(HOST, answerer, [{"instruction": "Hi"}, row])


def own_run(lab, runner, other):
    return list(lab.inference.compare(HOST, runner.run.id, "Hi", generation={"max_new_tokens": 6}))[-1]["tuned"]


def own_run_sampled(lab, runner, other):
    sampled = {"max_new_tokens": 6, "do_sample": True, "temperature": 2.0}
    return list(lab.inference.compare(HOST, runner.run.id, "Hi", generation=sampled))[-1]["tuned"]


def other_run(lab, runner, other):
    return list(lab.inference.compare(HOST, other, "Hi", generation={"max_new_tokens": 6}))[-1]["tuned"]


def three_together(lab, runner, other):
    adapter_names = ({"run_id": runner.run.id}, {"run_id": other, "strength": 0.5}, {"run_id": other, "step": 4})
    return list(lab.inference.compare_many(HOST, adapter_names, "Hi", generation={"max_new_tokens": 6}))[-1]["1"]


def base_alone(lab, runner, other):
    return lab.inference.generate(HOST, "base", [{"instruction": "Hi"}], smoke())


def closed_half_way(lab, runner, other):
    answers = lab.inference.compare(HOST, runner.run.id, "Hi", generation={"max_new_tokens": 1000})
    next(answers)
    answers.close()
    return lab.queue.submit_short(lambda: "stopped").result(PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "question", at_night_after(2, [own_run_sampled, three_together, own_run, other_run, base_alone, closed_half_way])
)
def test_questions_are_answered_between_steps_and_change_no_bit_of_the_training(lab, pace, kept, question):
    other = trained(lab, smoke(), "other")
    # The same run again; the question comes while it trains.
    held, answers = {}, []
    pace.at[2] = lambda runner: held.update(runner=runner)
    for step in (3, 7):
        answers.append(pace.ask(lab, step, lambda: question(lab, held["runner"], other)))
    run_id = finished(lab, TWELVE_STEPS)
    first, second = (answer.result(PATIENCE) for answer in answers)
    assert first
    assert second
    assert curve(lab, run_id) == undisturbed(kept)
    if question is own_run:
        assert first != second, "the adapter that answered should be the one that trains"


def test_a_question_while_a_run_loads_is_refused_as_too_early(lab, engine_held):
    run_id = lab.training.start(HOST, smoke(), "young")
    with pytest.raises(ModelError, match=r"Run young \(queued\) has no adapter yet"):
        next(lab.inference.compare(HOST, run_id, "Hi"))
    engine_held.set()
    assert lab.training.wait(run_id, PATIENCE).status == "finished"


@pytest.mark.slow
def test_another_model_is_refused_while_one_trains(lab, pace, tmp_path):
    answer = pace.ask(
        lab, 3, lambda: lab.inference.generate(HOST, "base", [{"instruction": "Hi"}], smoke(model=str(tmp_path)))
    )
    finished(lab, TWELVE_STEPS)
    with pytest.raises(BusyError, match=r"^Another model is training; .* can be used after that"):
        answer.result(PATIENCE)


@pytest.mark.slow
def test_more_runs_can_answer_than_adapters_stay_in_memory(lab):
    ids = [finished(lab, smoke(data={"limit": 8}, train={"seed": seed, "learning_rate": 0.3})) for seed in range(6)]
    rows = [{"instruction": "Hi"}, {"instruction": "Ho"}]
    base = lab.inference.generate(HOST, "base", rows, smoke())
    first = [lab.inference.generate(HOST, run_id, rows) for run_id in ids]
    assert [lab.inference.generate(HOST, run_id, rows) for run_id in ids] == first
    assert len({tuple(answer) for answer in first}) > 1
    assert lab.inference.generate(HOST, "base", rows, smoke()) == base


def test_a_comparison_at_strength_0_is_base_twice_and_at_1_what_it_always_was(kept):
    lab, run_id = kept
    usual, off, as_trained = (
        list(lab.inference.compare(HOST, run_id, "Say hi", **how))[-1]
        for how in ({}, {"strength": 0}, {"strength": 1.0})
    )
    assert off["tuned"] == off["base"] == usual["base"]
    assert as_trained["tuned"] == usual["tuned"] != usual["base"]


@pytest.mark.parametrize("strength", [-0.1, 1.6, float("nan"), 10**400, "1", True, None])
def test_a_strength_out_of_range_is_refused(kept, strength):
    lab, run_id = kept
    with pytest.raises(DataError, match=r"from 0 to 1\.5"):
        list(lab.inference.compare(HOST, run_id, "Say hi", strength=strength))
