"""A room in real browsers: a host and two students, one of them on a phone, from the code to the hand-in."""

from __future__ import annotations

import csv
import re

import pytest
from browser import PATIENCE, SHOTS, serving
from test_accessibility import findings

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)>"
SMOKE = "http://lab/?preset=smoke&set.train.warmup_steps=0&lock.lora.r=4|8|16"
CARDS = "small: train.learning_rate = 0.001, lora.r = 8\nlarge: train.learning_rate = 0.02"
TOKEN = "the host's token"
HIDE = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a lab of its own, whose rooms are opened with the host's token."""
    with serving(tmp_path_factory.mktemp("room") / "data", LAB_ADMIN_TOKEN=TOKEN) as address:
        yield address


@pytest.fixture
def arrive(lab, browser):
    """Opens a page of the lab as a new person; the test fails where one of them had an error."""
    contexts, errors = [], []

    def new(path: str, width: int = 1280, scheme: str = "light", **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options))
        return open_page(contexts[-1], path)

    def open_page(context, path: str):
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"{lab}/{path}")
        return page

    # In a window of its own: a browser draws a tab that is behind another once a second.
    new.beside = lambda page, path: new(path, storage_state=page.context.storage_state())
    yield new
    for context in contexts:
        context.close()
    # A room that has ended is not found, who was removed or has a wrong token is refused, and a lab that is not reached
    # does not answer.
    assert [each for each in errors if not re.search("40[034]|ERR_INTERNET_DISCONNECTED", each)] == []


def opened(arrive, title: str):
    """A host's page, and the code of the room that they opened."""
    host = arrive("room")
    host.get_by_label("Title").fill(title)
    host.get_by_label("The host’s token").fill(TOKEN[:-1])
    host.get_by_role("button", name="Open a room").click()
    host.wait_for_selector(".error:has-text('enter the token of LAB_ADMIN_TOKEN')")
    host.get_by_label("The host’s token").fill(TOKEN)
    host.get_by_role("button", name="Open a room").click()
    host.wait_for_selector("#plan-title")
    # The page adds a plan to begin with.
    host.wait_for_selector(".activity:has-text('by score')")
    return host, re.search("code=(.{6})", host.url)[1]


def joined(arrive, code: str, name: str, width: int = 1280, scheme: str = "light"):
    student = arrive(f"room?code={code}", width, scheme)
    student.get_by_label("Your name").fill(name)
    student.keyboard.press("Enter")
    student.wait_for_selector("text=You are in")
    return student


def ended(host, *others) -> None:
    host.get_by_role("button", name="End the room").click()
    # The first click only asks; the focus is on the button that keeps it.
    host.wait_for_selector("button:focus:has-text('Keep it open')")
    host.get_by_role("button", name="End it for everybody").click()
    for page in (host, *others):
        page.wait_for_selector("text=This room has ended")


def begin(host, title: str) -> None:
    host.locator(f".activity:has-text('{title}')").get_by_role("button", name="Begin").click()


def shot(page, name: str) -> None:
    if SHOTS:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def test_a_host_and_two_students_go_from_the_code_to_the_hand_in(arrive):
    host, code = opened(arrive, "Monday")
    anna = joined(arrive, code, "Anna", 390)
    # With the code as a person types it.
    bob = arrive("room")
    bob.get_by_label("Code").fill(f"{code[:3]} {code[3:]}".lower())
    bob.get_by_label("Your name").fill("Bob")
    bob.get_by_role("button", name="Join").click()
    bob.wait_for_selector("text=You are in")
    screen = arrive.beside(host, f"present?code={code}")
    screen.wait_for_selector("text=2 people are here")
    guess(host, anna, bob, screen)
    compare_blindly(host, anna, bob, screen)
    sweep(host, anna, bob, screen)
    board(host, anna, screen)
    board_by_seconds(host, anna, bob, screen)
    ask_blindly(host, anna, bob)
    hand_in(host, anna)
    ended(host, anna, bob, screen)


