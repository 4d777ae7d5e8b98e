"""The Data tab in a real browser: uploaded files, their rows, and the errors in them."""

from __future__ import annotations

import csv
import json
import re
from hashlib import sha256

import pytest
from browser import Window, check, close_windows, serving
from toy_hub import ToyHub, serving_hub

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(empty_lab, browser):
    yield browser, empty_lab
    close_windows(browser)


@pytest.fixture
def window(served):
    browser, address = served
    yield Window(browser, address)
    close_windows(browser)


def upload(window: Window, file) -> None:
    window.page.set_input_files("#data-upload input[type=file]", str(file))


def clear(window: Window) -> None:
    button = window.page.locator("#data-upload").get_by_label("Clear")
    button.or_(window.page.get_by_label("Remove this file")).first.click()


@pytest.mark.nightly
def test_other_column_names_are_proposed_and_can_be_changed(window, tmp_path):
    file = tmp_path / "faq.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["Question", "Answer", "Comment"])
        writer.writerows([f"What is {n}, then?", f'"{n}"\nis a number', "a remark"] for n in range(40))
    upload(window, file)
    summary = window.wait_text("#data-summary", "Proposed")
    assert "faq.csv: 40 rows loaded" in summary
    assert window.value("#data-source").startswith("faq.csv")
    window.wait_text("#data-ledger", "No filter: all rows are kept. 40 rows loaded")
    boxes = {part: window.value(f"#data-column-{part}") for part in ("instruction", "input", "output")}
    assert boxes == {"instruction": "Question", "input": "", "output": "Answer"}
    window.shot("data-columns")

    # What was typed counts once the box is left.
    window.page.fill("#data-column-output textarea, #data-column-output input", "Comment")
    window.page.keyboard.press("Tab")
    window.page.wait_for_function("document.querySelector('#data-rows').innerText.includes('a remark')")
    window.page.wait_for_function("!document.querySelector('#data-summary').innerText.includes('Proposed')")

    # The next visit offers the file by its name.
    window.again()
    window.page.wait_for_timeout(1500)
    window.errors.clear()  # of requests under way when the page was left
    window.page.click("#data-source input")
    window.page.get_by_role("option", name="faq.csv: loaded lately").click()
    window.wait_text("#data-summary", "40 rows loaded")
    assert window.errors == []


@pytest.mark.nightly
def test_a_file_that_cannot_be_read_shows_no_rows_and_starts_no_run(window, tmp_path):
    file = tmp_path / "broken.json"
    file.write_text('[{"instruction": "a", ')
    upload(window, file)
    assert "broken.json" in window.wait_text("#data-summary", "JSON")
    # Not those of the dataset before, under the name of this one.
    window.page.wait_for_selector("#data-rows", state="hidden")
    window.tab("Train")
    # The upload's own message goes after a while.
    window.page.wait_for_selector("[data-testid=toast-body]", state="detached")
    window.page.click("#train-start")
    assert "JSON" in window.page.wait_for_selector("[data-testid=toast-body]").inner_text()
    # No run is shown.
    assert window.page.is_hidden("#train-shown")


def test_no_run_is_made_of_the_rows_before_while_a_file_is_on_its_way(window, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([{"instruction": f"What is {n}?", "output": f"{n}"} for n in range(40)]))
    storing = []

    def hold_back(route):
        named = "mine.json" in (route.request.post_data or "")
        storing.append(route) if named and not storing else route.continue_()

    window.page.route(re.compile(r"/queue/join\?"), hold_back)
    upload(window, file)
    # It has arrived, and the form does not name it yet. Until it has arrived gradio's page holds a click back.
    window.page.wait_for_function("window.labStoring")
    for button in ("#train-now", "#train-start"):
        assert_nothing_starts(window, button)
    assert window.page.is_hidden("#train-shown")
    storing[0].continue_()
    window.tab("Data")
    window.wait_text("#data-summary", "mine.json: 40 rows loaded")
    window.page.wait_for_function("window.labStoring === false")
    window.page.unroute_all()


