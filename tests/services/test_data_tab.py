"""The Data tab's handlers: proposals for a file's columns, and the button that unifies its line ends."""

from concurrent.futures import Future
from types import SimpleNamespace

import gradio as gr
import pytest
from data_files import make_rows, write
from labs import opened

from instruct_tune.errors import LabError
from instruct_tune.ui.as_python import AsPython
from instruct_tune.ui.browser_state import Memory
from instruct_tune.ui.data.tab import DataTab
from instruct_tune.ui.form import Form

TURN = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.fixture(scope="module")
def tab(tmp_path_factory, one_thread):
    with opened(tmp_path_factory.mktemp("data-tab")) as lab, gr.Blocks():
        form = Form()
        form.add("model", gr.Textbox("tiny-random"))
        form.add("template", gr.Textbox("lesson"))
        form.add("data.limit", gr.Number(None))
        yield DataTab(
            form,
            AsPython(form, scripts=lab.scripts, access=lab.access),
            Memory(lab.data_dir),
            gr.Tab("Data"),
            configs=lab.configs,
            uploads=lab.uploads,
            datasets=lab.datasets,
            housekeeping=lab.housekeeping,
            access=lab.access,
        )


def shown(tab, source, **boxes):
    """The page's updates by element id after ``source`` was loaded with ``boxes`` (setting → value) filled in."""
    updates = shown_controls(tab, source, {}, **boxes)
    return {control.elem_id: update for control, update in updates.items() if control.elem_id}


def shown_controls(tab, source, state, **boxes):
    """The page's updates by control. ``state``: what was on the page before."""
    inputs = tab._inputs
    values = {control: control.value for control in inputs}
    named = tab._form.named
    values |= {named["data.source"]: str(source), named["data.filters"]: "[]"}
    values |= {named[name]: value for name, value in boxes.items()} | state
    updates = {}
    for update in tab._show(values, SimpleNamespace(session_hash="someone")):
        updates |= update
    return updates


def test_a_system_prompt_is_proposed_in_its_box(tab, tmp_path):
    rows = [{"system_prompt": "Be kind.", "question": f"q{n}", "response": "a"} for n in range(9)]
    page = shown(tab, write(tmp_path / "orca.json", rows))
    assert "system prompt = system\\_prompt" in page["data-summary"]
    assert page["data-column-system"] == "system_prompt"
    assert (page["data-column-input"], page["data-column-ignore"]) == ("", "")


def test_a_proposal_stays_on_the_page_since_its_rows_are_shown(tab, tmp_path):
    rows = [{"question": f"q{n}", "response": "a", "system_prompt": "Be kind."} for n in range(9)]
    source = str(write(tmp_path / "orca.json", rows))
    page = shown_controls(tab, source, {})
    assert "Proposed" in page[tab._summary]
    values = {control: control.value for control in tab._inputs} | {tab._form["data.filters"]: "[]"}
    values |= {tab._form["data.source"]: source}
    values |= {control: update for control, update in page.items() if control in values}
    assert list(tab._refresh(values, SimpleNamespace(session_hash="someone"))) == [{tab._summary: gr.skip()}]


def test_a_conversations_system_column_is_proposed_too(tab, tmp_path):
    rows = [{"system": "Be kind.", "messages": TURN}] * 9
    source = write(tmp_path / "chats.json", rows)
    page = shown(tab, source)
    assert "Each conversation was read as one instruction" in page["data-summary"]
    assert "Proposed: system prompt = system" in page["data-summary"]
    again = shown(tab, source, **{"data.columns.system": page["data-column-system"]})
    assert "Proposed" not in again["data-summary"]


def test_a_column_that_a_conversation_may_refer_to_is_named(tab, tmp_path):
    source = write(tmp_path / "grounded.json", [{"context": "Bob won the match.", "messages": TURN}] * 9)
    note = "The column context is not used: if the conversations refer to it, they lack it."
    assert note in shown(tab, source)["data-summary"]
    assert note not in shown(tab, source, **{"data.columns.input": "context"})["data-summary"]
    assert note not in shown(tab, source, **{"data.columns.ignore": "context"})["data-summary"]


def test_a_context_that_is_left_out_on_purpose_is_not_asked_for(tab, tmp_path):
    rows = [{"instruction": f"q{n}", "output": "a", "context": {"title": "Rome"}, "options": ""} for n in range(9)]
    source = write(tmp_path / "hotpot.json", rows)
    with pytest.raises(LabError, match=r"context.* in 9 rows"):
        shown(tab, source)
    assert "is not used" not in shown(tab, source, **{"data.columns.ignore": "context"})["data-summary"]


