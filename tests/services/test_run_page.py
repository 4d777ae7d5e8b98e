"""A run as one page: its numbers are the lab's, missing measurements are named, and nothing private leaves with it."""

import base64
import dataclasses
import errno
import hashlib
import html
import json
import re

import pytest
from labs import TWELVE_STEPS, cache_for, finished, opened, smoke, stop_at, trained, write_rows

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError
from instruct_tune.runs.examples import ASSETS, BEST, put_recorded
from instruct_tune.services import run_pages
from instruct_tune.ui.compare.token_losses import why_value
from instruct_tune.ui.format.batch_grid import grid_value
from instruct_tune.ui.format.token_grid import grid_value as token_value
from instruct_tune.ui.run_page.page import MAX_BYTES, run_page, write_run_page
from instruct_tune.ui.scripted_html import unpacked
from instruct_tune.util import atomic_write
from instruct_tune.util.assets import asset

SECRET = "zanzibar"
TYPED = "a prompt that somebody typed"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("pages") / "data", local_paths=True) as lab:
            yield lab


@pytest.fixture(scope="module")
def run_id(lab):
    run_id = trained(lab, TWELVE_STEPS, "tulip")
    lab.evaluations.start(HOST, run_id, 6).result()
    return run_id


@pytest.fixture(scope="module")
def private(lab, tmp_path_factory):
    """A run on a file of this machine, with a prompt that somebody typed, evaluated."""
    folder = tmp_path_factory.mktemp("my-own-folder")
    rows = [{"instruction": f"Say {SECRET} {n} times", "input": "", "output": f"{SECRET} {n}"} for n in range(40)]
    config = smoke(data={"source": write_rows(folder / "rows.json", rows)}, train={"own_prompts": [TYPED], "probes": 1})
    run_id = finished(lab, config, "private")
    lab.evaluations.start(HOST, run_id, 4).result()
    return run_id


def values(page):
    """The JSON in the page."""
    return json.loads(re.search(r'<script type="application/json" id="values">(.*?)</script>', page, re.DOTALL)[1])


def words(page):
    """What the page says, without its scripts and styles."""
    shown = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", shown)).split())


def as_json(value):
    return json.loads(json.dumps(value))


@pytest.mark.slow
def test_its_numbers_are_those_of_the_lab(lab, run_id):
    page = run_page(lab.run_pages, HOST, run_id)
    read = values(page)
    evaluation = {name: value for name, value in lab.runs.evaluations(HOST, run_id)[0].items() if name != "predictions"}
    assert read["evaluation"] == as_json(evaluation)
    status = lab.runs.status(HOST, run_id)
    assert {name: read["run"][name] for name in status} == as_json(status)
    assert read["run"]["config"] == lab.runs.readable_config(HOST, run_id)
    assert read["ledger"] == lab.runs.details(HOST, run_id)["facts"]["ledger"]
    pieces = read["pieces"]
    scrub = as_json(lab.runs.scrub(HOST, run_id))
    assert {name: pieces["train-scrubber"][name] for name in scrub} == scrub
    config = lab.runs.config(HOST, run_id)
    for at in range(run_pages.XRAY_ROWS):
        assert pieces[f"tokens-{at}"] == unpacked(token_value(lab.datasets.token_view(HOST, config, at)))
    assert pieces["batch-grid"] == unpacked(grid_value(lab.estimates.step_view(HOST, config)))
    row = lab.answerers.held_out_row(HOST, run_id, 0)
    assert pieces["compare-why-map"] == as_json(why_value(lab.inference.token_losses(HOST, run_id, row))["tokens"])
    shown = words(page)
    assert evaluation["tuned"]["signature"] in shown
    for row in lab.evaluations.predictions(HOST, run_id):
        assert " ".join(row["reference"].split()) in shown
    assert html.escape(lab.scripts.of_run(HOST, run_id, "py")) in page


def test_only_its_own_scripts_may_run_and_nothing_is_fetched(lab, run_id):
    page = run_page(lab.run_pages, HOST, run_id)
    assert len(page.encode()) < MAX_BYTES
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    rules = {name: rest for name, _, rest in (rule.strip().partition(" ") for rule in policy.split(";"))}
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    assert "unsafe" not in rules["script-src"]
    assert len(rules["script-src"].split()) == 2, "the page's own, and Plotly"
    own = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in rules["script-src"]
    assert "</script" not in own
    assert "<!--" not in own
    assert page.count("<script") == 3
    assert not re.search(r"<(?:link|img|iframe|object)\b|\bsrc=|@import|url\(", page.replace(own, ""))


def test_the_same_run_gives_the_same_bytes(lab, run_id):
    assert run_page(lab.run_pages, HOST, run_id) == run_page(lab.run_pages, HOST, run_id)


def test_private_rows_are_left_out_unless_chosen_and_typed_prompts_always(lab, private):
    page = run_page(lab.run_pages, HOST, private)
    assert SECRET not in page
    assert TYPED not in page
    assert "my-own-folder" not in page
    assert words(page).count(run_pages.PRIVATE) == 4, "curve, answers, token losses, tokens"
    read = values(page)
    assert read["evaluation"]["rows"] == 4
    assert [step["answers"] for step in read["pieces"]["train-scrubber"]["steps"]] == [[], []]
    assert read["pieces"]["batch-grid"]["passes"][0]["lanes"][0][0]["first"] == []
    chosen = run_page(lab.run_pages, HOST, private, with_rows=True)
    assert chosen.count(SECRET) > 10
    assert TYPED not in chosen
    assert "my-own-folder" not in chosen
    assert run_pages.PRIVATE not in chosen


