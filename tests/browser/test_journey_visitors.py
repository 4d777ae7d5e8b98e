"""Two visitors of one lab and its host: each has their own form and uploads, and they share the machine."""

from __future__ import annotations

import json

import pytest
from browser import Window, check, serving
from gradio_client import Client

pytestmark = pytest.mark.slow
TOKEN = "the host's own token"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("visitors") / "data", LAB_ADMIN_TOKEN=TOKEN) as address:
        yield address


def upload(window: Window, file) -> None:
    window.page.set_input_files("#data-upload input[type=file]", file)
    # Not the rows that the page begins with: a run made of those would be everybody's.
    window.wait_text("#data-summary", f"{file.name}: ")


def host(browser, address: str) -> Window:
    """A window in which the host's token was entered."""
    window = Window(browser, address)
    window.page.click("#host button.label-wrap")
    window.page.fill("#host-token input", TOKEN)
    window.page.click("#host-enter")
    window.wait_text("[data-testid=toast-body]", "acts for the host")
    return window


def test_a_run_made_of_an_upload_is_seen_by_others_once_it_is_shared(address, browser, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([{"instruction": f"Say {n}", "input": "", "output": str(n)} for n in range(40)]))
    mine = Window(browser, address)
    assert "7 days" in mine.text("#data-upload-note")
    upload(mine, file)
    mine.tab("Train")
    check(mine.page.get_by_role("radio", name="smoke").first)
    mine.page.wait_for_timeout(500)
    mine.page.fill("#run-name input, #run-name textarea", "my secret plan")
    mine.page.click("#train-start")
    mine.wait_finished()
    mine.tab("Runs")
    row = mine.page.locator("#runs-table [role=gridcell]", has_text="my secret plan").first
    row.click()
    mine.wait_text("#runs-details", "others do not see it")
    mine.shot("private-run")

    others = Window(browser, address)
    others.tab("Runs")
    others.page.wait_for_timeout(2500)
    assert "my secret plan" not in others.page.inner_text("body")

    mine.page.click("#runs-share")
    mine.wait_text("#runs-share", "Make private")
    others.wait_text("#runs-table", "my secret plan")
    mine.page.click("#runs-share")
    mine.wait_text("#runs-share", "Share with everyone")
    others.page.wait_for_function("!document.querySelector('#runs-table').innerText.includes('my secret plan')")

    hosts = host(browser, address)
    hosts.tab("Runs")
    hosts.wait_text("#runs-table", "my secret plan")

    # A returning visitor keeps their identity.
    mine.again()
    mine.tab("Runs")
    mine.wait_text("#runs-table", "my secret plan")
    mine.fold("This browser")
    mine.shot("this-browser")
    assert mine.errors == others.errors == hosts.errors == []


@pytest.mark.nightly
def test_a_run_is_stopped_by_the_host_and_not_by_those_who_watch(address, browser):
    script = Client(address, headers={"x-lab-visitor": "somebody who starts a run"}, verbose=False)
    config = {"model": "tiny-random", "data": {"limit": 400}, "train": {"num_train_epochs": 1000}}
    run_id = script.predict(config, "a long run", api_name="/start_run")["run_id"]
    others = Window(browser, address)
    others.tab("Train")
    others.wait_text("#train-status", "running")
    assert others.page.locator("#train-stop").is_disabled()
    assert others.page.locator("#train-discard").is_disabled()

    hosts = host(browser, address)
    hosts.tab("Train")
    hosts.page.wait_for_selector("#train-stop:not([disabled])")
    hosts.page.click("#train-stop")
    hosts.wait_text("#train-status", "stopped")
    others.wait_text("#train-status", "stopped")
    assert script.predict(run_id, api_name="/run_status")["status"] == "stopped"
    assert others.errors == hosts.errors == []


KEPT = "Object.entries(localStorage).find(([key]) => key.endsWith('-form'))?.[1]"


def kept(window: Window) -> str:
    """The form as the browser stores it."""
    return window.page.evaluate(KEPT)


def until_kept_anew(window: Window, before: str) -> None:
    window.page.wait_for_function(f"before => ({KEPT}) !== before", arg=before)


def until_shown(window: Window, selector: str, wanted: str) -> None:
    window.page.wait_for_function(
        "([selector, wanted]) => document.querySelector(`${selector} input`)?.value === wanted", arg=[selector, wanted]
    )


@pytest.mark.nightly
def test_the_form_is_remembered_by_one_browser_only_until_it_is_reset(address, browser):
    mine = Window(browser, address)
    mine.tab("Train")
    until_shown(mine, "#train-rows", "48")
    mine.page.wait_for_function("window.labFormIsRestored")
    before = kept(mine)
    mine.page.fill("#train-rows input", "33")
    mine.page.keyboard.press("Tab")
    until_kept_anew(mine, before)
    mine.again()
    mine.tab("Train")
    until_shown(mine, "#train-rows", "33")
    mine.wait_text("#preset-changed", "Changed from minute: rows 48 → 33")

    others = Window(browser, address)
    others.tab("Train")
    until_shown(others, "#train-rows", "48")

    mine.page.wait_for_function("window.labFormIsRestored")
    mine.fold("This browser")
    before = kept(mine)
    mine.page.click("#form-reset")
    until_shown(mine, "#train-rows", "48")
    until_kept_anew(mine, before)
    mine.again()
    mine.tab("Train")
    mine.page.wait_for_timeout(1500)
    until_shown(mine, "#train-rows", "48")
    assert mine.errors == others.errors == []
