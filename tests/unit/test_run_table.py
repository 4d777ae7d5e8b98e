"""The list of runs: search, order, pages; and the times of a replay."""

import pytest

from instruct_tune.store.disk_usage import DiskUse, folder_bytes
from instruct_tune.ui.replay import moments
from instruct_tune.ui.runs import text
from instruct_tune.ui.runs.text import PAGE_ROWS, page_of, sentence, size, table, with_numbers


def run(name, created=0, **fields):
    return {
        "id": f"id-{name}", "name": name, "status": "finished", "phase": None, "step": 4, "total_steps": 4,
        "created": created, "model": "owner/model", "source": "bundled", "recorded": None, "parent_name": None,
        "tags": [], "notes": "", "imported": False, **fields,
    }  # fmt: skip


def numbered(*runs, bleu=None, sizes=None):
    evaluations = {
        f"id-{n}": {"rows": 200, "base": {"bleu": b}, "tuned": {"bleu": t}} for n, (b, t) in (bleu or {}).items()
    }
    return with_numbers(runs, evaluations, {f"id-{n}": s for n, s in (sizes or {}).items()})


def names(runs, search="", sort="Newest first", number=0):
    return [each["name"] for each in page_of(runs, search, sort, number).runs]


def test_every_word_has_to_be_there_whatever_its_case_and_place():
    runs = numbered(
        run("Alpha", status="failed"), run("beta", model="Owner/Qwen"), run("gamma", recorded="recorded on X, 2 cores")
    )
    assert names(runs, "ALPHA fail") == ["Alpha"]
    assert names(runs, "qwen") == ["beta"]
    assert names(runs, "recorded") == ["gamma"]
    assert names(runs, "id-b") == ["beta"]
    noted = numbered(run("one", tags=["Rank 4"], notes="Try more rows"), run("two"))
    assert names(noted, "rank rows") == ["one"]
    assert names(runs, "alpha qwen") == []
    assert len(names(runs, "  ")) == 3


def test_a_run_that_goes_on_from_another_says_so_and_is_found_by_it():
    page = page_of(numbered(run("child", parent_name="tulip"), run("other")), "TULIP", "Name", 0)
    assert [row[0] for row in table(page, {}, None)["data"]] == ["child (from tulip)"]


def test_each_order_is_what_it_says_and_what_lacks_the_number_comes_last():
    runs = numbered(
        run("b", 3, status="failed"), run("A", 1), run("c", 2, status="stopped"),
        bleu={"b": (9.0, 5.0), "A": (2.0, 4.0)}, sizes={"c": 5, "A": 9},
    )  # fmt: skip
    order = {sort: "".join(names(runs, sort=sort)) for sort in text.SORTS}
    assert order == {
        "Newest first": "bcA",
        "Oldest first": "Acb",
        "Name": "Abc",
        "State": "bAc",
        "Best BLEU": "bAc",
        "Largest gain in BLEU": "Abc",
        "Largest on disk": "Acb",
    }
    assert names(runs, sort="made up") == ["b", "c", "A"]


@pytest.mark.parametrize(("requested", "given"), [(-3, 0), (0, 0), (1, 1), (2, 2), (99, 2)])
def test_pages_are_whole_and_a_page_that_is_gone_is_the_last(requested, given):
    runs = numbered(*(run(str(n), n) for n in range(2 * PAGE_ROWS + 1)))
    page = page_of(runs, "", "Oldest first", requested)
    assert (page.number, page.pages, page.found) == (given, 3, 2 * PAGE_ROWS + 1)
    assert page.runs[0]["name"] == str(given * PAGE_ROWS)
    assert len(page.runs) == (1 if given == 2 else PAGE_ROWS)


def test_nothing_found_is_one_empty_page():
    page = page_of([], "x", "Name", 4)
    assert (page.runs, page.number, page.pages) == ((), 0, 1)


def test_the_chosen_row_is_marked_by_more_than_colour_and_ends_with_its_id():
    page = page_of(numbered(run("one", 2), run("two", 1), bleu={"one": (8.9, 18.24)}), "", "Newest first", 0)
    shown = table(page, {"id-one": 1.23456}, "id-one")
    first, second = shown["data"]
    assert (first[0], second[0]) == ("▸ one", "two")
    assert (first[-1], second[-1]) == ("id-one", "id-two")
    assert (first[2], first[3], second[2], second[3]) == ("1.235", "8.9 → 18.2 (200)", "", "")
    assert [all(row) for row in shown["metadata"]["styling"]] == [True, False]
    assert len(first) == len(shown["headers"]) == len(text.WIDTHS)


def test_that_a_run_was_recorded_is_in_its_row_and_its_tags_behind_its_name():
    runs = numbered(run("one", recorded="recorded on X, 2 cores, 8 GiB, 2026-01-02"), run("two", tags=["a", "b"]))
    first, second = table(page_of(runs, "", "Name", 0), {}, None)["data"]
    assert (first[0], first[-2]) == ("one", "recorded")
    assert second[0] == "two · a, b"


