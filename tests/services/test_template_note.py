"""A custom template keeps its name in the run, and a note warns before a run is used with a different one."""

import pytest
from labs import opened, smoke

from instruct_tune import ui
from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.runs.examples import BEST
from instruct_tune.tokenization.prompt_template import ALPACA, CHAT, LESSON, PromptTemplate, template_from
from instruct_tune.ui import build_ui
from instruct_tune.ui.form import CUSTOM_TEMPLATE, Form
from instruct_tune.ui.run_picker import WHEN_ANSWERING, note, note_on

OWN = PromptTemplate("my <b>own</b>", "Q: {instruction}\nA: ", "Q: {instruction} {input}\nA: ")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A lab and the form of its page."""
    forms = []

    class Kept(Form):
        def __init__(self):
            super().__init__()
            forms.append(self)

    with pytest.MonkeyPatch.context() as patch, opened(tmp_path_factory.mktemp("note")) as lab:
        patch.setattr(ui, "Form", Kept)
        with build_ui(lab):
            lab.runs.restore_examples(HOST)
            yield lab, forms[0]


def test_there_is_no_note_where_both_ask_alike():
    assert note(LESSON, LESSON, WHEN_ANSWERING) == ""
    renamed = PromptTemplate("another name", LESSON.without_input, LESSON.with_input)
    assert note(LESSON, renamed, WHEN_ANSWERING) == "", "a name alone makes no other prompt"


@pytest.mark.parametrize(("own", "here"), [(LESSON, ALPACA), (CHAT, LESSON), (LESSON, CHAT), (OWN, LESSON)])
def test_both_are_named_where_they_differ_and_a_name_is_no_markup(own, here):
    text = note(own, here, WHEN_ANSWERING)
    assert text.index(own.name.split(" ")[0]) < text.index(here.name)
    assert text.endswith(WHEN_ANSWERING)
    assert "<b>" not in text


def test_the_name_goes_into_the_configuration_and_comes_back_into_the_form(page):
    _, form = page
    texts = {"name": OWN.name, "without_input": OWN.without_input, "with_input": OWN.with_input}
    config = smoke(template=texts)
    shown = {control: control.value for control in form.controls} | form.fill(config)
    assert shown[form["template"]] == CUSTOM_TEMPLATE
    assert form.read(shown, "template") == {"template": texts}
    assert template_from(RunConfig.from_dict(form.read(shown, "template")).template).name == OWN.name


def test_a_template_without_a_name_is_called_custom(page):
    _, form = page
    texts = {"without_input": OWN.without_input, "with_input": OWN.with_input}
    shown = {control: control.value for control in form.controls} | form.fill(smoke(template=texts))
    assert form.read(shown, "template") == {"template": texts}
    assert template_from(texts).name == "custom"


@pytest.mark.parametrize(("chosen", "warned"), [("lesson", False), ("alpaca", True), (CUSTOM_TEMPLATE, True)])
def test_a_run_is_compared_with_the_form_as_it_stands(page, chosen, warned):
    lab, form = page
    values = {control: control.value for control in form.controls} | {
        form["template"]: chosen,
        form["template.without_input"]: OWN.without_input,
        form["template.with_input"]: OWN.with_input,
    }
    assert bool(note_on(form, values, BEST, WHEN_ANSWERING, runs=lab.runs, access=lab.access)) is warned


def test_half_a_template_or_a_run_that_is_gone_says_nothing(page):
    lab, form = page
    values = {control: control.value for control in form.controls} | {form["template"]: CUSTOM_TEMPLATE}
    half = values | {form["template.without_input"]: "{instruc"}
    for each in ((half, BEST), (values, "gone"), (values, None)):
        assert note_on(form, *each, WHEN_ANSWERING, runs=lab.runs, access=lab.access) == ""