def assert_nothing_starts(window: Window, button: str) -> None:
    window.page.click(button)
    toast = window.page.wait_for_selector("[data-testid=toast-body]")
    assert "on its way" in toast.inner_text()
    window.page.click("[data-testid=toast-close]")
    window.page.wait_for_selector("[data-testid=toast-body]", state="detached")


@pytest.mark.nightly
def test_hostile_names_and_texts_are_shown_as_text(window, tmp_path):
    evil = "<img src=x onerror=window.hacked=1>${window.hacked=1}[x](javascript:window.hacked=1)"
    file = tmp_path / "<img src=x onerror=window.hacked=1>.json"
    file.write_text(json.dumps([{evil: "a", f"{evil} 2": "b"}] * 20))
    upload(window, file)
    assert "onerror" in window.page.wait_for_selector("[data-testid=toast-body]").inner_text()
    rows = [{"question": evil, "context": evil, "answer": f"{evil}\u202e\x07 {n}"} for n in range(20)]
    file.write_text(json.dumps(rows))
    clear(window)
    upload(window, file)
    assert "onerror" in window.wait_text("#data-summary", "20 rows loaded")
    window.page.click('#data-rows [data-testid="cell-0-1"]')
    window.wait_text("#data-row-title", "Training row")
    assert "onerror" in window.value("#data-row-input")
    assert "onerror" in window.text("#data-row-output")
    window.page.fill("#data-search textarea, #data-search input", evil + "?")
    assert "onerror" in window.wait_text("#data-where", "No row contains")

    # All instructions are the same, so every held-out row has a copy; removing the copies would leave no row.
    # Tokens are counted where the model is on this machine: the tiny one always is.
    window.tab("Train")
    window.page.fill("#train-model input", "tiny-random")
    window.page.keyboard.press("Enter")
    window.wait_text("#strip", "tiny-random")
    window.tab("Data")
    window.tab("Report")
    lead = window.wait_text("#report-sentence", "held-out rows")
    assert lead.startswith("4 of 4 held-out rows have a near copy among the training rows")
    window.page.get_by_role("img", name="Whole row, in tokens: median").wait_for()
    window.page.locator("#report-leaks button").first.click()
    window.page.click('#report-leaks [data-testid="cell-0-2"]')
    window.page.wait_for_selector("#report-leaks-second textarea")
    assert "onerror" in window.value("#report-leaks-first")
    assert window.page.evaluate("window.hacked") is None


def test_an_open_report_is_made_anew_of_other_rows(window, tmp_path):
    window.tab("Report")
    for count, training in ((40, 32), (60, 48)):
        file = tmp_path / f"{count}.json"
        file.write_text(json.dumps([{"instruction": f"What is {n}?", "output": f"{n}"} for n in range(count)]))
        upload(window, file)
        window.wait_text("#data-summary", f"{count} rows loaded")
        window.wait_text("#report-sentence", f"Looked at {training} training")
        clear(window)


@pytest.mark.nightly
def test_near_copies_of_held_out_rows_leave_the_training_with_one_click(window, tmp_path):
    rows = [{"instruction": f"Decode {sha256(bytes([n])).hexdigest()[:30]}", "output": str(n)} for n in range(40)]
    file = tmp_path / "copied.json"
    file.write_text(json.dumps(rows + rows[:20]))
    upload(window, file)
    window.wait_text("#data-summary", "60 rows loaded")
    window.tab("Report")
    assert "held-out rows have a near copy" in window.wait_text("#report-sentence", "Looked at 48 training")
    check(window.page.get_by_label("Leave near copies"))
    window.wait_text("#filters-list", "near copy of a held-out row · kept")
    window.page.wait_for_function("!document.querySelector('#report-sentence')?.innerText.includes('near copy')")
    assert "Looked at 48" not in window.wait_text("#report-sentence", "Looked at")
    window.shot("data-report")
    assert window.errors == []


