"""The room's endpoints: whatever is posted gets one sentence, and who is asking comes from a header alone."""

from __future__ import annotations

import gc
import json
import weakref

import pytest
from labs import opened, smoke
from starlette.applications import Starlette
from starlette.testclient import TestClient

from instruct_tune.errors import NotFoundError
from instruct_tune.runs.examples import put_recorded
from instruct_tune.services import rooms as rooms_module
from instruct_tune.ui.context import HEADER
from instruct_tune.ui.room import routes as module
from instruct_tune.ui.room.routes import RoomRoutes

TEACHER, ANN = {HEADER: "the secret of the teacher"}, {HEADER: "the secret of the student"}
HOSTILE = (
    None, True, 0, -1, 1e308, float("nan"), "", "x" * 5_000, "\ud83d", "\x00", "../../etc/passwd", "<img src=x>", [],
    ["A"], {}, {"a": {"b": []}}, [[[]]],
)  # fmt: skip
ACTIONS = sorted(module._ACTIONS)
NAMES = (
    "title", "minutes", "token", "name", "person", "changes", "experiment", "run", "instruction", "cards", "seeds",
    "by", "activity", "choice",
)  # fmt: skip


def no_page(viewer, run_id):
    raise NotFoundError.of(run_id)


@pytest.fixture
def lab(tmp_path):
    with opened(tmp_path / "data") as lab:
        put_recorded(lab.store)
        yield lab


@pytest.fixture
def client(lab):
    with TestClient(Starlette(routes=RoomRoutes(lab, no_page).routes)) as client:
        yield client


@pytest.fixture
def code(client):
    code = client.post("/room/api/open", json={"title": "Monday", "minutes": 60}, headers=TEACHER).json()["code"]
    client.post("/room/api/join", json={"code": code, "name": "Ann"}, headers=ANN)
    return code


def posted(client, action, body, headers):
    return client.post(f"/room/api/{action}", content=json.dumps(body), headers=headers)


@pytest.mark.slow
@pytest.mark.parametrize("action", ACTIONS)
def test_whatever_is_posted_gets_an_answer_or_a_sentence(client, lab, code, action, monkeypatch):
    # What a room's runs begin with would be trained.
    monkeypatch.setattr(lab.training, "start", lambda viewer, config: "a run")
    # Ending the room would make all later answers alike; it takes only a code.
    names = ("code",) if action == "end" else (*NAMES, "code")
    for value in HOSTILE:
        for body in (dict.fromkeys(names, value), {"code": code, **dict.fromkeys(NAMES, value)}):
            if action == "end" and body.get("code") == code:
                continue
            for headers in (ANN, TEACHER, {}):
                answer = posted(client, action, body, headers)
                assert answer.status_code in (200, 400, 403, 404, 409), answer.text
                if answer.status_code != 200:
                    sentence = answer.json()["error"]
                    assert sentence.endswith((".", "?")), sentence
                    assert "Traceback" not in sentence
    assert client.get("/room/api/state", params={"code": code}, headers=ANN).status_code == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"5", b"{", b"[" * 50_000, b'"text"', b"\xff\xfe"])
def test_what_is_no_object_is_refused(client, code, body):
    for action in ("choose", "unknown"):
        answer = client.post(f"/room/api/{action}", content=body, headers=ANN)
        assert answer.status_code in (400, 404), answer.text
        assert answer.json()["error"]


def test_a_body_has_an_end(client, code):
    answer = client.post("/room/api/join", content=b"x" * (module.MAX_BODY + 1), headers=ANN)
    assert (answer.status_code, answer.json()) == (413, {"error": "That is too long."})


def test_an_action_is_never_a_get(client, code):
    assert client.get("/room/api/end", params={"code": code}, headers=TEACHER).status_code == 405


def test_without_the_header_nobody_is_anybody(client, code):
    for headers in ({}, {HEADER: "short"}, {"cookie": f"{HEADER}={TEACHER[HEADER]}"}):
        assert client.post("/room/api/end", json={"code": code}, headers=headers).status_code in (400, 403)
    state = client.get("/room/api/state", params={"code": code}).json()
    assert state == {"room": {"code": code, "title": "Monday", "ends": state["room"]["ends"]}, "you": None}


def test_what_a_page_has_seen_is_not_sent_again(client, code):
    first = client.get("/room/api/state", params={"code": code}, headers=ANN)
    tag = first.headers["x-room-state"]
    assert client.get("/room/api/state", params={"code": code, "seen": tag}, headers=ANN).status_code == 204
    client.post("/room/api/rename", json={"code": code, "name": "Anna"}, headers=ANN)
    later = client.get("/room/api/state", params={"code": code, "seen": tag}, headers=ANN)
    assert later.json()["you"]["name"] == "Anna"


def test_nothing_of_a_viewer_leaves_the_lab(client, lab, code):
    activity = client.post("/room/api/guess", json={"code": code, "experiment": "rank"}, headers=TEACHER).json()
    client.post("/room/api/begin", json={"code": code}, headers=TEACHER)
    choice = {"code": code, "activity": activity["activity"], "choice": "lower"}
    assert client.post("/room/api/choose", json=choice, headers=ANN).status_code == 200
    states = [client.get("/room/api/state", params={"code": code}, headers=who).text for who in (ANN, TEACHER)]
    for person in lab.rooms.get(code).present:
        assert not any(person.viewer in state for state in states)
    # Who guessed what is nobody's to see, and how many, only the host's before the reveal.
    assert "counts" not in json.loads(states[0])["room"]["activity"]
    assert json.loads(states[1])["you"]["counts"]["lower"] == 1


