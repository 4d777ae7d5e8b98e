"""A configuration as Python: valid whatever its texts hold, complete, honest about what only the lab has."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from instruct_tune.config.filters import STEPS, ByHand, Contains, Filter, Length, Matches
from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import Columns, RunConfig
from instruct_tune.errors import SettingsError
from instruct_tune.script.code import TABS
from instruct_tune.script.hub_job import job_script
from instruct_tune.script.notebook import notebook
from instruct_tune.script.only_in_lab import ONLY_IN_THE_LAB
from instruct_tune.script.record import MAX_STEPS, Record, record_of
from instruct_tune.script.scores import differences
from instruct_tune.script.script import script, sections, tab_sections
from instruct_tune.store.run import Run
from instruct_tune.text.python_literal import literal
from instruct_tune.tokenization.prompt_template import template_from

QUICK = PRESETS["quick"]
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from([
        "'''", '"""', '\'"\\', "{}", "{instruction}{", "\\", "\\n\n", "\n# /// script\n", "\r\n\x00", "\u202e\u2066",
        "a" * 300, "a" * 97 + " /// script b", "# -*- coding: rot13 -*-", "{0.__class__}", "\ud800", "%s %(x)s",
        "\u2028\x85\x0c", "'); import os; ('",
    ]),
)  # fmt: skip


def code_of(config: RunConfig, record: Record | None = None) -> str:
    return "\n".join(section.text for section in sections(config, record, packed=False))


def constants(text: str) -> dict[str, object]:
    """Every name that the code assigns a literal to; of several values the first."""
    found: dict[str, object] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found.setdefault(node.targets[0].id, ast.literal_eval(node.value))
            except ValueError:
                continue
    return found


# Values


VALUES = st.recursive(
    st.one_of(HOSTILE, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(HOSTILE, inner, max_size=4)),
    max_leaves=8,
)


@given(VALUES)
def test_a_value_is_written_so_that_it_evaluates_to_itself(value):
    written = literal(value)
    assert ast.literal_eval(written) == value
    assert written.isprintable()


def test_a_number_that_is_none_is_still_valid_python():
    assert literal(float("nan")) == 'float("nan")'
    assert literal([float("-inf")]) == '[float("-inf")]'


@pytest.mark.slow
@settings(max_examples=60)
@given(*[HOSTILE] * 4)
def test_hostile_texts_in_every_place_leave_valid_python_that_holds_them(one, other, third, fourth):
    config = replace(
        QUICK,
        model=one or "m",
        template={
            "name": other,
            "without_input": f"{third}{{instruction}}",
            "with_input": f"{{instruction}}{{input}}{one}",
        },
        data=replace(
            QUICK.data,
            source="hub:" + other,
            split=third,
            columns=Columns(one, other, third, fourth, (one, other)),
            filters=(
                Contains(text=one), Matches(pattern=other), ByHand("drop_rows", (third, fourth)),
                Length(unit="tokens", tokenizer=fourth, min=1), Filter("drop_leakage"),
            ),
        ),
        lora=replace(QUICK.lora, target_modules=(one, other)),
        train=replace(QUICK.train, own_prompts=(one,), eval_strategy="steps", eval_steps=3),
        generation=replace(QUICK.generation, stop=(third, fourth)),
    )  # fmt: skip
    try:
        template_from(config.template)
    except SettingsError:
        reject()
    evaluation = {
        "generation": config.generation.to_dict(), "rows": 3, "tokenize": "13a", "baselines": [one],
        "base": {"bleu": 1.0}, "tuned": {"bleu": 2.0},
    }  # fmt: skip
    provenance = {
        "parent": {"name": other, "step": third}, "imported": True, "device": fourth, "data_fingerprint": one,
        "versions": {"torch": other, third: fourth}, "ledger": [one, {"kept": other}],
    }  # fmt: skip
    record = Record(one, other, provenance, {1: 2.0}, {1: 2.0}, evaluation)
    text = script(config, record)
    found = constants(text)
    assert found["WITHOUT_INPUT"] == config.template["without_input"]
    assert found["WITH_INPUT"] == config.template["with_input"]
    assert (found["part"], found["pattern"], found["STOPS"]) == (one, other, [third, fourth])
    assert found["TARGETS"] == [one, other]
    assert (found["HUB_DATASET"], found["HUB_SPLIT"], found.get("LAB_FINGERPRINT", "")) == (other, third, one)
    assert [line for line in text.split("\n") if not line.isprintable()] == []
    assert len(re.findall(r"^# ///", text, re.MULTILINE)) == 2
    cells = json.loads(notebook(config, record))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            ast.parse("".join(cell["source"]))


