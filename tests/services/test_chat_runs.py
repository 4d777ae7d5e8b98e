"""Runs with a chat template: refused where it drops the question, prompted with the text they were trained with."""

import shutil

import pytest
from labs import PATIENCE, finished, smoke

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import ModelError
from instruct_tune.generation.generate import generate
from instruct_tune.inspection.token_view import NO_FAULT
from instruct_tune.pretrained.locate import locate
from instruct_tune.tokenization.prompt_template import template_from
from instruct_tune.ui.path.notices import Notices

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")

CLOCK = "{{ strftime_now('%H:%M:%S.%f') }} {% for m in messages %}{{ m['content'] | trim }}{% endfor %}]"
LOSES = "{% for m in messages if m['role'] == 'assistant' %}{{ m['content'] }}{% endfor %}assistant:"


@pytest.fixture
def with_template(tmp_path):
    """Copies the tiny model into its own folder, with another chat template; returns the folder."""

    def make(template):
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(locate("tiny-random", lambda text: None).path, folder)
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        return str(folder)

    return make


def chat(folder, **sections):
    return smoke(model=folder, template="chat", **sections)


def test_a_run_whose_template_loses_the_question_fails_in_a_sentence(lab, with_template):
    folder = with_template(LOSES)
    run_id = lab.training.start(HOST, chat(folder))
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind) == ("failed", "model")
    assert run.message.startswith("This model's chat template leaves out the user's message: choose the lesson")
    with pytest.raises(ModelError, match="leaves out the user's message"):
        lab.datasets.mask(HOST, chat(folder), "Hi", "", "Ho")
    with pytest.raises(ModelError, match="leaves out the user's message"):
        lab.datasets.report(HOST, chat(folder))
    # Other templates still work with this model.
    finished(lab, smoke(model=folder, template="alpaca", train={"max_steps": 1}))


def prompts_of(monkeypatch):
    """A list that collects the prompts that models get from now on, as texts."""
    prompts = []

    def record(loaded, requests, *rest, **options):
        prompts.extend(loaded.tokenizer.decode(list(request.prompt)) for request in requests)
        return generate(loaded, requests, *rest, **options)

    monkeypatch.setattr("instruct_tune.generation.generate.generate", record)
    return prompts


@pytest.mark.slow
def test_a_run_keeps_the_text_its_template_had_when_it_began(lab, with_template, tmp_path, monkeypatch):
    folder = with_template(CLOCK)
    run_id = finished(lab, chat(folder, train={"max_steps": 2}), "clock")
    provenance = lab.runs.details(HOST, run_id)["facts"]
    assert provenance["chat_after"] == "]"
    assert provenance["chat_before"].count(":") == 2
    events = [event["text"] for event in lab.runs.details(HOST, run_id)["events"]]
    assert sum("keeps the prompt's text" in text for text in events) == 1
    prompts = prompts_of(monkeypatch)
    lab.inference.generate(HOST, run_id, [{"instruction": "Hi"}], generation={"max_new_tokens": 1})
    list(lab.inference.compare(HOST, run_id, "Hi", generation={"max_new_tokens": 1}))
    assert set(prompts) == {f"{provenance['chat_before']}Hi]"}
    page = lab.run_pages.contents(HOST, run_id, losses=False)
    assert "".join(token.spelling for token in page.tokens[0].tokens).startswith(
        provenance["chat_before"].replace(" ", "Ġ")
    )
    # A run continued from it keeps the text too, and so does the run imported from its exported zip.
    child = lab.training.start(HOST, {"train": {"max_steps": 1}}, "child", parent=run_id)
    assert lab.training.wait(child, PATIENCE).provenance["chat_before"] == provenance["chat_before"]
    imported = lab.transfers.import_run(HOST, lab.transfers.export(HOST, run_id, tmp_path / "run.zip"))
    assert lab.runs.details(HOST, imported)["facts"]["chat_before"] == provenance["chat_before"]


@pytest.mark.slow
def test_answers_to_other_chat_texts_are_in_another_table(lab, with_template):
    run_id = finished(lab, chat(with_template(CLOCK), train={"max_steps": 1}))
    child = lab.training.wait(lab.training.start(HOST, {}, parent=run_id), PATIENCE).id
    other = finished(lab, chat(with_template(CLOCK), train={"max_steps": 1}))
    for each in (run_id, child, other):
        lab.evaluations.start(HOST, each, 2, {"max_new_tokens": 1}).result(PATIENCE)
    tables = lab.evaluations.leaderboard(HOST)
    assert sorted(sorted(run["run_id"] for run in table["runs"]) for table in tables) == sorted(
        [sorted([run_id, child]), [other]]
    )


def test_a_run_with_another_template_inherits_no_markup(lab, with_template):
    folder = with_template(CLOCK)
    run_id = finished(lab, chat(folder, train={"max_steps": 1}))
    child = lab.training.start(HOST, {"template": "lesson", "train": {"max_steps": 1}}, parent=run_id)
    assert "chat_before" not in lab.training.wait(child, PATIENCE).provenance


def test_a_resumed_run_goes_on_with_its_text(lab, with_template, pace):
    from labs import stop_at

    folder = with_template(CLOCK)
    run_id = stop_at(lab, pace, 2, chat(folder, train={"max_steps": 4}))
    before = lab.runs.details(HOST, run_id)["facts"]["chat_before"]
    lab.training.resume(HOST, run_id)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    assert lab.runs.details(HOST, run_id)["facts"]["chat_before"] == before


PLAIN = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def test_the_panel_learn_counts_the_tokens_of_a_chat_prompt(lab, with_template):
    config = chat(with_template(PLAIN))
    notices = Notices(lab.datasets, lab.tokenizers, lab.runs, lab.evaluations)
    assert notices.of_form("template", HOST, config, 1, NO_FAULT) is None, "no tokenizer is loaded for it"
    lab.datasets.summary(HOST, config)
    tokenizer = lab.tokenizers.get(config.model)
    row = lab.datasets.training_row(HOST, config, 0)
    question = row.instruction if not row.input else f"{row.instruction}\n\n{row.input}"
    prompts = (f"user: {question}\nassistant: ", template_from("lesson").render(row.instruction, row.input))
    chat_tokens, usual = (len(tokenizer(text, add_special_tokens=False).input_ids) for text in prompts)
    assert notices.of_form("template", HOST, config, 1, NO_FAULT) == (
        f"With the model's own chat template the prompt of row 1 has {chat_tokens} tokens; with lesson it has {usual}."
    )