def guess(host, anna, bob, screen) -> None:
    screen.keyboard.press("n")
    anna.locator(".choice").first.click()
    bob.wait_for_selector("text=1 of 2 people answered")
    bob.locator(".choice").last.click()
    # The last choice counts, once a person.
    anna.locator(".choice").last.click()
    host.wait_for_selector(".steering .bars li:last-child:has-text('2 100%')")
    shot(anna, "room-guess-390-light")
    screen.wait_for_selector("text=2 of 2 answers")
    # Nobody but the host knows before the reveal.
    assert screen.locator(".bars").count() == bob.locator(".bars").count() == 0
    screen.keyboard.press("ArrowRight")
    for page in (anna, bob, screen):
        assert "✓ measured" in page.locator(".bars li.right").inner_text()
        assert "95% interval" in page.locator(".effect").inner_text()
    assert "your choice" in anna.locator(".bars li").last.inner_text()
    assert anna.locator("#announcer").text_content().startswith("Revealed.")
    shot(screen, "present-guess-1280-light")


def compare_blindly(host, anna, bob, screen) -> None:
    host.get_by_text("Add a blind A/B").click()
    host.get_by_role("combobox", name="Run", exact=True).select_option("recorded-good")
    host.get_by_role("button", name="Add the blind A/B").click()
    begin(host, "Blind A/B")
    anna.get_by_role("button", name="A is tuned").click()
    # A slip, and the right one before the first is counted.
    bob.get_by_role("button", name="B is tuned").wait_for()
    bob.evaluate(
        """() => ['A is tuned', 'B is tuned']
            .map(name => [...document.querySelectorAll('button')].find(each => each.innerText.includes(name)))
            .forEach(button => button.click())"""
    )
    host.wait_for_selector("text=2 of 2 people answered")
    assert bob.locator(".side .mark").count() == 0
    shot(bob, "room-blind-1280-light")
    host.get_by_role("button", name="Reveal", exact=True).click()
    bob.wait_for_selector(".side.tuned .mark")
    assert "1 of 2 named the tuned answer" in bob.locator(".effect").inner_text()
    assert screen.locator(".side.base").inner_text() == bob.locator(".side.base").inner_text()


def sweep(host, anna, bob, screen) -> None:
    host.get_by_text("Change the rules").click()
    # The settings and locks of a lab's link.
    host.get_by_label("A lab’s link").fill(SMOKE)
    host.get_by_role("button", name="Read the link").click()
    assert host.get_by_label("Locks").input_value() == "lora.r: 4|8|16"
    host.get_by_role("button", name="Save the rules").click()
    host.wait_for_selector("text=Runs begin with smoke, 1 setting and 1 lock")
    host.get_by_text("Add a sweep").click()
    host.get_by_label("Two to six settings, one a line").fill("no colon")
    host.get_by_role("button", name="Add the sweep").click()
    host.wait_for_selector(".error:has-text('“no colon” is no line')")
    host.get_by_label("Two to six settings, one a line").fill(CARDS)
    host.get_by_role("button", name="Add the sweep").click()
    begin(host, "Which learning rate?")
    for page, label in ((anna, "small"), (bob, "large")):
        page.locator(".my-card").get_by_role("button", name="Start").click()
        assert page.locator(".card-label").inner_text() == label
    for page in (anna, bob, screen):
        page.locator(".picture polyline").nth(1).wait_for(state="attached")
    anna.wait_for_selector(".my-card:has-text('finished, step 4 of 4')")
    assert "Anna" in screen.locator(".cards tbody tr").first.inner_text()
    shot(anna, "room-sweep-390-light")


def board(host, anna, screen) -> None:
    anna.locator(".my-card").get_by_role("button", name="Evaluate").click()
    anna.wait_for_selector(".my-card:has-text('BLEU')")
    begin(host, "by score")
    assert anna.locator(".board .group").inner_text().split()[:3] == ["1", "Anna", "yours"]
    assert "Bob" in screen.locator(".board.unranked").inner_text()
    screen.keyboard.press("h")
    assert "Student 1" in screen.wait_for_selector(".board .group:has-text('Student')").inner_text()
    # Only the host's browser steers.
    other = anna.context.new_page()
    other.goto(anna.url.replace("room?", "present?"))
    other.wait_for_selector(".board")
    other.keyboard.press("n")
    other.wait_for_selector("text=Only the browser of the room’s host steers.")
    other.close()


