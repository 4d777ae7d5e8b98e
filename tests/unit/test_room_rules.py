"""A room's rules without a lab: names, locks, votes, times, and a state that is rebuilt from its events."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import RunConfig
from instruct_tune.errors import DataError, SettingsError
from instruct_tune.lesson import timing
from instruct_tune.lesson.locks import Lock, faults, read_locks, settings_of
from instruct_tune.lesson.room import LONGEST_NAME, Room, read_name
from instruct_tune.lesson.votes import share

# Names


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("  Anna \n Lena  ", "Anna Lena"),
        ("\u202eanna\u2066", "anna"),
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("<img onerror=x>", "<img onerror=x>"),
        ("Zoe\u0301", "Zoé"),
        ("Мария", "Мария"),
        ("नीलम", "नीलम"),
        ("x" * 10_000, "x" * LONGEST_NAME),
        ("o" + "\u0336" * 50, "o\u0336\u0336"),
        ("half\ud83d", "half"),
    ],
)
def test_a_name_is_one_line_that_turns_nothing(typed, shown):
    assert read_name(typed) == shown


@pytest.mark.parametrize("typed", ["", "   ", "\u202e\u200b", None, 5, ["a"], "\ud800"])
def test_a_name_of_nothing_is_refused(typed):
    with pytest.raises(DataError, match="name"):
        read_name(typed)


@given(st.text(max_size=200))
def test_no_name_holds_what_draws_nothing(typed):
    try:
        name = read_name(typed)
    except DataError:
        return
    assert 0 < len(name) <= LONGEST_NAME
    assert all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in name)
    assert name == " ".join(name.split())


# Locks

MINUTE = PRESETS["minute"]


def changed(**sections):
    return RunConfig.from_dict(sections, "minute")


@pytest.mark.parametrize(
    ("name", "lock", "allowed", "refused"),
    [
        ("lora.r", "fixed", changed(), changed(lora={"r": 8})),
        ("lora.r", "hidden", changed(), changed(lora={"r": 8})),
        ("lora.r", "4..16", changed(lora={"r": 4}), changed(lora={"r": 17})),
        ("lora.r", "4|16", changed(lora={"r": 4}), changed(lora={"r": 8})),
        ("template", "lesson|alpaca", changed(template="alpaca"), changed(template="chat")),
        ("template", "fixed", changed(), changed(template={"without_input": "{instruction}", "with_input": "{input}"})),
        ("train.seed", "1..50", changed(train={"seed": 50}), changed(train={"seed": 51})),
        ("data.filters", "fixed", changed(), changed(data={"filters": []})),
        ("data.limit", "1..100", changed(), changed(data={"limit": None})),
        ("generation.stop", "fixed", changed(), changed(generation={"stop": ["\n"]})),
        ("data.columns", "fixed", changed(), changed(data={"columns": {"instruction": "q"}})),
    ],
)  # fmt: skip
def test_a_lock_allows_and_refuses(name, lock, allowed, refused):
    locks = read_locks({name: lock})
    assert faults(locks, allowed, MINUTE) == []
    (fault,) = faults(locks, refused, MINUTE)
    assert name in fault


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        ("lora.rank", "fixed"),
        ("lora", "fixed"),
        ("lora.r", ""),
        ("lora.r", "4.."),
        ("lora.r", "9..4"),
        ("lora.r", "nan..4"),
        ("lora.r", "one"),
        ("lora.r", "|".join(map(str, range(50)))),
        ("lora.r", 4),
        ("data.filters", "1..2"),
        ("lora.r", "x" * 1000),
    ],
)
def test_a_lock_that_cannot_be_read_is_named(name, lock):
    with pytest.raises(SettingsError, match=r"lock"):
        read_locks({name: lock})


SETTINGS = settings_of(MINUTE)


@given(st.sampled_from(sorted(SETTINGS)), st.sampled_from(["fixed", "1..50", "1|2|48", "alpaca|lesson", "true|false"]))
def test_the_nearest_value_is_one_that_the_lock_allows(name, text):
    try:
        lock = read_locks({name: text})[name]
    except SettingsError:
        return
    for value in (SETTINGS[name], 5, 1000, "chat", True, None):
        assert lock.fault(name, lock.nearest(value, SETTINGS[name]), SETTINGS[name]) is None


def test_true_is_not_one():
    assert Lock("choices", choices=(1, 2)).fault("x", True, 1)


# Votes


@pytest.mark.parametrize(
    ("right", "votes", "low", "high", "says"),
    [
        # Wilson intervals of statsmodels.stats.proportion.proportion_confint(method="wilson").
        (14, 20, 0.4810, 0.8545, "could be guessing"),
        (19, 20, 0.7639, 0.9911, "more than guessing"),
        (1, 20, 0.0089, 0.2361, "like base"),
        (0, 3, 0.0, 0.5615, "could be guessing"),
        (10, 10, 0.7225, 1.0, "more than guessing"),
    ],
)
def test_the_interval_of_the_votes(right, votes, low, high, says):
    result = share(right, votes)
    assert (result.low, result.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))
    assert says in result.sentence
    assert f"{right} of {votes}" in result.sentence


def test_no_votes_show_nothing():
    assert share(0, 0).sentence == "Nobody voted."


# Times


def run(losses, seconds=2.0):
    """The steps of a run, and its curve: the held-out loss is measured at every second step."""
    steps = [{"step": step, "seconds": seconds} for step in range(1, 2 * len(losses))]
    return steps, timing.curve([{"step": 2 * at, "probe_loss": loss} for at, loss in enumerate(losses)])


def reached(run, target):
    steps, points = run
    found = timing.steps_to(points, target)
    return found and timing.reached(steps, *found)


def test_a_run_is_timed_to_the_loss_that_all_reach():
    fast, slow = run([3.0, 2.0, 1.5]), run([3.0, 2.8, 1.9])
    target = timing.reached_by_all([fast[1], slow[1]])
    assert target == 1.9
    assert reached(fast, target) == timing.Reached(by=8.0, over=4.0)
    assert reached(fast, 2.0) == timing.Reached(by=4.0, over=0.0)
    assert reached(fast, 3.0) == timing.Reached(by=0.0, over=0.0)
    assert reached(slow, target) == timing.Reached(by=8.0, over=4.0)
    assert reached(slow, 1.0) is None
    assert timing.reached_by_all([]) is None


@pytest.mark.parametrize(
    ("spans", "groups"),
    [
        ({}, {}),
        # (over, by]: two that overlap may have been as fast.
        ({"a": (4, 8), "b": (6, 10), "c": (8, 12)}, {"a": 1, "b": 1, "c": 2}),
        # Not by a chain: what differs from the best of the group is in another.
        ({"a": (2, 6), "b": (5, 9), "c": (8, 11)}, {"a": 1, "b": 1, "c": 2}),
        ({"late": (20, 30), "early": (0, 5)}, {"early": 1, "late": 2}),
        # Low enough before the first step.
        ({"a": (0, 0), "b": (0, 0), "c": (0, 4)}, {"a": 1, "b": 1, "c": 2}),
    ],
)
def test_runs_with_overlapping_times_are_one_group(spans, groups):
    assert timing.tied({name: timing.Reached(by, over) for name, (over, by) in spans.items()}) == groups


# The state


def event(kind, **values):
    return {"kind": kind, "at": 1000.0, **values}


EVENTS = (
    event("opened", title="Monday", host="host", ends=2000.0),
    event("joined", viewer="ann", name="Ann"),
    event("joined", viewer="bob", name="Bob"),
    event("prepared", activity={"id": "a1", "kind": "blind", "content": {}, "choices": ["A", "B"]}),
    event("prepared", activity={"id": "a2", "kind": "board", "content": {"by": "score"}, "choices": []}),
    event("began", activity="a1"),
    event("chose", viewer="ann", activity="a1", choice="A"),
    event("chose", viewer="bob", activity="a1", choice="A"),
    event("chose", viewer="ann", activity="a1", choice="B"),
    event("ran", viewer="ann", run="r1", config="k1"),
    event("ran", viewer="bob", run="r1", config="k1"),
    event("handed", viewer="ann", run="r1"),
    event("of a later release", anything=1),
)


def test_a_room_is_its_events():
    room = Room("ABC234")
    for each in EVENTS:
        room.add(each)
    assert room.version == len(EVENTS)
    assert [person.name for person in room.present] == ["Ann", "Bob"]
    assert room.activity.counts == {"A": 1, "B": 1}, "a person counts once, with the last choice"
    assert room.runs == {"r1": ["s1", "s2"]}
    assert room.next_prepared() == "a2"
    room.add(event("removed", viewer="bob"))
    assert room.activity.counts == {"A": 0, "B": 1}
    assert room.runs == {"r1": ["s1"]}
    with pytest.raises(DataError, match="removed"):
        room.person("bob")


def test_what_another_thread_walks_through_does_not_change():
    room = Room("ABC234")
    for each in EVENTS[:10]:
        room.add(each)
    activity = room.activities["a1"]
    walked = [room.people, room.activities, room.order, room.configs, room.people["ann"].runs, activity.answers]
    before = [list(each) for each in walked]
    for each in (*EVENTS[10:], event("joined", viewer="cid", name="Cid"), event("dropped", activity="a2")):
        room.add(each)
    room.add(event("chose", viewer="cid", activity="a1", choice="A"))
    room.add(event("ran", viewer="ann", run="r2", config="k2"))
    room.add(event("removed", viewer="bob"))
    assert [list(each) for each in walked] == before


def test_a_person_who_joins_after_a_removal_gets_a_new_id():
    room = Room("ABC234")
    for each in (*EVENTS, event("removed", viewer="ann"), event("joined", viewer="cid", name="Cid")):
        room.add(each)
    assert [person.id for person in room.present] == ["s2", "s3"]