@pytest.mark.nightly
def test_filters_are_added_moved_taken_back_and_give_the_same_rows_from_a_file(window, tmp_path):
    page = window.page
    window.wait_text("#filters-list", "1. only rows without an input · kept")
    window.fold("Add a filter")
    page.fill("#filter-max input", "200")
    page.click("#filters-add")
    window.wait_text("#filters-list", "2. answer of 1 to 200 characters · kept")
    page.click("#filters-up")
    window.wait_text("#filters-list", "1. answer of 1 to 200 characters · kept")
    page.click("#filters-undo")
    kept = window.wait_text("#filters-list", "1. only rows without an input · kept")

    page.click('#data-rows [data-testid="cell-0-1"]')
    gone = window.wait_text("#data-row-title", "Training row 1").split()[-1]
    page.click("#row-drop")
    dropped = window.wait_text("#filters-list", "3. without 1 row chosen by hand · kept")
    assert dropped.startswith(kept)
    assert dropped.endswith("dropped 1")
    window.shot("data-filters")

    window.fold("Save, load or write the list")
    with page.expect_download() as download:
        page.click("#ledger-save")
    download.value.save_as(tmp_path / "ledger.json")
    saved = json.loads((tmp_path / "ledger.json").read_text())
    assert [step["step"] for step in saved["data"]["filters"]] == ["without_input", "length", "drop_rows"]
    assert saved["data"]["filters"][2]["rows"] == [gone]

    # A filter written by hand without a model counts the tokens of the model on the Train tab.
    page.fill("#data-filters textarea", '[{"step": "length", "unit": "tokens", "max": 9}]')
    window.wait_text("#filters-list", "at most 9 tokens of HuggingFaceTB/SmolLM2-135M-Instruct · not applied yet")
    with page.expect_file_chooser() as chooser:
        page.click("#ledger-load")
    chooser.value.set_files(str(tmp_path / "ledger.json"))
    assert window.wait_text("#filters-list", "3. without 1 row chosen by hand · kept") == dropped
    page.get_by_text("These are the same rows as when it was saved.").wait_for()
    assert window.errors == []


def the_filter_of_the_lesson_is_on_for_its_own_rows_only(window):
    assert "without an input" in window.text("#filters-list")
    window.page.fill("#data-source input", "hub:some/rows")
    window.page.keyboard.press("Enter")
    window.wait_text("#data-ledger", "No filter: all rows are kept")
    # A download takes time, so it waits for the button; the bundled rows do not.
    window.wait_text("#data-summary", "Load and split downloads it")
    window.page.wait_for_selector("#data-rows", state="hidden")
    window.page.fill("#data-source input", "bundled")
    window.page.keyboard.press("Enter")
    window.wait_text("#filters-list", "without an input")
    window.wait_text("#data-summary", "rows loaded")
    window.page.wait_for_selector("#data-rows")


@pytest.mark.nightly
def test_a_large_file_shows_its_first_rows_while_it_is_read(window, tmp_path):
    the_filter_of_the_lesson_is_on_for_its_own_rows_only(window)
    file = tmp_path / "large.jsonl"
    with file.open("w") as out:
        for n in range(60_000):
            row = {"instruction": f"Say {n} <b>{{n}}</b>", "input": "", "output": f"It is {n}. " + "x" * 100}
            out.write(json.dumps(row) + "\n")
    upload(window, file)
    early = window.wait_text("#data-first", "It is 9.")
    assert "The first 10 of about 60," in early
    assert "<b>" in early
    window.shot("data-first")
    window.wait_text("#data-summary", "60,000 rows loaded")
    window.page.wait_for_selector("#data-first", state="hidden")
    assert window.errors == []


@pytest.mark.nightly
def test_conversations_are_read_or_refused_with_the_reason(window, tmp_path):
    turn = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    for name, conversation in (("one.json", turn), ("many.json", turn * 2)):
        (tmp_path / name).write_text(json.dumps([{"messages": conversation}] * 20))
    upload(window, tmp_path / "one.json")
    assert "20 rows loaded" in window.wait_text("#data-summary", "Each conversation")
    window.page.get_by_label("Remove this file").or_(window.page.get_by_label("Clear")).first.click()
    upload(window, tmp_path / "many.json")
    toast = window.page.wait_for_selector("[data-testid=toast-body]").inner_text()
    assert "it has 4 messages beside the system's" in toast


