"""Runs in a room: its locks, shared runs, sweeps, hand-ins and the board."""

from __future__ import annotations

import threading

import pytest
from labs import PATIENCE, smoke, write_rows
from room_lab import ANN, BOB, EVE, TEACHER, opened_room

from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.errors import DataError, NotFoundError, NotYoursError, SettingsError

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.fixture
def room(lab):
    return opened_room(lab)


@pytest.mark.slow
def test_what_a_room_locks_holds_when_a_run_is_started(lab, room):
    lab.rooms.rule(TEACHER, room, {"locks": {"lora.r": "fixed", "train.learning_rate": "0.001..0.02"}, "max_steps": 8})
    for forbidden, named in (
        ({"lora": {"r": 4}}, "lora.r is fixed at 16"),
        ({"train": {"learning_rate": 0.5}}, "train.learning_rate must be between"),
        ({"data": {"limit": 17}}, "data.limit must be at most 16"),
        ({"data": {"limit": None}}, "data.limit must be at most 16"),
        ({"train": {"num_train_epochs": 3}}, "at most 8 steps"),
        ({"train": {"max_steps": 9}}, "at most 8 steps"),
    ):
        with pytest.raises(SettingsError, match=named):
            lab.training.start(ANN, smoke(**forbidden))
        assert lab.store.ids() == set()
    lab.training.wait(lab.training.start(ANN, smoke(train={"learning_rate": 0.02})), PATIENCE)
    # The host, and who is not in the room, are not bound by it.
    for free in (TEACHER, EVE):
        lab.training.wait(lab.training.start(free, smoke(lora={"r": 4})), PATIENCE)
    lab.rooms.end(TEACHER, room)
    lab.training.wait(lab.training.start(ANN, smoke(lora={"r": 8})), PATIENCE)


