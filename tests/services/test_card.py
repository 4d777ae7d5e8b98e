"""A run's model card: the Hub's own parser reads it, its numbers are the run's, its snippet works."""

import contextlib
import dataclasses
import io
import json
import re

import pytest
import torch
import yaml
from hostile import NAMES
from huggingface_hub import ModelCard
from labs import cache_for, finished, opened, smoke

from instruct_tune.config.viewer import HOST
from instruct_tune.export.model_card import model_card
from instruct_tune.runs.examples import ASSETS
from instruct_tune.store.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

HOSTILE = (*NAMES, "```\n# x", "a: b", "/tmp/it's #1", "{x}", "x\ny")


def recorded(name="good"):
    """(run, evaluations, metrics) of a recorded run that comes with the project."""
    folder = ASSETS / name
    fields = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    fields["provenance"] = fields.pop("facts")
    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return Run(**{"phase": None, "error_kind": None, **fields}), [evaluation], metrics


def changed(run, **over):
    return dataclasses.replace(run, config={**run.config, **over})


def snippet(card):
    return re.search(r"```python\n(.*?)\n```", card, re.DOTALL)[1]


def test_the_hubs_own_reader_takes_it():
    run, evaluations, metrics = recorded()
    data = ModelCard(model_card(run, evaluations, metrics)).data
    assert (data.base_model, data.library_name, data.license) == (run.config["model"], "peft", "apache-2.0")
    assert data.datasets is None
    assert data.language is None
    (result,) = data.eval_results
    evaluation = evaluations[0]
    assert (result.metric_type, result.metric_value) == ("sacrebleu", evaluation["tuned"]["bleu"])
    assert result.metric_args["rows"] == evaluation["rows"]
    assert result.metric_args["signature"] == evaluation["tuned"]["signature"]
    assert result.metric_args["base_value"] == evaluation["base"]["bleu"]


def test_it_says_what_was_measured_and_on_which_weights():
    run, (evaluation,), metrics = recorded()
    scores = "".join(f" {evaluation[side]['bleu']:.2f} |" for side in ("base", "tuned"))
    first = next(metric["probe_loss"] for metric in metrics if metric["kind"] == "probe")
    card = model_card(run, [evaluation], metrics)
    for words in (
        run.provenance["data_fingerprint"], "a672150fb4f99d7c", "These were a 4-bit copy", f"| BLEU |{scores}",
        f"{evaluation['tuned']['bp']:.3f}", f"Held-out loss, probe rows: {first:.3f} at step 0", "lora\\.r | 16",
        "### Response:", "recorded on", "without\\_input: 931 kept, 635 dropped", "transformers 5\\.23\\.0",
    ):  # fmt: skip
        assert words in card
    before_ledgers = {name: fact for name, fact in run.provenance.items() if name != "ledger"}
    without = model_card(dataclasses.replace(run, provenance={**before_ledgers, "weights_source": "Hub"}), [])
    assert "how many rows each kept was not recorded" in without
    assert "4-bit" not in without
    assert "It has not been evaluated" in without
    assert "model-index" not in without


@pytest.mark.parametrize(
    ("ended", "train", "kept", "rows"),
    [
        ({}, {}, 12, "48 rows"),
        ({}, {}, 3, "12 of 48 rows"),
        ({}, {"gradient_accumulation_steps": 2}, 5, "40 of 48 rows"),
        ({"step": 24, "total_steps": 24}, {"num_train_epochs": 2}, 13, "48 rows"),
        ({"status": "stopped", "step": 2}, {}, 2, "8 of 48 rows"),
        ({"status": "stopped", "step": 0}, {}, 0, "0 of 48 rows"),
        # A later session of it broke off.
        ({"status": "failed", "step": 9}, {}, 2, "8 of 48 rows"),
        # An import without measurements.
        ({"step": 0, "total_steps": 0}, {}, None, "at most 48 rows"),
    ],
)
def test_it_says_which_steps_adapter_it_is_and_how_many_rows_that_has_seen(ended, train, kept, rows):
    run, _, _ = recorded()
    provenance = {name: value for name, value in run.provenance.items() if name not in ("recorded", "kept_step")}
    provenance |= {} if kept is None else {"kept_step": kept}
    run = dataclasses.replace(changed(run, train={**run.config["train"], **train}), provenance=provenance, **ended)
    card = model_card(run, [])
    steps = f", step {run.step} of {run.total_steps}" if run.total_steps else ""
    adapter = "" if kept in (None, run.step) else f"; the adapter is that of step {kept}"
    assert f"Status: {run.status}{steps}{adapter}.\n" in card
    for words in (f"Lab on {rows} of bundled", f"\n- Trained on {rows}; ", f"\n- It has seen {rows}: what"):
        assert words in card


def test_of_a_run_that_goes_on_from_another_it_does_not_say_that_its_rows_are_all():
    run, _, _ = recorded()
    parent = {"parent": {"id": "p", "name": "first", "step": 6}}
    card = model_card(dataclasses.replace(run, provenance={**run.provenance, **parent}), [])
    assert "It has seen 48 rows, and before them those of the run that it goes on from: what" in card


