"""What a room's locks do to the page and to a script, for its members alone and until it ends."""

from __future__ import annotations

import pytest
from labs import smoke
from room_lab import ANN, EVE, TEACHER, opened_room

from instruct_tune.errors import SettingsError
from instruct_tune.lesson.links import Link
from instruct_tune.ui.links.limits import LimitsInForce, Opened, Place

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")

RULES = {"preset": "smoke", "settings": {"lora.r": 4}, "locks": {"lora.r": "fixed", "train.learning_rate": "0..0.01"}}


@pytest.fixture
def room(lab):
    return opened_room(lab, RULES)


@pytest.fixture
def limits(lab):
    return LimitsInForce(lab.rooms)


def test_a_locked_setting_is_refused_to_a_script_until_the_room_ends(lab, room):
    locked = smoke(lora={"r": 8}, train={"learning_rate": 0.01})
    with pytest.raises(SettingsError, match=r"lora\.r is fixed at 4"):
        lab.training.start(ANN, locked)
    with pytest.raises(SettingsError, match=r"learning_rate must be between"):
        lab.training.start(ANN, smoke(lora={"r": 4}, train={"learning_rate": 0.02}))
    assert lab.training.start(TEACHER, locked)
    lab.rooms.end(TEACHER, room)
    assert lab.training.start(ANN, locked)


def test_start_takes_what_is_fixed_and_refuses_what_is_limited(lab, room, limits):
    form = smoke(lora={"r": 8}, train={"learning_rate": 0.01}).to_dict()
    assert limits.hold(ANN, Opened(), form)["lora"]["r"] == 4
    assert limits.hold(TEACHER, Opened(), form) == limits.hold(EVE, Opened(), form) == form
    with pytest.raises(SettingsError, match=r"learning_rate"):
        limits.hold(ANN, Opened(), {**form, "train": {"learning_rate": 0.02}})
    lab.rooms.end(TEACHER, room)
    assert limits.hold(ANN, Opened(), form) == form


def test_a_link_locks_its_page_and_a_room_comes_before_it(lab, room, limits):
    link = Opened(Link("smoke", {"lora.r": 2}, {"lora.r": "fixed"}))
    assert limits.hold(EVE, link, {"lora": {"r": 8}}) == {"lora": {"r": 2}}
    assert limits.hold(ANN, link, {"lora": {"r": 8}}) == {"lora": {"r": 4}}
    # The locks of a room's link hold for who has joined it.
    assert limits.hold(EVE, Opened(Link("smoke", {}, {"lora.r": "fixed"}, room=room)), {"lora": {"r": 8}}) == {
        "lora": {"r": 8}
    }


def test_a_place_changes_with_the_rules_alone(lab, room, limits):
    before = limits.place(ANN, Opened())
    assert before == limits.place(ANN, Opened())
    assert (before.title, before.name, before.hosts) == ("Monday", "Ann", False)
    lab.rooms.join(EVE, room, "Eve")
    assert limits.place(ANN, Opened()) == before
    lab.rooms.rule(TEACHER, room, {"max_rows": 8})
    assert limits.place(ANN, Opened()).rules.max_rows == 8
    assert limits.place(TEACHER, Opened()).hosts
    lab.rooms.end(TEACHER, room)
    assert limits.place(ANN, Opened()) == Place()


def test_a_room_that_one_has_not_joined_is_offered(lab, room, limits):
    assert limits.place(EVE, Opened(Link(room=room))).offered == (room, "Monday")
    assert "no room with this code" in limits.place(EVE, Opened(Link(room="ZZZZZZ"))).opened.fault
    lab.rooms.remove(TEACHER, room, lab.rooms.get(room).present[0].id)
    assert "removed" in limits.place(ANN, Opened(Link(room=room))).opened.fault