def test_what_the_table_has_no_column_for_is_in_the_line_beside_it_escaped():
    line = text.run_summary(run("one", source="some/rows", tags=["<b>"]), 1_234_567)
    assert r"model · data rows · tags \<b\> · begun " in line
    assert line.endswith(r"1\.2 MB on disk · id id\-one")
    assert "begun" not in text.run_summary(run("one", recorded="recorded on X"), 0)


def test_the_runs_listed_can_be_narrowed():
    runs = numbered(
        run("own"), run("kept", recorded="recorded on X"), run("taken", imported=True), run("cut", status="stopped"),
        bleu={"kept": (1.0, 2.0)},
    )  # fmt: skip
    listed = {show: [each["name"] for each in page_of(runs, "", "Name", 0, show).runs] for show in text.SHOWS}
    assert listed == {
        "All runs": ["cut", "kept", "own", "taken"],
        "Trained here": ["cut", "own"],
        "Recorded or imported": ["kept", "taken"],
        "Evaluated": ["kept"],
        "Not finished": ["cut"],
    }


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (5_600_000_000, "5.6 GB")],
)
def test_sizes(count, text):
    assert size(count) == text


def test_the_sentence_counts():
    runs = numbered(run("one"), run("two"))
    assert sentence(page_of([], "", "Name", 0), 0, 0, "") == "No run yet: start one in Train."
    assert sentence(page_of(runs[:1], "", "Name", 0), 1, 1000, "") == "1 run, 1.0 kB on disk."
    assert sentence(page_of(runs, "two", "Name", 0), 2, 1000, "two") == "1 of 2 runs, 1.0 kB on disk."
    assert sentence(page_of(runs, "x", "Name", 0), 2, 0, "x").endswith("Nothing holds these words.")
    assert sentence(page_of(runs, "", "Name", 0, "Evaluated"), 2, 1000, "") == "0 of 2 runs, 1.0 kB on disk."


def test_bytes_on_disk_are_those_of_all_files_and_counted_once_in_a_while(tmp_path):
    (tmp_path / "a" / "adapter").mkdir(parents=True)
    (tmp_path / "a" / "adapter" / "weights").write_bytes(b"x" * 1000)
    (tmp_path / "a" / "log").write_bytes(b"x" * 10)
    (tmp_path / "a" / "link").symlink_to("/dev/zero")
    assert folder_bytes(tmp_path / "a") - (tmp_path / "a" / "link").lstat().st_size == 1010
    use = DiskUse(tmp_path)
    before = use.of({"a": "running", "gone": "running"})
    assert before["gone"] == 0
    (tmp_path / "a" / "more").write_bytes(b"x" * 5000)
    assert use.of({"a": "running"})["a"] == before["a"]
    assert use.of({"a": "stopped"})["a"] == before["a"] + 5000


def test_scores_stand_with_their_number_of_rows():
    runs = numbered(run("one"), run("two"), bleu={"one": (2.06, 7.51)})
    cells = {
        row[0]: row[text.HEADERS.index(text.BLEU)] for row in table(page_of(runs, "", "Name", 0), {}, None)["data"]
    }
    assert cells == {"one": "2.1 → 7.5 (200)", "two": ""}


# Replay


def at(kind, step, time, **values):
    return {"kind": kind, "step": step, "time": time, **values}


def test_a_replay_follows_the_clock_of_the_run():
    metrics = [
        at("probe", 0, 1000.0), at("train", 1, 1002.0, seconds=2.0), at("train", 2, 1004.0, seconds=2.0),
        at("probe", 2, 1005.0), at("eval", 2, 1007.0),
    ]  # fmt: skip
    assert moments(metrics) == [(0, 0.0), (1, 2.0), (2, 7.0)]


def test_what_is_measured_of_base_after_the_first_step_takes_that_steps_time():
    metrics = [
        at("train", 1, 1002.0, seconds=2.0), at("probe", 0, 1005.0), at("general", 0, 1006.0),
        at("train", 2, 1008.0, seconds=2.0),
    ]  # fmt: skip
    assert moments(metrics) == [(0, 0.0), (1, 6.0), (2, 8.0)]


def test_the_first_step_takes_its_own_time():
    assert moments([at("train", 1, 50.0, seconds=3.0), at("train", 2, 52.0, seconds=2.0)]) == [(1, 3.0), (2, 5.0)]


def test_the_night_before_a_resume_is_not_replayed():
    night = [at("train", step, step + (40_000.0 if step > 3 else 0.0), seconds=1.0) for step in range(1, 7)]
    assert moments(night)[-1] == (6, 5.0 + 10.0)


def test_nothing_measured_is_nothing_to_replay():
    assert moments([]) == []
