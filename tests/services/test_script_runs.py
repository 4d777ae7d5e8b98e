"""Exported scripts and notebooks, run by a Python without the lab, against what the lab itself computed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from labs import cache_for, opened
from script_runs import NO_LAB, WRITE_RESULTS, kernel, launch, loud_model, python_without_lab, run_scripts

from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import examples, load_splits, take_evaluation_rows
from instruct_tune.pretrained.locate import locate
from instruct_tune.pretrained.tokenizers import load_tokenizer
from instruct_tune.tokenization.encode import tokenize_rows
from instruct_tune.tokenization.prompt_template import template_from

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

ROWS = [
    {"instruction": f"Say {word} {count} times", "input": "", "output": " ".join([word] * count)}
    for word in ("a", "b")
    for count in range(4, 14)
]
"""Rows that a tiny model can learn, so that its BLEU is not 0."""

REDUCED = {
    "minute": {"data": {"limit": 16},
               "train": {"num_train_epochs": 3, "eval_strategy": "steps", "eval_steps": 2,
                         "load_best_model_at_end": True, "early_stopping_patience": 2}},
    "quick": {"data": {"limit": 16, "filters": [{"step": "drop_near_duplicates", "threshold": 1}]},
              "template": "chat", "train": {"num_train_epochs": 4, "gradient_accumulation_steps": 2}},
    "overfit": {"train": {"num_train_epochs": 8}},
    "lesson": {"data": {"limit": 16}, "train": {"num_train_epochs": 1, "max_length": 60},
               "generation": {"max_length": 80}},
    "sampled": {"data": {"limit": 16},
                "template": {"without_input": "\"{instruction}\n'''=", "with_input": "{instruction}{input}"},
                "train": {"num_train_epochs": 2, "weight_decay": 0.1, "lr_scheduler_type": "cosine", "warmup_steps": 2,
                          "max_grad_norm": 0.5, "max_steps": 7},
                "generation": {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "stop": ["a a a a", "b b b b"]}},
}  # fmt: skip
"""Each preset in a size for a tiny model (the smoke preset has it, and the bundled rows), and what none of them has."""
RUNS = (*PRESETS, "sampled")
COMMON = {
    "lora": {"lora_dropout": 0, "target_modules": "all-linear"},
    "train": {"learning_rate": 2e-2, "probes": 0, "save_minutes": None, "save_strategy": "no"},
    "evaluation_rows": 4,
}


def settings(preset: str, loud: Path, rows: Path) -> RunConfig:
    if preset == "smoke":
        return RunConfig.from_dict({"lora": {"lora_dropout": 0}, "train": {"probes": 0, "save_minutes": None}}, preset)
    changes = REDUCED[preset]
    data = {"source": str(rows), **changes.get("data", {})}
    generation = {} if preset == "lesson" else {"max_new_tokens": 24}
    return RunConfig.from_dict({
        **COMMON,
        "model": str(loud),
        "template": changes.get("template", "lesson"),
        "data": data,
        "train": {**COMMON["train"], **changes["train"]},
        "generation": {**generation, **changes.get("generation", {})},
    }, preset if preset in PRESETS else "quick")  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run of each preset in a lab, evaluated; and each as a script and a notebook in a folder of its own."""
    root = tmp_path_factory.mktemp("scripts")
    rows = root / "rows.json"
    rows.write_text(json.dumps(ROWS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        tiny = locate("tiny-random", lambda text: None).path
        loud = loud_model(tiny, root / "loud")
        made = {}
        with opened(root / "data") as lab:
            for preset in RUNS:
                config = settings(preset, loud, rows)
                run_id = lab.training.start(HOST, config, preset)
                assert lab.training.wait(run_id, 300).status == "finished"
                *_, evaluation = lab.evaluations.stream(HOST, run_id)
                folder = root / preset
                folder.mkdir()
                for source in (rows, tiny, loud):
                    (folder / source.name).symlink_to(source)
                for form in ("py", "ipynb"):
                    lab.scripts.save(lab.scripts.of_run(HOST, run_id, form), folder / f"run.{form}")
                made[preset] = SimpleNamespace(
                    folder=folder, config=config, evaluation=evaluation, run=lab.runs.get(HOST, run_id),
                    metrics=lab.runs.metrics(HOST, run_id), predictions=lab.evaluations.predictions(HOST, run_id),
                )  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    return python_without_lab(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="module")
def scripted(runs, bare) -> dict[str, dict]:
    """What each preset's script computed."""
    found = run_scripts(bare, [run.folder / "run.py" for run in runs.values()])
    return {script.parent.name: results for script, results in found.items()}


@pytest.fixture(scope="module")
def in_notebooks(runs, bare, tmp_path_factory) -> dict[str, dict]:
    """What each preset's notebook computed; all of them in one kernel, which takes seconds to import everything."""
    import nbformat
    from nbclient import NotebookClient

    jupyter = tmp_path_factory.mktemp("jupyter")
    kernel(bare, jupyter)
    cells = [nbformat.v4.new_code_cell(NO_LAB)]
    for preset in PRESETS:
        run = runs[preset]
        notebook = nbformat.read(run.folder / "run.ipynb", as_version=4)
        nbformat.validate(notebook)
        cells.append(nbformat.v4.new_code_cell(f"import os\nos.chdir({str(run.folder)!r})"))
        cells += [nbformat.v4.new_code_cell(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
        cells.append(nbformat.v4.new_code_cell(WRITE_RESULTS))
    whole = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(jupyter))
        away = {"metadata": {"path": str(jupyter)}}
        NotebookClient(whole, timeout=300, kernel_name="bare", resources=away).execute()
    plots = [out for cell in whole.cells for out in cell.get("outputs", ()) if "image/png" in out.get("data", {})]
    assert len(plots) == len(PRESETS)
    return {preset: json.loads((runs[preset].folder / "results.json").read_text()) for preset in PRESETS}


def lab_rows(config: RunConfig) -> tuple[str, list[dict], list[dict]]:
    """(fingerprint, training rows, held-out rows) as the lab has them, as lists of ids and labels."""
    splits, path = load_splits(config.data), locate(config.model, lambda text: None).path
    tokenizer, template, train = load_tokenizer("tiny", path), template_from(config.template), config.train

    def encoded(rows) -> list[dict]:
        done = tokenize_rows(tokenizer, chat_of(tokenizer, template), rows, train.max_length, train.overlong, 2048)
        return [{"input_ids": list(row.input_ids), "labels": list(row.labels)} for row in done.rows]

    held_out = take_evaluation_rows(splits.test, config.evaluation_rows)
    return splits.fingerprint, encoded(examples(splits.train)), encoded(examples(held_out))


def chat_of(tokenizer, template):
    from instruct_tune.tokenization.chat_template import with_markup

    return with_markup(tokenizer, template)


def assert_same_as_lab(run, found: dict) -> None:
    """Rows, ids, labels, losses, texts and scores of a script against the run's."""
    fingerprint, train, held_out = lab_rows(run.config)
    assert run.run.provenance["data_fingerprint"] == fingerprint
    assert found["FINGERPRINT"] == fingerprint
    assert found["train_rows"] == train
    assert found["held_out_rows"] == held_out
    for kind, name, here in (("train", "loss", "losses"), ("eval", "eval_loss", "held_out_losses")):
        lab = {metric["step"]: metric[name] for metric in run.metrics if metric["kind"] == kind}
        assert {int(step): loss for step, loss in found[here].items()} == pytest.approx(lab, abs=1e-5)
    assert len(found["losses"]) >= 4
    for side in ("base", "tuned"):
        assert [tuple(answer) for answer in found[f"{side}_answers"]] == [
            (row[side], row[f"{side}_ended"]) for row in run.predictions
        ]
        assert found["scores"][side] == run.evaluation[side]["bleu"]


@pytest.mark.parametrize("preset", RUNS)
def test_a_script_trains_on_the_same_rows_to_the_same_losses_texts_and_bleu(runs, scripted, preset):
    assert_same_as_lab(runs[preset], scripted[preset])


@pytest.mark.nightly
@pytest.mark.parametrize("preset", PRESETS)
def test_a_notebook_does_the_same_and_draws_its_losses(runs, in_notebooks, preset):
    assert_same_as_lab(runs[preset], in_notebooks[preset])


def test_the_models_of_these_tests_learn_something_that_bleu_sees(runs):
    assert max(run.evaluation["tuned"]["bleu"] for run in runs.values()) > 20
    assert len({run.evaluation["tuned"]["bleu"] for run in runs.values()}) > 2


def test_the_rows_known_by_heart_are_as_many_as_in_the_lab(runs, scripted):
    assert scripted["overfit"]["exact"] == runs["overfit"].run.provenance["recited"]["exact"]


@pytest.mark.nightly
def test_two_processes_train_the_same_rows_and_print_one_bleu(runs, bare):
    run = runs["quick"]
    out = launch(bare, run.folder / "run.py", 2)
    assert re.findall(r"^(\d) processes, each with (\d) rows", out, re.MULTILINE) == [("2", "4")]
    assert f"fingerprint {run.run.provenance['data_fingerprint']}: the same rows as in the lab" in out
    assert len(re.findall(r"^BLEU of tuned", out, re.MULTILINE)) == 1
    # The losses are of the same steps, so each step had the same rows.
    apart = [float(number) for number in re.findall(r"loss, \d+: .* at most ([\d.]+) apart", out)]
    assert len(apart) == 2
    assert max(apart) < 1e-4
