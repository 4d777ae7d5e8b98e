"""A teacher's link fills and locks the form; a room's locks reach a page that is open, and end with the room."""

from __future__ import annotations

import json
import urllib.request
from urllib.parse import urlencode

import pytest
from browser import SHOTS, Window
from gradio_client import Client
from gradio_client.exceptions import AppError

pytestmark = pytest.mark.slow

LINK = {
    "preset": "smoke",
    "set.lora.r": "7",
    "set.train.learning_rate": "0.002",
    "lock.lora.r": "fixed",
    "lock.train.seed": "hidden",
    "lock.train.learning_rate": "0.0001..0.01",
    "lock.template": "lesson|alpaca",
    "tab": "Train",
    "step": "3",
}
RANK, RATE = "#train-rank input[type=number]", "#train-learning-rate input"
TEACHER, STUDENT = "the secret of the teacher", "the secret of the student"


def act(address: str, secret: str, action: str, **values):
    """A request of the room's page."""
    request = urllib.request.Request(
        f"{address}/room/api/{action}", json.dumps(values).encode(), {"x-lab-visitor": secret}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def test_a_link_fills_the_form_and_its_locks_survive_a_preset(new_lab, browser):
    window = Window(browser, f"{new_lab}/?{urlencode(LINK)}")
    page = window.page
    window.wait_text("#lesson-strip", "1 setting is fixed, 1 is hidden, 2 have limits")
    assert page.locator("#tabs [role=tab][aria-selected=true]").first.inner_text() == "Train"
    page.wait_for_selector("#path-words h2")
    page.locator("#path-words .close").click()
    assert page.locator(RANK).input_value() == "7"
    assert page.locator(RANK).is_disabled()
    window.preset("minute")
    page.wait_for_function(f"document.querySelector('{RATE}').value === '0.002'")
    page.wait_for_function(f"document.querySelector('{RANK}').value === '7'")
    page.fill(RATE, "0.5")
    page.locator("#run-name textarea").focus()
    page.wait_for_function(f"document.querySelector('{RATE}').value === '0.002'")
    assert page.locator("#setting-train-seed").count() == 0
    if SHOTS:
        page.screenshot(path=SHOTS / "links-1280-light.png")
    window.tab("Format")
    assert [each.get_attribute("value") for each in page.locator("#format-template input").all()] == [
        "lesson",
        "alpaca",
    ]
    page.click("text=Leave the link")
    page.wait_for_url(f"{new_lab}/")
    page.wait_for_function("window.labFormIsRestored")
    window.tab("Train")
    page.wait_for_selector(f"{RANK}:enabled")
    window.close()


@pytest.mark.nightly
def test_a_link_with_a_fault_says_so_and_the_page_is_as_usual(new_lab, browser):
    query = urlencode({"set.data.source": "/etc/passwd.json", "set.lora.rank": "3", "tab": "Train"})
    window = Window(browser, f"{new_lab}/?{query}")
    assert "lora.rank" in window.wait_text("#lesson-strip", "This link has a fault")
    window.tab("Train")
    assert window.page.locator(RANK).is_enabled()
    window.close()


@pytest.mark.nightly
def test_a_rooms_locks_reach_an_open_page_and_end_with_it(new_lab, browser):
    code = act(new_lab, TEACHER, "open", title="Monday <b>", minutes=30)["code"]
    try:
        act(new_lab, STUDENT, "join", code=code, name="Ann")
        # As the room's page leaves it.
        secret = {"origin": new_lab, "localStorage": [{"name": "lab-visitor", "value": STUDENT}]}
        window = Window(browser, f"{new_lab}/?room={code}", storage_state={"cookies": [], "origins": [secret]})
        page = window.page
        window.wait_text("#lesson-strip", "Room Monday <b>, you are Ann.")
        window.tab("Train")
        assert page.locator(RANK).is_enabled()
        act(new_lab, TEACHER, "rule", code=code, changes={"settings": {"lora.r": 5}, "locks": {"lora.r": "fixed"}})
        page.wait_for_selector(f"{RANK}:disabled")
        page.wait_for_function(f"document.querySelector('{RANK}').value === '5'")
        # A script of the same person is refused, too.
        script = Client(new_lab, verbose=False, headers={"x-lab-visitor": STUDENT})
        with pytest.raises(AppError, match=r"lora\.r is fixed at 5"):
            script.predict({"lora": {"r": 8}}, "", api_name="/start_run")
    finally:
        act(new_lab, TEACHER, "end", code=code)
    page.wait_for_selector(f"{RANK}:enabled")
    window.close()