# Complete


OTHER = {
    "model": "gpt2",
    "template": "alpaca",
    "evaluation_rows": 7,
    "data.source": "codealpaca-20k",
    "data.filters": (Filter("drop_empty"),),
    "data.columns.instruction": "question",
    "data.columns.input": "context",
    "data.columns.output": "answer",
    "data.columns.system": "system",
    "data.columns.ignore": ("tools",),
    "lora.target_modules": ("q_proj",),
    "train.lr_scheduler_type": "cosine",
    "train.optim": "sgd",
    "train.bf16": True,
    "train.fp16": True,
    "train.overlong": "truncate",
    "train.own_prompts": ("Mine",),
    "train.eval_strategy": "steps",
    "train.save_strategy": "no",
    "generation.stop": ("END",),
}
"""Another value for a field that is no number; numbers are raised by one, and true becomes false."""
WHERE = {
    "data.split": {"data": {"source": "hub:a/b"}},
    "generation.temperature": {"generation": {"do_sample": True}},
    "generation.top_p": {"generation": {"do_sample": True}},
    "generation.seed": {"generation": {"do_sample": True}},
    "generation.early_stopping": {"generation": {"num_beams": 5}},
}
"""A configuration in which a field has a meaning, where the quick preset has none for it."""


def fields(value: object, path: str = ""):
    """The dotted names of all settings."""
    for field in dataclasses.fields(value):
        name, inner = f"{path}{field.name}", getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from fields(inner, f"{name}.")
        else:
            yield name


def changed(config: RunConfig, name: str) -> RunConfig:
    """``config`` with another value of one field."""

    def inside(value, parts: list[str]):
        head, *rest = parts
        old = getattr(value, head)
        new = inside(old, rest) if rest else OTHER[name] if name in OTHER else _other(old)
        return replace(value, **{head: new})

    return inside(config, name.split("."))


def _other(old):
    if isinstance(old, bool):
        return not old
    if isinstance(old, str):
        return f"{old}-other"
    return 5 if old is None else old + (0.25 if isinstance(old, float) else 1)


@pytest.mark.parametrize("name", list(fields(QUICK)))
def test_every_setting_changes_the_script_or_is_in_the_list_of_what_only_the_lab_has(name):
    config = RunConfig.from_dict(WHERE.get(name, {}))
    differs = code_of(changed(config, name)) != code_of(config)
    assert differs != (name in ONLY_IN_THE_LAB)


def test_the_list_names_settings_with_a_reason_and_the_script_shows_it():
    assert set(ONLY_IN_THE_LAB) <= set(fields(QUICK))
    text = " ".join(re.sub(r"\n# ", " ", code_of(QUICK)).split())
    for name, why in ONLY_IN_THE_LAB.items():
        assert name in text
        assert why in text


EVERYTHING = RunConfig.from_dict({
    "data": {"source": "hub:a/b", "unify_newlines": True,
             "columns": {"system": "system", "ignore": ["tools"]}},
    "train": {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "recite_rows": 3,
              "early_stopping_patience": 2},
    "generation": {"do_sample": True},
})  # fmt: skip
MORE = (
    RunConfig.from_dict({"train": {"load_best_model_at_end": True}}),
    RunConfig.from_dict({"generation": {"num_beams": 2, "max_length": 50}}),
)


def test_every_setting_of_the_script_has_its_line():
    carried = {
        name
        for config in (EVERYTHING, *MORE)
        for section in sections(config, packed=False)
        for line in section.lines
        for name in line.settings
    }
    # How BLEU counts words is a choice of an evaluation, not of a run.
    assert carried == {*fields(QUICK), "tokenize"}


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_has_its_sections_alone_and_they_are_valid_python(tab):
    for config in (*PRESETS.values(), EVERYTHING, *MORE):
        found = tab_sections(config, tab)
        assert found
        assert {section.tab for section in found} == {tab}
        for section in found:
            ast.parse(section.text)
            assert all("\n" not in line.text for line in section.lines)