def test_rows_are_leafed_through_searched_and_read_in_full(window):
    page = window.page
    page.set_viewport_size({"width": 1280, "height": 800})
    # On arrival, without a click, six rows are on the first screen.
    assert "rows loaded" in window.text("#data-summary")
    assert "press" not in window.text("#data-workbench").lower()
    sixth = page.locator('#data-rows [data-testid="cell-5-1"]').bounding_box()
    assert sixth["y"] + sixth["height"] <= 800
    window.wait_text("#data-where", "Page 1 of")
    assert page.locator("#data-rows tbody tr").count() <= 26
    assert page.is_disabled("#data-back")
    page.click("#data-forth")
    window.wait_text("#data-where", "Page 2 of")
    page.wait_for_function("document.querySelector('#data-rows').innerText.includes('26')")
    page.click("#data-back")
    window.wait_text("#data-where", "Page 1 of")

    first = page.inner_text('#data-rows [data-testid="cell-0-1"]').strip()
    page.fill("#data-search textarea, #data-search input", first[:40].upper())
    assert "Page 1 of 1" in window.wait_text("#data-where", "with what is searched for")
    page.click('#data-rows [data-testid="cell-0-1"]')
    window.wait_text("#data-row-title", "Training row 1")
    assert window.value("#data-row-instruction").startswith(first[:40])
    assert window.text("#data-row-output")
    window.shot("data-rows")
    page.fill("#data-search textarea, #data-search input", "no such <b>thing</b> ${1}")
    assert "<b>thing</b> ${1}" in window.wait_text("#data-where", "No row contains")
    page.fill("#data-search textarea, #data-search input", "")
    window.wait_text("#data-where", "Page 1 of")

    check(page.get_by_role("radio", name="held-out rows"))
    page.click("#data-order input")
    page.get_by_role("option", name="longest answer first").click()
    page.wait_for_timeout(500)
    page.click('#data-rows [data-testid="cell-0-1"]')
    window.wait_text("#data-row-title", "Held-out row")
    page.click("#data-next")
    page.wait_for_selector("#format-next")
    assert window.errors == []


@pytest.mark.nightly
def test_on_a_dark_phone_nothing_is_wider_than_the_screen(served):
    browser, address = served
    window = Window(browser, address + "/?__theme=dark", width=390)
    window.page.click("#data-load")
    window.wait_text("#data-where", "Page 1 of")
    window.page.click('#data-rows [data-testid="cell-2-1"]')
    window.wait_text("#data-row-title", "Training row")
    window.shot("data-phone-dark")
    assert window.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    window.close()


@pytest.mark.nightly
def test_a_dataset_of_the_hub_is_followed_and_cancelled(served, tmp_path):
    rows = [{"instruction": f"Do {n}", "input": "", "output": f"Done {n} " + "x" * 1000} for n in range(3000)]
    hub = ToyHub({"some/rows": {"train.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()}}, pause=0.3)
    home = tmp_path / "hub"
    with (
        serving_hub(hub) as endpoint,
        serving(tmp_path / "data", HF_ENDPOINT=endpoint, HF_HOME=str(home)) as address,
    ):
        window = Window(served[0], address)
        page = window.page
        page.fill("#data-source input", "hub:some/rows")
        page.keyboard.press("Enter")
        page.click("#data-load")
        phase = window.wait_text("#data-phase", "Downloading some/rows (1 file)")
        assert " of 3." in phase
        assert "MB/s" in phase
        window.shot("data-download")
        page.click("#data-cancel")
        window.wait_text("#data-summary", "Cancelled: nothing was loaded.", 5)
        assert not page.is_visible("#data-cancel")
        page.wait_for_timeout(1500)
        assert list(home.rglob("*.incomplete")) == []

        hub.pause = 0.0
        page.click("#data-load")
        assert "3,000 rows loaded" in window.wait_text("#data-summary", "held out")
        page.fill("#data-source input", "hub:some/other")
        page.keyboard.press("Enter")
        page.click("#data-load")
        assert "The Hub has no some/other" in page.wait_for_selector("[data-testid=toast-body]").inner_text()
        assert not page.is_visible("#data-cancel")
        assert window.errors == []
        window.close()
