"""Rooms in a lab: who may do what, whose vote counts, and what is kept."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from data_files import make_rows
from labs import PATIENCE, opened, smoke, write_rows
from room_lab import ANN, BOB, EVE, TEACHER, opened_room

from instruct_tune.config import viewer as viewers
from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.config.viewer import ANONYMOUS, known_by
from instruct_tune.errors import BusyError, DataError, ModelError, NotFoundError, NotYoursError, SettingsError
from instruct_tune.pretrained import hub_access
from instruct_tune.services import rooms as rooms_module
from instruct_tune.services.rooms import ENDED, MAX_ROOMS
from instruct_tune.store import clock as clock_module

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.fixture
def room(lab):
    return opened_room(lab)


def started_activity(lab, code, kind="blind"):
    """An activity that has begun, with the choices A and B."""
    activity = lab.rooms.prepare(TEACHER, code, kind, {"tuned": "A"}, ["A", "B"])
    lab.rooms.begin(TEACHER, code, activity)
    return activity


# Who


def test_a_room_of_a_lab_of_one_user_is_opened_by_who_comes_first(lab):
    assert lab.rooms.may_open(EVE)
    lab.rooms.open(TEACHER, "Monday", 60)
    assert not lab.rooms.may_open(EVE)
    with pytest.raises(NotYoursError, match="host"):
        lab.rooms.open(EVE, "Mine", 60)


def test_while_a_room_is_open_its_host_alone_names_files_and_models_of_the_machine(lab, tmp_path):
    file = Path(write_rows(tmp_path / "grades.jsonl", make_rows(20)))
    (tmp_path / "model").mkdir()
    named = [{"data": {"source": str(file)}}, {"model": str(tmp_path / "model")}]
    assert lab.datasets.preview(ANN, named[0])["rows_loaded"] == 20
    opened_room(lab)
    for viewer in (ANN, EVE, ANONYMOUS):
        for config in named:
            with pytest.raises((DataError, ModelError), match="hosted"):
                lab.configs.read(viewer, config)
        with pytest.raises(DataError, match="hosted"):
            lab.datasets.preview(viewer, named[0])
        with pytest.raises(DataError, match="hosted"):
            lab.training.start(viewer, smoke(data={"source": str(file)}))
    host = lab.access.known(TEACHER)
    assert lab.datasets.preview(host, named[0])["rows_loaded"] == 20
    assert lab.configs.read(host, named[1]).model == str(tmp_path / "model")


def test_what_a_host_uploads_is_theirs_after_the_room(lab, tmp_path):
    room, file = opened_room(lab), Path(write_rows(tmp_path / "mine.jsonl", make_rows(20)))
    host = lab.access.known(TEACHER)
    config = {"data": {"source": str(lab.uploads.keep(host, file))}}
    with pytest.raises(DataError, match="hosted"):
        lab.configs.read(ANN, config)
    lab.rooms.end(host, room)
    assert lab.datasets.preview(TEACHER, config)["rows_loaded"] == 20


def test_what_the_host_read_by_their_login_is_no_guests(lab, monkeypatch):
    """A copy in memory would be served without a question to the Hub."""
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_of_the_host")
    monkeypatch.setattr(hub_access, "_came_by_token", set())
    monkeypatch.setattr("instruct_tune.pretrained.hub.hub_reachable", lambda: False)
    asked, cached = (hub_access.Access("dataset", f"me/{name}") for name in ("private", "cached"))
    default = hub_access.Access("model", DEFAULT_MODEL)
    assert (asked.token, default.token) == (None, None)
    assert cached.is_known("a commit that came by the login")
    assert all(each.is_readable() for each in (asked, cached, default))
    room = opened_room(lab)
    assert [each.is_readable() for each in (asked, cached, default)] == [False, False, True]
    lab.rooms.end(lab.access.known(TEACHER), room)
    assert asked.is_readable()


def test_where_others_use_the_lab_the_hosts_token_opens_rooms(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_ADMIN_TOKEN", "the host's token")
    with opened(tmp_path / "data") as lab:
        for token in (None, "", "the host's toke", 5):
            with pytest.raises(NotYoursError, match="LAB_ADMIN_TOKEN"):
                lab.rooms.open(TEACHER, "Monday", 60, token)
        code = lab.rooms.open(TEACHER, "Monday", 60, "the host's token")
        assert lab.rooms.is_host(TEACHER, lab.rooms.get(code))
        with pytest.raises(DataError, match="secret"):
            lab.rooms.open(ANONYMOUS, "Monday", 60, "the host's token")
        for _ in range(MAX_ROOMS - 1):
            lab.rooms.open(TEACHER, "More", 60, "the host's token")
        with pytest.raises(BusyError, match="end one first"):
            lab.rooms.open(TEACHER, "Too many", 60, "the host's token")


@pytest.mark.parametrize("minutes", [0, -1, None, "60", True, float("nan"), 10**9])
def test_a_room_has_an_end(lab, minutes):
    with pytest.raises(DataError, match="minutes"):
        lab.rooms.open(TEACHER, "Monday", minutes)


def test_only_the_host_changes_a_room(lab, room):
    activity = started_activity(lab, room)
    ann = lab.rooms.person(ANN, lab.rooms.get(room)).id
    for denied in (
        lambda who: lab.rooms.rule(who, room, {}),
        lambda who: lab.rooms.remove(who, room, ann),
        lambda who: lab.rooms.rename(who, room, "Rude", ann),
        lambda who: lab.rooms.prepare(who, room, "board", {}, []),
        lambda who: lab.rooms.begin(who, room, activity),
        lambda who: lab.rooms.reveal(who, room, activity),
        lambda who: lab.rooms.drop(who, room, activity),
        lambda who: lab.rooms.move_up(who, room, activity),
        lambda who: lab.rooms.extend(who, room, 10),
        lambda who: lab.rooms.end(who, room),
        lambda who: lab.room_activities.guess(who, room, "rank"),
        lambda who: lab.room_activities.blind(who, room, "recorded-good"),
        lambda who: lab.room_activities.board(who, room, "score"),
    ):
        for who in (BOB, EVE, ANONYMOUS):
            with pytest.raises(NotYoursError):
                denied(who)
    assert lab.rooms.get(room).version == 6, "nothing was stored"


def test_the_plan_is_put_in_another_order(lab, room):
    first, second, third = (lab.room_activities.board(TEACHER, room, "score") for _ in range(3))
    for moved, order in (
        (third, [first, third, second]),
        (third, [third, first, second]),
        (third, [third, first, second]),
        (second, [third, second, first]),
    ):
        lab.rooms.move_up(TEACHER, room, moved)
        assert lab.rooms.get(room).order == order
    lab.rooms.begin(TEACHER, room)
    assert lab.rooms.get(room).current == third
    with pytest.raises(NotFoundError):
        lab.rooms.move_up(TEACHER, room, "nothing")


def test_names_are_unlike_and_the_host_may_change_and_remove_them(lab, room):
    lab.rooms.join(EVE, room, "ann")
    named = lambda: [person.name for person in lab.rooms.get(room).present]  # noqa: E731
    assert named() == ["Ann", "Bob", "ann 2"]
    assert lab.rooms.join(ANN, room, "Somebody else").name == "Ann", "who is in the room keeps their name"
    lab.rooms.rename(ANN, room, "Anna")
    lab.rooms.rename(TEACHER, room, "Robert", "s2")
    assert named() == ["Anna", "Robert", "ann 2"]
    lab.rooms.remove(TEACHER, room, "s3")
    for again in (lambda: lab.rooms.join(EVE, room, "Eve"), lambda: lab.rooms.rename(EVE, room, "Eve")):
        with pytest.raises(DataError, match="removed"):
            again()
    with pytest.raises(NotFoundError):
        lab.rooms.remove(TEACHER, room, "s3")


def test_while_a_room_is_open_its_host_is_the_labs_and_others_are_visitors(lab):
    before = lab.training.start(ANN, smoke(), "before")
    lab.training.wait(before, PATIENCE)
    assert not lab.access.multi_user
    assert not viewers.multi_user()
    code = lab.rooms.open(TEACHER, "Monday", 60)
    assert lab.access.known(TEACHER).host
    assert not lab.access.known(ANN).host
    assert viewers.multi_user(), "the Hub token of this machine serves nobody meanwhile"
    with pytest.raises(NotYoursError):
        lab.runs.rename(BOB, before, "mine")
    lab.runs.rename(ANN, before, "mine")
    lab.runs.rename(lab.access.known(TEACHER), before, "yours")
    lab.rooms.end(TEACHER, code)
    assert not lab.access.known(TEACHER).host
    assert not viewers.multi_user()
    lab.runs.rename(BOB, before, "everybody's again")


# Choosing


def test_a_vote_counts_once_and_only_while_its_question_is_open(lab, room):
    activity = started_activity(lab, room)
    for choice in ("A", "B", "B"):
        lab.rooms.choose(ANN, room, activity, choice)
    lab.rooms.choose(BOB, room, activity, "B")
    counts = lambda: lab.rooms.get(room).activities[activity].counts  # noqa: E731
    assert counts() == {"A": 0, "B": 2}
    with pytest.raises(DataError, match="not in this room"):
        lab.rooms.choose(EVE, room, activity, "A")
    for wrong in ("C", None, ["A"], 0):
        with pytest.raises(DataError, match="answers"):
            lab.rooms.choose(ANN, room, activity, wrong)
    later = started_activity(lab, room)
    with pytest.raises(DataError, match="something else"):
        lab.rooms.choose(ANN, room, activity, "A")
    lab.rooms.begin(TEACHER, room, activity)
    lab.rooms.reveal(TEACHER, room, activity)
    with pytest.raises(DataError, match="revealed"):
        lab.rooms.choose(ANN, room, activity, "A")
    assert counts() == {"A": 0, "B": 2}
    with pytest.raises(NotFoundError):
        lab.rooms.choose(ANN, room, "another", "A")
    assert lab.rooms.get(room).activities[later].counts == {"A": 0, "B": 0}


def test_a_vote_for_another_room_is_not_counted(lab, room):
    other = lab.rooms.open(lab.access.known(TEACHER), "Tuesday", 60)
    lab.rooms.join(ANN, other, "Ann")
    activity = started_activity(lab, room)
    with pytest.raises(NotFoundError):
        lab.rooms.choose(ANN, other, activity, "A")
    assert lab.rooms.get(room).activities[activity].answers == {}


def test_who_changes_too_much_is_refused_and_nobody_else(lab, room, monkeypatch):
    monkeypatch.setattr(rooms_module, "MAX_CHANGES", 4)
    activity = started_activity(lab, room)
    for choice in "ABA":
        lab.rooms.choose(ANN, room, activity, choice)
    with pytest.raises(BusyError, match="too much"):
        lab.rooms.choose(ANN, room, activity, "B")
    lab.rooms.choose(BOB, room, activity, "B")
    assert lab.rooms.get(room).activities[activity].counts == {"A": 1, "B": 1}


def test_thirty_at_once_lose_nothing(lab, room):
    activity, gate = started_activity(lab, room), threading.Barrier(30)
    crowd = [known_by(f"the secret of student {number}") for number in range(30)]

    def take_part(who):
        gate.wait(PATIENCE)
        lab.rooms.join(who, room, "Student")
        for choice in "ABAB":
            lab.rooms.choose(who, room, activity, choice)

    threads = [threading.Thread(target=take_part, args=(who,)) for who in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert lab.rooms.get(room).activities[activity].counts == {"A": 0, "B": 30}
    names = [person.name for person in lab.rooms.get(room).present]
    assert len(set(names)) == 32


# What is kept


def test_a_killed_lab_has_its_rooms_again_and_one_that_ended_is_forgotten(lab, room, tmp_path):
    activity = started_activity(lab, room)
    lab.rooms.choose(ANN, room, activity, "A")
    # A second reader of the files, as after a kill: nothing was closed.
    again = rooms_module.Rooms(lab.data_dir, lab.access, lab.queue, lab.clock)
    found = again.get(room)
    assert [person.name for person in found.present] == ["Ann", "Bob"]
    assert found.activity.answers == {"s1": "A"}
    assert found.rules.preset == "smoke"
    assert again.is_host(TEACHER, found)
    lab.rooms.end(TEACHER, room)
    with pytest.raises(NotFoundError, match="has ended"):
        lab.rooms.get(room)
    assert list((lab.data_dir / "rooms").iterdir()) == []
    assert rooms_module.Rooms(lab.data_dir, lab.access, lab.queue, lab.clock).joined(ANN) is None


def test_a_damaged_line_costs_what_it_held_alone(lab, room):
    (file,) = (lab.data_dir / "rooms").iterdir()
    lines = file.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"Ann"' in line)
    lines[at] = lines[at].replace("Ann", "Xnn")
    file.write_text("\n".join(lines) + "\n12345678 {half a li")
    again = rooms_module.Rooms(lab.data_dir, lab.access, lab.queue, lab.clock)
    assert [person.name for person in again.get(room).present] == ["Bob"]
    lab.rooms.join(EVE, room, "Eve")
    last = rooms_module.Rooms(lab.data_dir, lab.access, lab.queue, lab.clock)
    assert [person.name for person in last.get(room).present] == ["Bob", "Eve"]


def test_a_room_ends_by_itself(lab, room, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(clock_module.time, "monotonic", lambda: now + 61 * 60)
    with pytest.raises(NotFoundError) as ended:
        lab.rooms.get(room)
    assert str(ended.value) == ENDED
    assert not lab.access.multi_user
    assert list((lab.data_dir / "rooms").iterdir()) == []


def test_a_room_outlives_a_jump_of_the_wall_clock(lab, room, monkeypatch):
    now = time.time()
    monkeypatch.setattr(clock_module.time, "time", lambda: now + 365 * 24 * 3600)
    assert lab.rooms.get(room).code == room


@pytest.mark.parametrize(
    "changes",
    [
        {"max_rows": 0},
        {"max_steps": "many"},
        {"short_share": 2},
        {"short_share": None},
        {"target": float("nan")},
        {"names_hidden": 1},
        {"locks": {"lora.r": "none"}},
        {"locks": []},
        {"settings": {"lora.rank": 4}},
        {"preset": "hour"},
        {"unknown": 1},
        {"locks": {"lora.r": "32..64"}},
    ],
)
def test_rules_that_cannot_hold_are_refused_whole(lab, room, changes):
    before = lab.rooms.get(room).rules
    with pytest.raises(SettingsError):
        lab.rooms.rule(TEACHER, room, {"max_rows": 5, **changes})
    assert lab.rooms.get(room).rules == before


def test_a_host_who_joined_cannot_be_removed(lab, room):
    host = lab.rooms.join(TEACHER, room, "Teacher")
    with pytest.raises(DataError, match="end the room instead"):
        lab.rooms.remove(TEACHER, room, host.id)
    # As an earlier release stored it.
    host.removed = True
    assert lab.rooms.person(TEACHER, lab.rooms.get(room)) is None


def test_the_room_that_was_joined_last_counts_whenever_it_was_opened(lab, room, tmp_path, monkeypatch):
    monkeypatch.setattr(lab.rooms, "may_open", lambda *who: True)
    later = lab.rooms.open(TEACHER, "Tuesday", 60)
    lab.rooms.join(EVE, later, "Eve")
    lab.rooms.join(EVE, room, "Eve")
    assert lab.rooms.joined(EVE)[0].code == room
    lab.close()
    with opened(tmp_path / "data") as again:
        assert again.rooms.joined(EVE)[0].code == room