def test_what_cannot_be_mapped_is_left_out_in_its_box_alone(tab, tmp_path):
    source = write(tmp_path / "tools.json", [{"tools": ["search"], "messages": TURN}] * 9)
    with pytest.raises(LabError, match=r"tools.* in 9 rows"):
        shown(tab, source)
    page = shown(tab, source, **{"data.columns.ignore": " tools , "})
    assert "9 rows loaded" in page["data-summary"]


def test_mixed_line_ends_show_the_button_that_unifies_them(tab, tmp_path):
    rows = make_rows(10)
    for n, row in enumerate(rows):
        row["output"] = "a\r\nb" if n % 2 else "a\nb"
    source = write(tmp_path / "mixed.json", rows)
    page = shown(tab, source)
    assert "5 rows hold \\\\r\\\\n" in page["data-summary"]
    assert page["data-unify"].visible is True
    page = shown(tab, source, **{"data.unify_newlines": True})
    assert "Line ends" not in page["data-summary"]
    assert page["data-unify"].visible is False


def test_a_load_that_another_took_the_place_of_changes_nothing_more(tab, tmp_path, monkeypatch):
    """A large file is still being read when rows come that are in memory already."""
    quick, slow = (write(tmp_path / f"{name}.json", make_rows(9)) for name in ("quick", "slow"))
    shown(tab, quick)
    futures = []

    def start_loading(viewer, requested, loading):
        if requested.data.source == str(slow):
            futures.append(Future())
            return futures[-1]
        return start(viewer, requested, loading)

    start = tab._datasets.start_loading
    monkeypatch.setattr(tab._datasets, "start_loading", start_loading)
    values = {control: control.value for control in tab._inputs}
    values |= {tab._form["data.source"]: str(slow), tab._form["data.filters"]: "[]"}
    loading = tab._show(values, SimpleNamespace(session_hash="someone"))
    next(update for update in loading if futures)
    assert "9 rows loaded" in shown(tab, quick)["data-summary"]
    assert list(loading) == [{tab._summary: gr.skip()}]


def test_what_belongs_to_the_rows_before_goes_with_them(tab, tmp_path):
    one, other = (write(tmp_path / f"{name}.json", make_rows(9)) for name in ("one", "other"))
    by_hand = tab._rows._by_hand
    first = shown_controls(tab, one, {})
    state = {by_hand._of: first[by_hand._of], tab._rows._fingerprint: first[tab._rows._fingerprint]}
    same = shown_controls(tab, one, state)
    assert tab._rows._row not in same, "a row in full stays where the same rows come again"
    # A row in full goes with each new split, picked rows with their dataset.
    again = shown_controls(tab, one, state, **{"data.seed": 7})
    assert (again[by_hand.row], again[tab._rows._row].visible) == (None, False)
    assert by_hand._picked not in again
    for elsewhere in ((other, {}), (one, {"data.columns.output": "instruction", "data.columns.instruction": "output"})):
        last = shown_controls(tab, elsewhere[0], state, **elsewhere[1])
        assert (last[by_hand._picked], last[by_hand._count]) == ([], "")


def test_no_counts_stand_where_there_are_no_rows(tab, tmp_path):
    assert shown_controls(tab, write(tmp_path / "rows.json", make_rows(9)), {})[tab._filters._last] is not None
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    values = {control: control.value for control in tab._inputs}
    values |= {tab._form["data.source"]: str(broken), tab._form["data.filters"]: "[]"}
    updates = tab._show(values, SimpleNamespace(session_hash="someone"))
    last = next(update for update in updates if tab._summary in update)
    assert last[tab._filters._last] is None
    assert last[tab._rows._all].visible is False
    with pytest.raises(LabError):
        next(updates)


def test_a_load_that_is_cancelled_says_so_and_is_not_tried_again(tab, tmp_path, monkeypatch):
    slow = write(tmp_path / "slow.json", make_rows(9))
    monkeypatch.setattr(tab._datasets, "start_loading", lambda viewer, requested, loading: Future())
    values = {control: control.value for control in tab._inputs}
    values |= {tab._form["data.source"]: str(slow), tab._form["data.filters"]: "[]"}
    someone = SimpleNamespace(session_hash="someone")
    loading = tab._show(values, someone)
    next(update for update in loading if any(control.elem_id == "data-phase" for control in update))
    tab._loading._progress._stop(someone)
    *_, last = loading
    assert last[tab._summary] == "Cancelled: nothing was loaded."
    assert last[tab._rows._all].visible is False
    values[tab._shown] = last[tab._shown]
    assert list(tab._refresh(values, someone)) == [{tab._summary: gr.skip()}]