@pytest.mark.parametrize(
    ("source", "named"),
    [("hub:some/data", ["some/data"]), ("codealpaca-20k", ["sahil2801/CodeAlpaca-20k"]), ("mine.csv", None)],
)
def test_a_dataset_of_the_hub_is_named_and_another_is_not(source, named):
    run, evaluations, _ = recorded()
    card = model_card(changed(run, data={**run.config["data"], "source": source}), evaluations)
    assert ModelCard(card).data.datasets == named


def test_a_licence_that_is_not_known_is_left_out():
    run, _, _ = recorded()
    headers = {
        model: ModelCard(model_card(changed(run, model=model), [])).data.to_dict()
        for model in ("gpt2", "facebook/opt-350m", "some/model")
    }
    assert headers["gpt2"]["license"] == "mit"
    assert headers["facebook/opt-350m"]["license"] == "other"
    assert headers["facebook/opt-350m"]["license_name"] == "opt-175b-license"
    assert "license" not in headers["some/model"]


@pytest.mark.parametrize("text", HOSTILE)
def test_other_peoples_text_is_only_text(text):
    """It becomes no markup that runs or loads something and no line of the header, and ends no code block."""
    run, evaluations, metrics = recorded()
    data = {**run.config["data"], "source": text, "filters": [{"step": "contains", "text": text}]}
    template = {"without_input": f"{text}{{instruction}}", "with_input": f"{{instruction}}{text}{{input}}"}
    if {"{x}", "{} %s %(x)s"} & {text}:
        template = "lesson"
    odd = dataclasses.replace(changed(run, model=text, data=data, template=template), name=text)
    card = model_card(odd, evaluations, metrics)
    # The Hub accepts only ids as base model, and one of these texts could be an id.
    named = text if text == "plain" else None
    assert ModelCard(card).data.base_model == named
    header = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])
    assert header.get("base_model") == named
    assert header["model-index"][0]["name"] == " ".join(text.split())
    assert card.count("\nbase_model:") == bool(named) + 2 * (template != "lesson" and "\nbase_model:" in text)
    outside = re.sub(r"^(`{3,})\w+\n.*?\n\1$", "", card.split("\n---\n", 1)[1], flags=re.DOTALL | re.MULTILINE)
    outside = outside.replace("![Loss over steps](loss.png)", "")
    # Markup is not live where it is an entity or has a backslash before it.
    assert not re.search(r"(?<!\\)<script|(?<!\\)\]\(", outside)
    assert len([line for line in outside.splitlines() if line.startswith("# ")]) == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_claims_of_an_imported_run_stay_in_their_code(text):
    run, evaluations, metrics = recorded()
    claimed = {"weights_sha256": f"`a`\n\n{text}", "data_fingerprint": f"b``\n# {text}"}
    card = model_card(dataclasses.replace(run, provenance={**run.provenance, **claimed}), evaluations, metrics)
    assert card.count("\n# ") == 1
    line = next(line for line in card.splitlines() if line.startswith("- Fingerprint"))
    assert line.endswith("```") or text.rstrip().endswith("`")
    assert "``` b``" in line or "```b``" in line


@pytest.mark.parametrize("template", ["lesson", "chat"])
def test_the_snippet_answers_as_the_run_does(tmp_path, tmp_path_factory, monkeypatch, template):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    with opened(tmp_path / "data") as lab:
        run_id = finished(lab, smoke(template=template), "tulip")
        run, provenance = lab.runs.get(HOST, run_id), lab.runs.details(HOST, run_id)["facts"]
        card = model_card(run, [], lab.runs.metrics(HOST, run_id))
        assert f"- without\\_input: {provenance['ledger'][0]['kept']:,} kept" in card
        code = snippet(card).replace('"tiny-random"', repr(provenance["model_path"]))
        code = code.replace("path/to/this/folder", str(lab.store.folder(run_id) / "adapter"))
        output = io.StringIO()
        with contextlib.redirect_stdout(output), torch.random.fork_rng():
            exec(code, {})
        assert lab.inference.generate(HOST, run_id, [{"instruction": "Reverse a string in Python."}]) == [
            output.getvalue()[:-1]
        ]


def test_a_chat_template_is_prompted_as_a_chat():
    run, _, _ = recorded()
    assert "apply_chat_template" in snippet(model_card(changed(run, template="chat"), []))


def test_a_chat_run_that_kept_its_markup_shows_the_text_it_was_trained_on():
    run, _, _ = recorded()
    markup = {"chat_before": "Monday. <user>", "chat_after": "<end>"}
    kept = dataclasses.replace(run, provenance={**run.provenance, **markup})
    card = model_card(changed(kept, template="chat"), [])
    assert 'prompt = "Monday. <user>Reverse a string in Python.<end>"' in snippet(card)
    assert "Monday. <user>{message}<end>" in card