def test_typed_prompts_and_folders_are_on_no_board(client, lab, code, tmp_path):
    train = {"own_prompts": ["Am I pregnant?"], "learning_rate": 0.0123}
    config = smoke(data={"source": str(tmp_path / "Application Support" / "rows.json")}, train=train)
    run_id = lab.store.create("mine", config.to_dict()).id
    [ann] = [person for person in lab.rooms.get(code).present if person.name == "Ann"]
    ann.runs.append(run_id)
    state = client.get("/room/api/state", params={"code": code}, headers=ANN).text
    handed_in = client.get("/room/api/handed_in", params={"code": code}, headers=TEACHER).text
    for text in (state, handed_in):
        assert run_id in text
        assert "pregnant" not in text
        assert str(tmp_path) not in text
        assert "Application Support" not in text
        assert "0.0123" in text


def test_rules_that_do_not_go_with_a_sweeps_card_are_refused_and_end_no_room(client, lab, code, monkeypatch):
    cards = [{"label": f"{rows} rows", "settings": {"train.bleu_rows": rows}} for rows in (2, 3)]
    sweep = posted(client, "sweep", {"code": code, "title": "BLEU", "cards": cards}, TEACHER).json()["activity"]
    assert posted(client, "begin", {"code": code, "activity": sweep}, TEACHER).status_code == 200
    # This preset has no evaluations while it trains.
    rules = {"code": code, "changes": {"preset": "overfit"}}
    refused = posted(client, "rule", rules, TEACHER)
    assert (refused.status_code, "2 rows: " in refused.json()["error"]) == (400, True)
    assert client.get("/room/api/state", params={"code": code}, headers=ANN).status_code == 200
    # A room of an earlier lab may have both: its page goes on asking, for only 4xx is the end of a room.
    monkeypatch.setattr(rooms_module, "card_config", lambda rules, card: None)
    assert posted(client, "rule", rules, TEACHER).status_code == 200
    assert client.get("/room/api/state", params={"code": code}, headers=ANN).status_code == 500
    monkeypatch.undo()
    assert posted(client, "rule", {"code": code, "changes": {"preset": "minute"}}, TEACHER).status_code == 200
    assert client.get("/room/api/state", params={"code": code}, headers=ANN).status_code == 200
    # A sweep that is over binds nobody, until it is to begin again.
    posted(client, "guess", {"code": code, "experiment": "rank"}, TEACHER)
    assert posted(client, "begin", {"code": code}, TEACHER).status_code == 200
    assert posted(client, "rule", rules, TEACHER).status_code == 200
    again = posted(client, "begin", {"code": code, "activity": sweep}, TEACHER)
    assert (again.status_code, "2 rows: " in again.json()["error"]) == (400, True)
    assert client.get("/room/api/state", params={"code": code}, headers=ANN).status_code == 200


def test_who_is_tuned_is_not_in_the_state_before_the_reveal(client, code):
    blind = client.post("/room/api/blind", json={"code": code, "run": "recorded-good"}, headers=TEACHER).json()
    client.post("/room/api/begin", json={"code": code, "activity": blind["activity"]}, headers=TEACHER)
    shown = client.get("/room/api/state", params={"code": code}, headers=ANN).json()["room"]["activity"]
    assert sorted(shown) == ["answered", "choices", "id", "input", "instruction", "kind", "revealed", "texts"]
    client.post("/room/api/reveal", json={"code": code, "activity": blind["activity"]}, headers=TEACHER)
    revealed = client.get("/room/api/state", params={"code": code}, headers=ANN).json()["room"]["activity"]
    assert revealed["right"] in "AB"
    assert revealed["texts"] == shown["texts"]


def test_nothing_of_an_ended_room_is_left_in_memory(client, lab, code):
    kept = weakref.ref(lab.rooms.get(code))
    assert client.get("/room/api/state", params={"code": code}, headers=ANN).status_code == 200
    client.post("/room/api/end", json={"code": code}, headers=TEACHER)
    gc.collect()
    assert kept() is None


def test_pages_let_no_script_in(client):
    for path in ("/room", "/present"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    for name in ("routes.py", "room.html", "../app.py", "x"):
        assert client.get(f"/room/{name}").status_code == 404


def test_a_qr_code_is_a_link(client):
    drawn = client.get("/room/qr.svg", params={"link": "https://lab.example/room?code=ABC234"})
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert "<path" in drawn.text
    for link in ("", "javascript:alert(1)", "https://x/" + "a" * 500):
        assert client.get("/room/qr.svg", params={"link": link}).status_code == 400


def test_a_name_is_no_formula_in_the_list(client, code):
    client.post("/room/api/rename", json={"code": code, "name": "=1+1"}, headers=ANN)
    rows = client.get("/room/api/handed_in", params={"code": code}, headers=TEACHER).text.splitlines()
    assert rows[1].startswith("'=1+1,")
    assert client.get("/room/api/handed_in", params={"code": code}, headers=ANN).status_code == 403


def test_a_run_that_is_not_for_everybody_has_no_page(client):
    answer = client.get("/room/page", params={"run": "20260101-000000-0000"})
    assert answer.status_code == 404
    assert "no run" in answer.json()["error"].lower()