def test_equal_settings_are_one_run(lab, room, engine_held):
    lab.rooms.join(EVE, room, "Eve")
    first = lab.training.start(ANN, smoke())
    gate, started = threading.Barrier(2), []

    def start(who):
        gate.wait(PATIENCE)
        started.append(lab.training.start(who, smoke()))

    threads = [threading.Thread(target=start, args=(who,)) for who in (BOB, EVE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert started == [first, first]
    assert lab.rooms.get(room).runs == {first: ["s1", "s2", "s3"]}
    other = lab.training.start(BOB, smoke(train={"seed": 7}))
    assert other != first
    # Only who started it may end it.
    with pytest.raises(NotYoursError):
        lab.training.stop(BOB, first)
    lab.training.stop(ANN, first, keep=False)
    assert lab.training.start(EVE, smoke()) not in (first, other), "a run that was withdrawn is nobody's"
    engine_held.set()


def test_a_run_that_goes_on_from_another_is_nobody_elses(lab, room):
    first = lab.training.start(ANN, smoke(), "first")
    lab.training.wait(first, PATIENCE)
    child = lab.training.start(ANN, {}, "child", parent=first)
    lab.training.wait(child, PATIENCE)
    assert lab.store.get(child).config == lab.store.get(first).config
    assert lab.training.start(BOB, smoke(), "mine") == first


def test_a_private_run_is_joined_by_nobody_and_is_not_on_the_board(lab, room, tmp_path):
    file = tmp_path / "mine.json"
    write_rows(file, [{"instruction": f"Say {n}", "input": "", "output": str(n)} for n in range(40)])
    source = str(lab.uploads.keep(ANN, file))
    own = lab.training.start(ANN, smoke(data={"source": source}))
    assert lab.training.wait(own, PATIENCE).status == "finished"
    assert [run.run_id for run in lab.room_boards.board(lab.rooms.get(room)).runs] == []
    with pytest.raises(DataError):
        lab.training.start(BOB, smoke(data={"source": source}))


@pytest.mark.slow
def test_a_sweep_deals_every_card_and_seeds_to_who_shares_one(lab, room):
    lab.rooms.join(EVE, room, "Eve")
    crowd = [known_by(f"the secret of student {number}") for number in range(2)]
    for who in crowd:
        lab.rooms.join(who, room, "Student")
    cards = [{"label": f"r {rank}", "settings": {"lora.r": rank}} for rank in (2, 4)]
    sweep = lab.room_activities.sweep(TEACHER, room, "Ranks", cards)
    with pytest.raises(DataError, match="under way"):
        lab.room_activities.start(ANN, room, sweep)
    lab.rooms.begin(TEACHER, room, sweep)
    runs = [lab.room_activities.start(who, room, sweep) for who in (ANN, BOB, EVE)]
    configs = [lab.store.get(run_id).config for run_id in runs]
    assert [(config["lora"]["r"], config["train"]["seed"]) for config in configs] == [(2, 42), (4, 42), (2, 43)]
    assert lab.room_activities.start(ANN, room, sweep) == runs[0], "a second click is the same run"
    # Two seeds a card: the third person of a card shares the first one's run.
    later = [lab.room_activities.start(who, room, sweep) for who in crowd]
    assert later[1] == runs[0]
    assert lab.store.get(later[0]).config["train"]["seed"] == 43
    runs.append(later[0])
    for run_id in runs:
        assert lab.training.wait(run_id, PATIENCE).status == "finished"
    board = lab.room_boards.board(lab.rooms.get(room))
    shared = (("s1", "s5"), ("s2",), ("s3",), ("s4",))
    assert {run.run_id: run.people for run in board.runs} == dict(zip(runs, shared, strict=True))
    assert all(run.curve[-1][1] <= board.target for run in board.runs)
    assert all(run.reached.by > run.reached.over >= 0 for run in board.runs)
    assert {run.time_group for run in board.runs} >= {1}


@pytest.mark.parametrize(
    "cards",
    [
        [],
        [{"label": "one", "settings": {}}],
        [{"label": f"{n}", "settings": {}} for n in range(7)],
        [{"label": "", "settings": {}}, {"label": "b", "settings": {}}],
        [{"label": "a", "settings": []}, {"label": "b", "settings": {}}],
        [{"label": "a", "settings": {"lora.rank": 1}}, {"label": "b", "settings": {}}],
        [{"label": "a", "settings": {"data.limit": 900}}, {"label": "b", "settings": {}}],
        "cards",
    ],
)
def test_a_sweep_that_cannot_be_trained_is_refused(lab, room, cards):
    with pytest.raises((DataError, SettingsError)):
        lab.room_activities.sweep(TEACHER, room, "Sweep", cards)
    assert lab.rooms.get(room).activities == {}


def test_fewer_people_than_runs_take_further_cards(lab, room):
    cards = [{"label": f"r {rank}", "settings": {"lora.r": rank}} for rank in (2, 4)]
    sweep = lab.room_activities.sweep(TEACHER, room, "Ranks", cards)
    lab.rooms.begin(TEACHER, room, sweep)
    runs = [lab.room_activities.start(who, room, sweep) for who in (ANN, BOB)]
    runs += [lab.room_activities.start(who, room, sweep, another=True) for who in (BOB, ANN)]
    configs = [lab.store.get(run_id).config for run_id in runs]
    ranks_and_seeds = [(config["lora"]["r"], config["train"]["seed"]) for config in configs]
    assert ranks_and_seeds == [(2, 42), (4, 42), (2, 43), (4, 43)]
    assert lab.room_activities.start(ANN, room, sweep) == runs[3], "without another it is the last one"
    activity = lab.rooms.get(room).activities[sweep]
    assert activity.deals == (("s1", 0), ("s2", 1), ("s2", 0), ("s1", 1))
    assert activity.cards == {"s1": 1, "s2": 0}


def test_what_is_handed_in_is_ones_own(lab, room):
    run_id = lab.training.start(ANN, smoke())
    lab.training.wait(run_id, PATIENCE)
    with pytest.raises(DataError, match="you started"):
        lab.rooms.hand_in(BOB, room, run_id)
    lab.rooms.hand_in(ANN, room, run_id)
    assert lab.rooms.get(room).people[ANN.id].handed_in == run_id


# The board


@pytest.mark.slow
def test_tied_runs_share_a_rank(lab, room):
    runs = [lab.room_activities.start(who, room) for who in (ANN, BOB)]
    assert runs[0] == runs[1]
    other = lab.training.start(BOB, smoke(train={"seed": 7}))
    for run_id in (runs[0], other):
        lab.training.wait(run_id, PATIENCE)
        lab.room_activities.evaluate(ANN, room, run_id)
    for job in lab.queue.jobs:
        job.result(PATIENCE)
    board = lab.room_boards.board(lab.rooms.get(room))
    assert {run.run_id: run.people for run in board.runs} == {runs[0]: ("s1", "s2"), other: ("s2",)}
    assert [run.group for run in board.runs] == [1, 1], "random weights score nothing"
    assert board.rows == 4
    with pytest.raises(NotFoundError):
        lab.room_activities.evaluate(ANN, room, "recorded-good")


def test_a_run_that_was_evaluated_on_one_row_has_no_interval(lab, room):
    run_id = lab.training.start(ANN, smoke())
    lab.training.wait(run_id, PATIENCE)
    lab.evaluations.start(ANN, run_id, 1).result(PATIENCE)
    (run,) = lab.room_boards.board(lab.rooms.get(room)).runs
    assert (run.bleu is None, run.ci) == (False, None)


def test_visitors_of_the_lab_see_the_rooms_runs_as_ever(lab, room):
    run_id = lab.training.start(ANN, smoke())
    lab.training.wait(run_id, PATIENCE)
    assert [run["id"] for run in lab.runs.summaries(EVE)] == [run_id]
    assert lab.runs.get(HOST, run_id).started_by == ANN.id
