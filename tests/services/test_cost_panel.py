"""The cost text beside Start and the presets, through the page's handlers: values in, updates out."""

import json
from types import SimpleNamespace

import pytest
from labs import cache_for, opened

from instruct_tune import ui
from instruct_tune.config.presets import PRESETS
from instruct_tune.config.viewer import HOST
from instruct_tune.ui import build_ui
from instruct_tune.ui.device_choice import DeviceChoice
from instruct_tune.ui.form import OWN_PROMPTS, Form
from instruct_tune.ui.train.cost import CostPanel
from instruct_tune.ui.train.presets import PresetPanel

WINDOW, OTHER_WINDOW = SimpleNamespace(session_hash="one"), SimpleNamespace(session_hash="other")


def sets_no_value(updates):
    """Whether no component gets a value."""
    return all(set(update) == {"__type__"} for update in updates.values())


@pytest.fixture(scope="module")
def lab(tmp_path_factory, one_thread):
    with pytest.MonkeyPatch.context() as patch, opened(tmp_path_factory.mktemp("cost-panel")) as lab:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        yield lab


@pytest.fixture(scope="module")
def page(lab):
    """The page's form, with a cost panel and a preset panel made for the tests."""
    forms = []

    class Kept(Form):
        def __init__(self):
            super().__init__()
            forms.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ui, "Form", Kept)
        with build_ui(lab):
            (form,) = forms
            device = DeviceChoice(lab.devices, "device")
            cost = CostPanel(form, device, training=lab.training, estimates=lab.estimates, access=lab.access)
            cost.folds()
            yield form, cost, PresetPanel(form, uploads=lab.uploads, estimates=lab.estimates, access=lab.access)


def shows(form, preset, **changed):
    """The values of all controls after a preset was chosen and the settings in ``changed`` were edited."""
    values = form.fill(PRESETS[preset])
    shown = {control: values.get(control, control.value) for control in form.controls}
    return shown | {form[name.replace("__", ".")]: value for name, value in changed.items()}


def test_nothing_is_computed_for_who_never_opened_the_tab(page, lab, monkeypatch):
    form, cost, _ = page
    monkeypatch.setattr(lab.estimates, "cost", lambda *args, **kwargs: pytest.fail("it was computed"))
    values = shows(form, "smoke") | {cost.watched: False}
    assert sets_no_value(cost.count(values, WINDOW))
    assert sets_no_value(cost.measure(values, WINDOW))


def test_counts_come_first_and_times_follow_once(page):
    form, cost, _ = page
    values = shows(form, "smoke") | {cost.watched: True}
    steps = [cost.count(values, WINDOW), cost.measure(values, WINDOW)]
    assert [("about" in step[cost.line]) for step in steps] == [False, True]
    assert all(step[cost.line].startswith("**4 steps**") for step in steps)
    assert "about" in cost.count(values, WINDOW)[cost.line], "it is remembered"
    assert sets_no_value(cost.measure(values, WINDOW))


@pytest.mark.slow
def test_what_was_measured_for_earlier_settings_is_not_shown(page, lab, monkeypatch):
    form, cost, _ = page
    first, second, other = (shows(form, "smoke", lora__r=r) | {cost.watched: True} for r in (3, 5, 7))
    measured = lab.estimates.cost

    def slow(user, config, measure=True, **kwargs):
        if measure and config["lora"]["r"] == 3:
            cost.count(second, WINDOW)
        return measured(user, config, measure=measure, **kwargs)

    monkeypatch.setattr(lab.estimates, "cost", slow)
    cost.count(first, WINDOW)
    assert sets_no_value(cost.measure(first, WINDOW)), "the form was changed while it was measured"
    assert sets_no_value(cost.measure(other, WINDOW)), "the form was changed before it was measured"
    # Another window's form is another one.
    cost.count(other, OTHER_WINDOW)
    assert "about" in cost.measure(second, WINDOW)[cost.line]


def test_a_wrong_setting_is_shown_in_the_line(page):
    form, cost, _ = page
    wrong = shows(form, "smoke", train__num_train_epochs=0) | {cost.watched: True}
    update = cost.count(wrong, WINDOW)
    # In the words of the form, whose labels are those of this page.
    assert "must be above 0 and at most 1000, not 0" in update[cost.line]


def test_what_fits_is_written_into_the_form(page, lab):
    form, cost, _ = page
    updates = cost.choose_rows(shows(form, "smoke") | {cost.minutes: 600})
    assert updates[form["data.limit"]] == lab.datasets.summary(HOST, {})["train_rows_before_limit"]
    assert updates[form["train.num_train_epochs"]] == 1
    assert "rows fit" in updates[cost.chosen]


def test_changes_are_shown_until_they_are_taken_back(page):
    form, _, presets = page
    text, button = presets.show_changes(shows(form, "smoke") | {presets.radio: "smoke"})
    assert (text, button["visible"] if isinstance(button, dict) else button.visible) == ("", False)
    text, button = presets.show_changes(shows(form, "smoke", data__limit=8) | {presets.radio: "smoke"})
    assert text == "Changed from smoke: rows 16 → 8"


def test_a_preset_fills_every_control_in_the_browser_and_may_leave_a_persons_rows(page):
    form, _, presets = page
    rows, others = presets._controls()
    assert form["data.source"] in rows
    assert form["data.limit"] in others
    in_script = json.loads(presets.script().split("const preset = ")[1].split("[picked];")[0])
    assert set(in_script) == set(PRESETS)
    for name, preset in PRESETS.items():
        filled = form.fill(preset)
        # The browser turns null into 0.
        expected = ["" if filled[control] is None else filled[control] for control in (*rows, *others)]
        assert in_script[name]["values"] == expected, name
    assert [name for name in PRESETS if not in_script[name]["leaves_rows"]] == ["lesson"]


def test_a_preset_leaves_the_prompts_that_a_person_typed(page):
    form, _, presets = page
    rows, others = presets._controls()
    assert not {form[name] for name in OWN_PROMPTS} & {*rows, *others}
    typed = shows(form, "smoke") | {form[OWN_PROMPTS[1]]: "What is the capital of France?"}
    assert presets.show_changes(typed | {presets.radio: "smoke"})[0] == "", "it is no change from the preset"
    assert form.read(typed)["train"]["own_prompts"] == ["What is the capital of France?"]


def test_the_card_is_the_one_that_a_remembered_form_comes_nearest_to(page):
    form, _, presets = page
    for remembered, changed, expected in (
        (shows(form, "quick"), False, ""),
        (shows(form, "overfit", lora__r=8), True, "Changed from overfit: rank 16 → 8"),
        (shows(form, "quick", data__source="/data/mine.csv", data__filters=""), False, ""),
    ):
        card, text, button = presets.settle(remembered | {presets.radio: "minute"})
        assert card == ("overfit" if changed else "quick")
        assert (text, button.visible) == (expected, changed)
    # Where another preset is as near as the picked one, the picked one stays.
    for picked in ("minute", "smoke"):
        assert presets.settle(shows(form, picked) | {presets.radio: picked})[0] == picked


def test_telling_times_never_unpicks_a_card(page):
    """The times arrive late, when a card may already be picked: the update must not set the value."""
    _, _, presets = page
    update = presets.time()
    assert "value" not in update._constructor_args[0]
    assert len(update.choices) == len(PRESETS)