def test_a_line_carries_the_value_of_its_setting():
    lines = [line for section in tab_sections(QUICK, "train") for line in section.lines]
    assert [line.text for line in lines if "lora.r" in line.settings] == ["    r=16,"]
    assert [line.text.strip() for line in lines if "train.learning_rate" in line.settings] == ["learning_rate=0.0005,"]


# Honest


def test_what_only_the_lab_has_is_stated_in_place():
    config = RunConfig.from_dict(
        {"data": {"source": "/home/ann/mine.csv", "filters": [{"step": "drop_rows", "rows": ["ab"]}]}}
    )
    evaluation = {
        "generation": {"max_new_tokens": 5}, "rows": 3, "baselines": ["chat", "nearest"], "base": {"bleu": 1},
        "tuned": {"bleu": 2},
    }  # fmt: skip
    provenance = {"parent": {"name": "tulip", "step": 12}, "imported": True, "weights_source": "a 4-bit copy"}
    record = Record("n", "stopped at step 3 of 8", provenance, evaluation=evaluation)
    text = " ".join(code_of(config, record).replace("\n#", "").split())
    for words in (
        "In the lab this run is stopped at step 3 of 8.",
        "it went on from the adapter of tulip, step 12",
        "its adapter was imported: it was trained elsewhere, with the settings that its files tell. This trains a new",
        "Only in the lab: the baselines chat, nearest",
        "dropped these rows by hand",
        "no script carries rows of others",
        "a 4-bit copy, dequantised",
        "draw other random numbers",
    ):
        assert words in text
    assert 'FILE = "mine.csv"' in text
    assert "/home" not in text


@pytest.mark.parametrize(
    ("missing", "own", "claims"),
    [
        ("", "the settings that its files tell", "stand in"),
        ("rows", "without its rows: other rows stand in", "prompt the imported adapter was trained with is not known"),
        ("training", "without its settings and rows: only the model and LoRA's settings are", "files tell"),
    ],
)
def test_a_script_of_an_imported_run_says_which_settings_and_rows_are_its_own(missing, own, claims):
    provenance = {"imported": True, **({"not_imported": missing} if missing else {})}
    record = Record("n", "finished at step 3 of 3", provenance)
    text = " ".join(code_of(QUICK, record).replace("\n# ", " ").split())
    assert own in text
    assert own in " ".join(differences(QUICK, record))
    assert claims not in text
    stand_ins = "these stand in for them" in text, "adapter was trained with is not known" in text
    assert stand_ins == (missing != "", missing == "training")


def test_no_folder_of_the_machine_is_in_a_script(tmp_path):
    (tmp_path / "my-model").mkdir()
    model, rows = str(tmp_path / "my-model"), str(tmp_path / "rows.jsonl")
    counting = {"step": "length", "unit": "tokens", "min": 1, "tokenizer": model}
    text = code_of(RunConfig.from_dict({"model": model, "data": {"source": rows, "filters": [counting]}}))
    assert str(tmp_path) not in text
    assert constants(text)["MODEL"] == "my-model"
    assert constants(text)["FILE"] == "rows.jsonl"


def test_a_long_run_carries_some_of_its_losses():
    run = Run("i", "n", "finished", None, "", 2000, 2000, 0, 0, QUICK.to_dict(), None, {})
    metrics = [{"kind": "train", "step": step, "loss": 1 / step} for step in range(1, 2001)]
    record = record_of(run, metrics, [])
    assert MAX_STEPS / 2 < len(record.losses) <= MAX_STEPS
    assert record.losses[1] == 1


