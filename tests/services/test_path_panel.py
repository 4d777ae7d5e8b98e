"""The panel Learn: what it finds on the page, which path it opens, and what it notices of a visitor's runs."""

from __future__ import annotations

import base64
import dataclasses
import json

import gradio as gr
import pytest
from labs import TWELVE_STEPS, finished, opened

from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.validation import merge
from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.inspection.token_view import NO_FAULT
from instruct_tune.lesson.library import own_path
from instruct_tune.lesson.parse import parse_path
from instruct_tune.lesson.vocabulary import CONTROLS, PLACES, SETTINGS, tab_of
from instruct_tune.runs.examples import put_recorded
from instruct_tune.ui import build_ui
from instruct_tune.ui.browser_state import Memory
from instruct_tune.ui.path.notices import OF_FORM, Notices
from instruct_tune.ui.path.panel import PathPanel
from instruct_tune.ui.path.places import Places

STEP = "# One\ntab: Train\n\nRead <b>this</b>.\n\nDo: Press it.\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        found = {}
        # The page keeps its form and its places to itself.
        patch.setattr(Places, "__init__", _remember(found, Places.__init__))
        with opened(tmp_path_factory.mktemp("path")) as lab:
            found["page"] = build_ui(lab)
            yield found


def _remember(found, original):
    def init(self, page, form):
        original(self, page, form)
        found.update(places=self, form=form)

    return init


def test_all_that_a_step_may_name_is_on_its_tab_and_can_be_brought_into_sight(page):
    outer, places = page["places"].tabs[0], page["places"].places
    assert outer.elem_id == "tabs"
    assert set(places) == {*SETTINGS, *CONTROLS, *(name for each in PLACES.values() for name in each)}
    for name, place in places.items():
        assert [place.tabs[0][0], place.tabs[0][1].id] == [outer, tab_of(name)], name
        assert all(tab.id is not None for _, tab in place.tabs), f"an inner tab around {name} has no id"
        assert place.id != "None", f"{name} has no id"
        assert "None" not in place.folds, f"a fold around {name} has no id"


@pytest.mark.parametrize("name", [*CONTROLS])
def test_what_a_control_accepts_is_what_it_can_show(page, name):
    control, accepts = page["places"].controls[name], CONTROLS[name].accepts
    if isinstance(control, gr.Radio | gr.Dropdown):
        assert [choice for _, choice in control.choices if not accepts(choice)] == []
        assert not accepts("another")
    else:
        assert accepts(int(control.minimum))
        assert not accepts(control.minimum - 1)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_shown_as_a_preset_shows_it(page, name):
    form, places = page["form"], page["places"]
    for preset in PRESETS.values():
        value = preset.to_dict()
        for part in name.split("."):
            value = value[part]
        text = f"sets: generation.max_length = 50; {name} = {json.dumps(value)}"
        if value is None or isinstance(value, bool | int | float | str):
            step = STEP.replace("tab: Train", f"tab: Train\n{text}")
            *_, (index, shown, _) = places.value(_path(step))["steps"][0]["sets"]
            assert list(places.controls)[index] == name
            filled = form.fill(preset)[form[name]]
            assert shown == ("" if filled is None else filled)


def _path(text):
    return parse_path(text.encode(), "a.md")


# Opening


@pytest.fixture
def panel(lab):
    with gr.Blocks() as blocks:
        panel = PathPanel(
            Memory(lab.data_dir), lab.data_dir, notices=_notices(lab), configs=lab.configs, access=lab.access
        )
    panel._blocks = blocks
    panel._places = _NoPlaces()
    return panel


class _NoPlaces:
    def value(self, path):
        return {"steps": [step.title for step in path.steps]}


def _notices(lab):
    return Notices(lab.datasets, lab.tokenizers, lab.runs, lab.evaluations)


def opened_with(panel, kept):
    kept, path, _, words = panel._open(kept)
    return kept, path, json.loads(base64.b64decode(words["packed"]))


def of_link(text, **more):
    packed = base64.b64encode(text.encode()).decode()
    return {"name": "https://x.org/a/week1.md?v=1", "host": "x.org", "content": packed, **more}


def test_without_a_link_the_labs_own_path_opens_where_it_was_left(panel):
    kept, path, shown = opened_with(panel, {"step": 3, "name": "", "open": False})
    assert (kept, path) == ({"open": True, "step": 3, "name": ""}, None)
    assert (len(shown["steps"]), shown["at"], shown["fault"], shown["origin"]) == (9, 3, "", "")


@pytest.mark.parametrize(
    "kept", [None, "x", [], {"step": 99}, {"step": "1"}, {"step": True, "wanted": 1}, {"wanted": {"name": 5e9}}]
)
def test_anything_in_the_browser_opens_a_path(panel, kept):
    assert opened_with(panel, kept)[2]["at"] in (0, 1)