def board_by_seconds(host, anna, bob, screen) -> None:
    host.get_by_text("Add a board").click()
    host.get_by_role("button", name="By seconds").click()
    host.wait_for_selector(".activity:last-child:has-text('by time')")
    host.get_by_role("button", name="Move up Board: by time").click()
    host.wait_for_selector(".activity:nth-last-child(2):has-text('by time')")
    begin(host, "by time")
    bob.wait_for_selector("text=Seconds of training to the target")
    rows = bob.locator(".board .group .run")
    rows.nth(1).wait_for()
    # Both reach what both reach; each says between which two measurements.
    assert all(" s" in rows.nth(at).locator(".score").inner_text() for at in range(2))
    # The host hides names meanwhile.
    assert "Learning rate 0.02" in rows.filter(has_text="Student 2").inner_text()
    screen.wait_for_selector("text=Seconds of training to the target")
    shot(screen, "present-seconds-1280-light")
    shot(anna, "room-seconds-390-light")


def ask_blindly(host, anna, bob) -> None:
    """A blind comparison of the room's own run with a question that the host types."""
    bob.get_by_role("button", name="Evaluate").click()
    bob.wait_for_selector(".mine:has-text('BLEU')")
    host.get_by_text("Add a blind A/B").click()
    run = bob.get_by_role("link", name="Open in the lab").get_attribute("href").rpartition("=")[2]
    host.get_by_role("combobox", name="Run", exact=True).select_option(run)
    host.get_by_label("Question").fill("Add two <b>numbers</b>.")
    host.get_by_role("button", name="Add the blind A/B").click()
    begin(host, "Add two <b>numbers</b>.")
    anna.get_by_role("button", name="A is tuned").click()
    bob.get_by_role("button", name="A is tuned").click()
    host.wait_for_selector("text=2 of 2 people answered")
    assert "<b>numbers</b>" in anna.locator(".now").inner_text()
    host.get_by_role("button", name="Reveal", exact=True).click()
    bob.wait_for_selector(".side.tuned .mark")
    assert re.search("[02] of 2 named the tuned answer", bob.locator(".effect").inner_text())
    shot(anna, "room-question-390-light")


def hand_in(host, anna) -> None:
    anna.get_by_role("button", name="Hand in").click()
    anna.wait_for_selector("text=✓ handed in")
    with host.expect_download() as download:
        host.get_by_role("button", name="Download the hand-in").click()
    with open(download.value.path(), newline="", encoding="utf-8-sig") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["Anna"]["steps"] == "4"
    assert (rows["Anna"]["handed_in"], rows["Bob"]["handed_in"]) == ("yes", "no")


@pytest.mark.nightly
def test_names_are_text_and_typed_words_stay_on_a_phone_in_the_dark(arrive):
    host, code = opened(arrive, HOSTILE)
    phone = joined(arrive, code, HOSTILE, 390, "dark")
    host.wait_for_selector(f".people li:has-text('{HOSTILE}')")
    screen = arrive.beside(host, f"present?code={code}")
    screen.wait_for_selector("text=1 person is here")
    typed_words_stay(host, phone)
    a_hidden_page_sends_no_request(host, phone, screen)
    for page in (host, phone, screen):
        assert page.locator("img:not(.qr)").count() == 0
        page.evaluate("Promise.all(document.getAnimations().map(each => each.finished.catch(() => null)))")
        assert findings(page) == []
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    shot(phone, "room-390-dark")
    host.get_by_role("button", name=f"Remove {HOSTILE}").click()
    phone.wait_for_selector("text=The host has removed you from this room.")
    ended(host, screen)


def typed_words_stay(host, phone) -> None:
    """What is typed, and the focus, survive updates and a lab that does not answer."""
    phone.get_by_role("button", name="Change name").click()
    phone.keyboard.press("End")
    phone.keyboard.type("!")
    phone.context.set_offline(True)
    phone.wait_for_selector("text=The lab does not answer; trying again")
    begin(host, "Rank 1 against rank 64")
    phone.context.set_offline(False)
    phone.wait_for_selector(".choice")
    assert phone.locator(".away").count() == 0
    assert phone.locator("input:focus").input_value() == f"{HOSTILE}!"
    phone.keyboard.press("Enter")
    phone.wait_for_selector(f".self:has-text('{HOSTILE}!') button")


def a_hidden_page_sends_no_request(host, phone, screen) -> None:
    requests = []
    phone.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    # The question that was under way when the page was hidden is answered first.
    with phone.expect_response(re.compile("/state")):
        pass
    phone.on("request", lambda request: requests.append(request.url))
    begin(host, "by score")
    screen.wait_for_selector(".now.board")
    assert requests == []
    phone.evaluate(f"delete document.hidden; {HIDE}")
    phone.wait_for_selector(".now.board")