def test_the_header_names_each_library_with_the_version_that_trained_the_run():
    record = Record("n", "e", {"versions": {"torch": "2.12.1+cpu", "peft": '0.1"\n# ]', "trl": "1.2.3"}})
    text = script(QUICK, record)
    block = re.search(r"^# /// script\n((?:# .*\n)*)# ///$", text, re.MULTILINE)[1]
    required = re.findall(r'^#     "([\w-]+)==([\d.]+)",$', block, re.MULTILINE)
    assert [name for name, _ in required] == [
        "torch", "transformers", "trl", "peft", "accelerate", "datasets", "sacrebleu",
    ]  # fmt: skip
    assert dict(required)["torch"] == "2.12.1"
    assert dict(required)["trl"] == "1.2.3"
    assert dict(required)["peft"].count(".") == 2


@pytest.mark.parametrize(("tokenize", "name"), [("ja-mecab", "sacrebleu[ja]"), ("ko-mecab", "sacrebleu[ko]")])
def test_a_tokenisation_with_a_dictionary_requires_it(tokenize, name):
    sides = {side: {"bleu": 1.0} for side in ("base", "tuned")}
    evaluation = {"generation": {}, "rows": 3, "tokenize": tokenize, "baselines": [], **sides}
    versions = {"versions": {"sacrebleu": "2.5.1"}}
    record = Record("n", "finished at step 2 of 2", versions, evaluation=evaluation)
    for text in (script(QUICK, record), notebook(QUICK, record)):
        assert f"{name}==2.5.1" in text
        assert "sacrebleu==" not in text
    for text in (script(QUICK, None, tokenize), notebook(QUICK, None, tokenize)):
        assert f"{name}==" in text
    assert "sacrebleu==2.5.1" in script(QUICK, record, "char")
    assert "sacrebleu==2.5.1" in job_script(QUICK, "own/job", record)


def test_rapidfuzz_is_required_where_texts_are_compared():
    for step in STEPS:
        needs = step in ("drop_near_duplicates", "drop_leakage")
        assert ('"rapidfuzz==' in script(replace(QUICK, data=replace(QUICK.data, filters=(STEPS[step],))))) == needs


def test_a_notebook_is_nbformat_4_with_headings_and_a_plot():
    whole = json.loads(notebook(QUICK, Record("<b>tulip</b> [x](y)", "e")))
    assert (whole["nbformat"], whole["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in whole["cells"]]
    assert len(set(ids)) == len(ids)
    texts = ["".join(cell["source"]) for cell in whole["cells"] if cell["cell_type"] == "markdown"]
    assert "<b>" not in texts[0]
    assert sum(text.startswith("## ") for text in texts) == 6
    code = ["".join(cell["source"]) for cell in whole["cells"] if cell["cell_type"] == "code"]
    assert sum("matplotlib.pyplot" in cell for cell in code) == 1
    assert all(f"\n{section.text}" in "\n" + "\n".join(code) for section in sections(QUICK, Record("n", "e")))


@pytest.mark.parametrize(
    ("record", "whose"),
    [
        (
            Record("n", "e", {"versions": {"torch": "2.12.1"}}),
            "The run's versions, and this lab's where it recorded none.",
        ),
        (Record("n", "e"), "This lab's versions."),
        (None, "This lab's versions."),
    ],
)
def test_a_notebook_says_whose_versions_it_installs(record, whose):
    cells = json.loads(notebook(QUICK, record))["cells"]
    assert f"\n\n# {whose}\nLIBRARIES = [\n" in "".join(cells[1]["source"])


def test_what_may_differ_names_a_run_that_this_one_is_not():
    sentences = " ".join(differences(QUICK, Record("r", "stopped at step 3 of 12", {"parent": {}, "imported": True})))
    for words in ("stopped at step 3 of 12, and this trains to the end", "adapter was imported"):
        assert words in sentences
    assert "went on from" in " ".join(
        differences(QUICK, Record("r", "finished at step 3 of 3", {"parent": {"name": "p"}}))
    )
    assert "trains to the end" not in " ".join(differences(QUICK, Record("r", "finished at step 3 of 3")))


def test_a_run_without_held_out_rows_watches_no_loss():
    config = replace(QUICK, train=replace(QUICK.train, early_stopping_patience=2, load_best_model_at_end=True))
    text = code_of(config)
    assert "if held_out_rows:  # it watches their loss\n    trainer.add_callback(EarlyStopping" in text