def test_a_link_brings_a_path_whose_origin_is_named(panel):
    kept, path, shown = opened_with(panel, {"step": 3, "wanted": of_link(STEP)})
    assert path.steps[0].text == ("Read <b>this</b>.",)
    assert (kept["step"], shown["steps"]) == (0, ["One"])
    assert shown["origin"] == "A path from x.org, which is not this lab's."


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (of_link(STEP.replace("Train", "Nowhere")), "week1.md, step 1 (One), tab: must be one of"),
        (of_link(STEP, content="%%%"), "arrived damaged"),
        (of_link(STEP, fault="the address answers 404"), "cannot be had: the address answers 404."),
        ({"name": "../../etc/passwd"}, "This lab has no path ../../etc/passwd"),
        ({"name": "http://169.254.169.254/latest"}, "This lab has no path http://169.254.169.254/latest"),
    ],
)
def test_a_link_with_a_fault_opens_the_labs_own_path_and_says_why(panel, wanted, sentence):
    kept, path, shown = opened_with(panel, {"wanted": wanted})
    assert (path, len(shown["steps"]), kept["name"]) == (None, 9, "")
    assert sentence in shown["fault"]
    assert shown["fault"].endswith("This is the lab's own path.")


def test_a_path_of_the_host_comes_from_the_folder_of_the_data(panel, lab, tmp_path, monkeypatch):
    (lab.data_dir / "paths").mkdir()
    (lab.data_dir / "paths" / "week1.md").write_text(STEP)
    assert opened_with(panel, {"wanted": {"name": "week1"}})[2]["origin"] == "A path of this lab's host."
    monkeypatch.setenv("LAB_PATHS_DIR", str(tmp_path))
    with gr.Blocks():
        other = PathPanel(
            Memory(lab.data_dir), lab.data_dir, notices=_notices(lab), configs=lab.configs, access=lab.access
        )
    assert other._folder == tmp_path


# Noticing


def test_a_closed_panel_asks_nothing_at_a_poll(panel, monkeypatch):
    monkeypatch.setattr(Notices, "of_runs", lambda *_: pytest.fail("a closed panel reads runs"))
    for kept in (None, {}, {"open": False, "step": 5}, {"open": True, "step": 0}):
        assert panel.show(kept, None, None) == [gr.skip(), gr.skip()]


def test_the_form_is_described_from_what_a_new_page_has_at_hand(lab):
    put_recorded(lab.store)
    config = PRESETS["minute"]
    notices = {kind: _notices(lab).of_form(kind, HOST, config, 1, NO_FAULT) for kind in OF_FORM}
    assert notices == {
        "data": "Of 1,566 rows: without input keeps 931 and drops 635. Of those left, 48 are trained on and 187 are "
        "held out.",
        "template": "With the template lesson the prompt of row 1 has 86 characters.",
        "loss": "In row 1, 21 of 42 tokens carry loss.",
        "adapter": "With rank 16 the adapter has 921,600 parameters, 0.68% of all 135,436,608.",
        "steps": "48 rows in batches of 4, 1 epoch: 12 steps.",
    }


def test_what_is_not_at_hand_is_not_described(lab):
    overrides = {}
    for name, value in (("data.source", "codealpaca-20k"), ("model", "facebook/opt-350m")):
        merge(overrides, name, value)
    config = lab.configs.read(HOST, overrides)
    assert {_notices(lab).of_form(kind, HOST, config, 1, NO_FAULT) for kind in OF_FORM} == {None}


def sentence(lab, kind, viewer):
    return _notices(lab).of_runs(kind, viewer)[1]()


@pytest.mark.slow
def test_a_run_is_its_visitors_and_for_others_the_recorded_one_is_the_example(lab):
    put_recorded(lab.store)
    me, other = known_by("me-with-a-long-secret"), known_by("somebody-else-with-a-long-secret")
    run_id = finished(lab, TWELVE_STEPS, viewer=me)
    assert sentence(lab, "trained", me).startswith("You trained ")
    # The host sees and may change all runs, which are not all theirs.
    for viewer in (other, dataclasses.replace(other, host=True)):
        assert sentence(lab, "trained", viewer).startswith(
            "You have not trained anything yet: press Start on Train. The recorded run trained 48 rows in 12 steps: "
        )
    assert sentence(lab, "evaluated", me).startswith(
        "You have not evaluated a run yet: press Evaluate. The recorded run: BLEU "
    )
    key, _ = _notices(lab).of_runs("evaluated", me)
    evaluation = {**lab.runs.evaluations(me, "recorded-good")[0], "predictions": "none.jsonl"}
    del evaluation["seq"]
    lab.store.add_evaluation(run_id, evaluation)
    assert sentence(lab, "evaluated", me).startswith("Your run: BLEU ")
    assert _notices(lab).of_runs("evaluated", me)[0] != key
    key, _ = _notices(lab).of_runs("trained", me)
    assert run_id in key


@pytest.mark.slow
def test_claimed_numbers_of_an_import_are_not_shown_as_measured(lab):
    run_id = finished(lab)
    for provenance in ({"trainable_parameters": 5}, {"parameters": 7, "trainable_parameters": 0}):
        run = lab.store.get(run_id)
        lab.store.update(run_id, provenance={**run.provenance, **provenance, "imported": {"from": "elsewhere"}})
        config = RunConfig.from_dict(run.config)
        assert _notices(lab).of_form("adapter", HOST, config, 1, NO_FAULT) is None


def test_without_any_run_it_says_what_to_do(lab):
    assert sentence(lab, "trained", HOST) == "You have not trained anything yet: press Start on Train."
    assert sentence(lab, "rows", HOST) == "You have not evaluated a run yet: press Evaluate."


def test_every_step_of_the_lab_is_noticed(panel):
    assert [panel._kind({"open": True, "step": at}, None) for at in range(9)] == [
        step.notices for step in own_path().steps
    ]
