"""Mutated files fail with one sentence or import as a whole run; the runs folder matches the history."""

import json
import os
import random

import pytest
from imported_runs import changed, imported, is_tidy, sentence, use
from labs import opened, smoke
from mutations import (
    CONFIG,
    METRICS,
    PROVENANCE,
    RUN,
    TRAIN,
    WEIGHTS,
    mutants,
    mutated_bytes,
    mutated_value,
)

from instruct_tune.config.viewer import HOST
from instruct_tune.data import ledger as ledger_file
from instruct_tune.errors import LabError
from instruct_tune.export import import_run
from instruct_tune.tokenization.prompt_template import template_from

pytestmark = pytest.mark.usefixtures("one_thread")
MUTATIONS = int(os.environ.get("LAB_MUTATIONS", 200))
"""Mutations of each kind of file; ``make test-nightly`` tries 2,000."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("mutated") / "data", local_paths=True) as lab:
        yield lab


@pytest.mark.slow
def test_a_mutated_export_is_refused_or_a_whole_run(lab, tmp_path):
    refused = accepted = 0
    for what, content in mutants(seed=1, count=MUTATIONS):
        try:
            run_id = imported(lab, tmp_path, content)
        except LabError as error:
            refused += 1
            sentence(error)
        else:
            accepted += 1
            # An export draws a plot, which takes longest.
            use(lab, run_id, tmp_path / "out.zip", exports=accepted % 10 == 1)
        assert is_tidy(lab), what
    assert min(refused, accepted) > MUTATIONS / 10


def test_a_mutated_configuration_is_refused_or_comes_back_as_it_was(lab):
    accepted = 0
    for number in range(MUTATIONS):
        mutated = mutated_value(random.Random(number), RUN)
        try:
            config = lab.configs.read(HOST, mutated)
        except LabError as error:
            sentence(error)
        else:
            accepted += 1
            assert (
                lab.configs.read(HOST, json.loads(json.dumps(config.to_dict(), ensure_ascii=False).encode())) == config
            )
    assert accepted


def test_a_mutated_template_is_refused_or_renders(lab):
    for number in range(MUTATIONS):
        mutated = mutated_value(random.Random(number), RUN["template"])
        try:
            template = template_from(lab.configs.read(HOST, smoke().to_dict() | {"template": mutated}).template)
        except LabError as error:
            sentence(error)
        else:
            assert template.render("a", "b").encode()


def test_mutated_metrics_are_refused_or_measurements():
    lines = "".join(json.dumps(line) + "\n" for line in METRICS).encode()
    for number in range(MUTATIONS):
        chance = random.Random(number)
        odd = "".join(json.dumps(line) + "\n" for line in mutated_value(chance, METRICS)).encode()
        try:
            metrics = import_run._metrics(odd if number % 2 else mutated_bytes(chance, lines))
        except LabError as error:
            sentence(error)
        else:
            json.dumps(metrics, allow_nan=False)
            assert len({(metric["kind"], metric["step"]) for metric in metrics}) == len(metrics)


def test_a_mutated_ledger_is_refused_or_read(lab, tmp_path):
    ledger = {"data": RUN["data"], "ledger": [{"step": "contains", "kept": 3, "dropped": 1}], "fingerprint": "0" * 16}
    file = tmp_path / "ledger.json"
    accepted = 0
    for number in range(MUTATIONS):
        chance = random.Random(number)
        odd = json.dumps(mutated_value(chance, ledger)).encode()
        file.write_bytes(odd if number % 2 else mutated_bytes(chance, json.dumps(ledger).encode()))
        try:
            saved = ledger_file.read(file)
            lab.configs.read(HOST, {"data": saved.data})
        except LabError as error:
            sentence(error)
        else:
            accepted += 1
            assert len(saved.fingerprint.encode()) <= 800
    assert accepted


def test_the_good_export_is_accepted(lab, tmp_path):
    run_id = imported(lab, tmp_path, changed())
    details = lab.runs.details(HOST, run_id)
    kept = {name: value for name, value in PROVENANCE.items() if name not in ("step", "total_steps")}
    assert details["facts"] == {**kept, "imported": True}
    assert (details["status"], details["step"], details["total_steps"]) == ("finished", 2, 4)
    assert [metric["loss"] for metric in details["metrics"] if metric["kind"] == "train"] == [TRAIN["loss"]] * 2
    assert details["config"]["template"] == RUN["template"]
    assert details["config"]["lora"]["r"] == CONFIG["r"]
    assert (lab.data_dir / "runs" / run_id / "adapter" / "adapter_model.safetensors").read_bytes() == WEIGHTS
    use(lab, run_id, tmp_path / "out.zip", exports=True)