@pytest.mark.slow
def test_missing_measurements_are_named(lab, tmp_path):
    plain = finished(lab, smoke(train={"probes": 0, "sample_tokens": 0}), "no probes")
    page = words(run_page(lab.run_pages, HOST, plain))
    assert page.count(run_pages.NOT_EVALUATED) == 2
    assert "Training loss" in page

    lab.transfers.export(HOST, plain, tmp_path / "run.zip")
    imported = lab.transfers.import_run(HOST, tmp_path / "run.zip", "imported")
    assert "imported" in words(run_page(lab.run_pages, HOST, imported))


def test_it_says_which_steps_adapter_it_is_and_what_that_has_seen(lab, run_id):
    assert "Its adapter is that of" not in words(run_page(lab.run_pages, HOST, run_id))
    best = trained(lab, TWELVE_STEPS, "best")
    lab.store.update(best, provenance={"kept_step": 3})
    page = words(run_page(lab.run_pages, HOST, best))
    assert "Finished at step 12 of 12. Its adapter is that of step 3." in page
    assert "Trained on 12 of 16 rows 3 steps" in page


def test_a_run_that_failed_says_why_and_has_no_curve(lab):
    run = lab.store.create("broken", smoke(model="/nowhere/at/all").to_dict())
    lab.store.update(run.id, status="failed", message="/nowhere/at/all is not there.", error_kind="model")
    page = run_page(lab.run_pages, HOST, run.id)
    assert "Failed: the model. all is not there." in words(page)
    assert "No loss was measured." in words(page)
    assert "/nowhere/at" not in page
    assert 'id="plotly"' not in page


def test_a_run_stopped_at_its_beginning(lab, pace):
    run_id = stop_at(lab, pace, 1, smoke(train={"num_train_epochs": 1000, "probes": 1}))
    assert run_pages.NOT_EVALUATED in words(run_page(lab.run_pages, HOST, run_id))
    never = lab.store.create("never begun", smoke().to_dict())
    lab.store.update(never.id, status="stopped")
    page = words(run_page(lab.run_pages, HOST, never.id))
    assert "Stopped at step 0 of 0." in page
    assert run_pages.NO_ADAPTER in page


def test_a_recorded_run_needs_no_model(lab, monkeypatch):
    put_recorded(lab.store)
    monkeypatch.setattr("instruct_tune.pretrained.locate.at_hand", lambda model: None)
    page = run_page(lab.run_pages, HOST, BEST)
    read = values(page)
    assert len(read["pieces"]["compare-why-map"]) > 10
    assert "tokens-0" not in read["pieces"]
    assert "is not on the machine that wrote this page" in words(page)
    assert len(page.encode()) < MAX_BYTES


@pytest.mark.slow
def test_long_rows_are_fewer_rows(lab, run_id, monkeypatch):
    contents = lab.run_pages.contents(HOST, run_id)
    number, row = contents.answers[0]
    long = {**row, "reference": "word " * 20_000}
    many = dataclasses.replace(contents, answers=tuple((at, long) for at in range(60)))
    monkeypatch.setattr(lab.run_pages, "contents", lambda *args, **options: many)
    page = run_page(lab.run_pages, HOST, run_id)
    assert len(page.encode()) < MAX_BYTES
    assert number == 1
    assert page.count('class="answer expected"') in (1, 5)


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(lab, run_id, tmp_path, monkeypatch):
    to = tmp_path / "run.html"
    to.write_text("the former page")

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_write, "_sync", full)
    with pytest.raises(DataError, match=r"^run\.html cannot be written: No space left on device\.$"):
        write_run_page(lab.run_pages, HOST, run_id, to)
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]
    assert to.read_text() == "the former page"
    with pytest.raises(DataError, match=r"saved as \.html"):
        write_run_page(lab.run_pages, HOST, run_id, tmp_path / "run.txt")
    with pytest.raises(DataError, match="cannot be written"):
        write_run_page(lab.run_pages, HOST, run_id, tmp_path / "nowhere" / "run.html")


def test_the_page_in_the_assets_has_the_recorded_runs_numbers():
    page = asset("run.html").read_text(encoding="utf-8")
    evaluation = json.loads((ASSETS / "good" / "evaluation.json").read_text(encoding="utf-8"))
    assert values(page)["evaluation"] == {name: each for name, each in evaluation.items() if name != "predictions"}
    assert len(values(page)["pieces"]) == 2 + run_pages.XRAY_ROWS + 2
    assert len(page.encode()) < MAX_BYTES


def test_rows_are_public_or_not(lab, private, run_id, monkeypatch):
    run = lab.store.get(run_id)
    assert lab.runs.has_private_rows(lab.store.get(private))
    assert not lab.runs.has_private_rows(run)
    own = dataclasses.replace(run, provenance={**run.provenance, "own_data": True})
    assert lab.runs.has_private_rows(own)
    for public in (True, False):
        answer = "instruct_tune.pretrained.hub_access.Access.is_for_everybody"
        monkeypatch.setattr(answer, lambda access, is_it=public: is_it)
        hub = dataclasses.replace(run, config={**run.config, "data": {**run.config["data"], "source": "hub:a/b"}})
        assert lab.runs.has_private_rows(hub) is not public
