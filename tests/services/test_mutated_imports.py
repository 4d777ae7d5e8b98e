"""Mutated files fail with one sentence or import as a whole run; the runs folder matches the history."""

import json
import os
import random
import threading
import zipfile

import numpy as np
import pytest
from labs import PATIENCE, opened, smoke
from mutations import (
    CONFIG,
    METRICS,
    PROVENANCE,
    RUN,
    TEXTS,
    TRAIN,
    VALUES,
    WEIGHTS,
    members,
    mutants,
    mutated_bytes,
    mutated_value,
    zipped,
)
from safetensors.numpy import save

from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import HOST
from instruct_tune.data import ledger as ledger_file
from instruct_tune.errors import DataError, LabError, NotFoundError, SettingsError
from instruct_tune.export import import_run
from instruct_tune.runs.annotations import LONGEST_NOTES, LONGEST_TAG
from instruct_tune.services.access import Access
from instruct_tune.store import snapshot
from instruct_tune.tokenization.prompt_template import template_from

pytestmark = pytest.mark.usefixtures("one_thread")
LONGEST_MESSAGE = 1000
MUTATIONS = int(os.environ.get("LAB_MUTATIONS", 200))
"""Mutations of each kind of file; ``make test-nightly`` tries 2,000."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("mutated") / "data", local_paths=True) as lab:
        yield lab


@pytest.fixture
def run_id(lab, tmp_path):
    """A run imported from an unchanged export; deleted afterwards."""
    run_id = imported(lab, tmp_path, zipped(members()))
    yield run_id
    lab.training.delete(HOST, run_id)


def imported(lab, folder, content):
    file = folder / "x.zip"
    file.write_bytes(content)
    return lab.transfers.import_run(HOST, file)


def sentence(error):
    """Assert that the message is one short line that can be encoded."""
    text = str(error)
    text.encode()
    assert text
    assert "\n" not in text
    assert len(text) <= LONGEST_MESSAGE


def is_tidy(lab):
    return {path.name for path in (lab.data_dir / "runs").iterdir()} == lab.store.ids()


def use(lab, run_id, to, exports):
    """Call everything that the list of runs offers for a run, and delete it at the end."""
    for value in (
        lab.runs.summaries(HOST),
        lab.runs.details(HOST, run_id),
        lab.training.status(HOST, run_id),
        lab.runs.result(HOST, run_id),
    ):
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    assert lab.runs.config(HOST, run_id).to_dict() == lab.store.get(run_id).config
    lab.runs.rename(HOST, run_id, "another")
    lab.runs.annotate(HOST, run_id, "a, b", "noted")
    if exports:
        assert zipfile.is_zipfile(lab.transfers.export(HOST, run_id, to))
    lab.training.delete(HOST, run_id)


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


# Faults that random mutations may miss, with the message that refuses each.


def changed(**fields):
    """A good zip with some of its files replaced."""
    return zipped(members(**fields))


BROKEN = {
    "packed with lzma": (zipped(members(), zipfile.ZIP_LZMA), "packed with method 14"),
    "packed with bzip2": (zipped(members(), zipfile.ZIP_BZIP2), "packed with method 12"),
    "a measurement twice": (changed(metrics=[METRICS[0], METRICS[0]]), r"not what a lab exports \(line 2\)"),
    "a step below 0": (changed(metrics=[{**METRICS[0], "step": -1}]), "not what a lab exports"),
    "a time without a date": (changed(metrics=[{**METRICS[0], "time": 1e17}]), "not what a lab exports"),
    "a long line": (changed(metrics=[{**METRICS[0], "x": "y" * 10_000}]), "not what a lab exports"),
    "half a character around a message": (changed(provenance={"chat_before": "\ud800"}), "chat_before holds half"),
    "half a character in another fact": (changed(provenance={"device": "\udfff"}), "device holds half a character"),
    "a fact too long": (changed(provenance={"chat_after": "x" * 100_001}), "chat_after has 100,001 .* 100,000"),
    "another fact too long": (changed(provenance={"weights_source": "x" * 201}), "has 201 .* at most 200"),
    "a template too long": (
        changed(run={**RUN, "template": {**RUN["template"], "with_input": "x" * 100_001}}),
        "template.with_input has 100,001 characters, and at most 100,000",
    ),
    "half a character in a template": (
        changed(run={**RUN, "template": {**RUN["template"], "name": "\ud800"}}),
        "template.name holds half a character",
    ),
    "a model too long": (changed(run={**RUN, "model": "x" * 1001}), "model has 1,001 characters, and at most 1,000"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_broken_is_named(lab, tmp_path, fault):
    content, words = BROKEN[fault]
    with pytest.raises(LabError, match=words) as caught:
        imported(lab, tmp_path, content)
    sentence(caught.value)
    assert is_tidy(lab)


def test_measurements_have_a_most(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(import_run, "MAX_METRICS", 3)
    lab.training.delete(HOST, imported(lab, tmp_path, changed(metrics=METRICS[:3])))
    with pytest.raises(DataError, match=r"metrics.jsonl in the zip holds more than 3 measurements: leave it out"):
        imported(lab, tmp_path, changed())


@pytest.mark.parametrize("fact", ["adapter_norm", "train_rows", "weights_sha256", "packing"])
@pytest.mark.parametrize("value", ["a text", 1.5, True, float("nan"), 10**400, None, [], {}])
def test_a_fact_of_another_type_is_left_out(lab, tmp_path, fact, value):
    is_text, is_number = isinstance(value, str), value == 1.5
    run_id = imported(lab, tmp_path, changed(provenance={fact: value}))
    kept = is_number if fact in import_run.NUMBER_KEYS else is_text
    assert lab.runs.details(HOST, run_id)["facts"] == ({fact: value} if kept else {}) | {"imported": True}
    use(lab, run_id, tmp_path / "out.zip", exports=kept)


@pytest.mark.parametrize("name", ["gone.zip", "", "\udcff.zip", "x" * 300])
def test_a_file_that_cannot_be_opened_is_a_sentence(lab, tmp_path, name):
    with pytest.raises(DataError, match="cannot be unpacked") as caught:
        lab.transfers.import_run(HOST, tmp_path / name)
    sentence(caught.value)
    assert is_tidy(lab)


def test_a_run_called_after_a_file_whose_name_is_no_text(lab, tmp_path):
    file = tmp_path / "\udcff.zip"
    file.write_bytes(zipped(members()))
    run_id = lab.transfers.import_run(HOST, file)
    assert lab.runs.details(HOST, run_id)["name"] == "Imported: a file"
    lab.training.delete(HOST, run_id)


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "import", "gone.zip"],
        ["runs", "import", "gone.zip", "--name", "\udcff"],
        ["runs", "show", "\udcff"],
        ["data", "--set", "\udcff=1"],
        ["data", "--set", "data.split=\udcff"],
        ["data", "--set", "x" * 100_000],
        ["data", "--set", "model.name=1", "--set", "model=\udcff"],
        ["data", "--set", "." * 10_000 + "=1"],
        ["data", "--dataset", "\udcff.json"],
        ["data", "--model", "\udcff"],
        ["mask", "--instruction", "\udcff", "--output", "x", "--preset", "smoke"],
        ["train", "--preset", "smoke", "--name", "x" * 201],
    ],
    ids=lambda arguments: " ".join(arguments)[:40].encode("ascii", "replace").decode(),
)
def test_the_command_line_answers_in_a_line(tmp_path, capsys, arguments):
    assert main([*arguments, "--json", "--data-dir", str(tmp_path / "lab")]) == 1
    out, err = capsys.readouterr()
    message = json.loads(out)["error"]
    assert len(message.encode()) <= LONGEST_MESSAGE
    assert f"{arguments[0]}: {message}\n" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["\udcff.json", "\u202e.csv", "x" * 240 + ".json", "a\nb.json"])
def test_an_upload_may_be_called_anything(lab, tmp_path, name):
    file = tmp_path / name
    file.write_text(json.dumps([{"instruction": f"Say {n}", "input": "", "output": str(n)} for n in range(10)]))
    kept = lab.uploads.keep(HOST, file)
    assert len(lab.uploads.display_name(str(kept)).encode()) <= 320
    if name.endswith(".json"):
        assert lab.datasets.summary(HOST, smoke(data={"source": str(kept)}))["rows_loaded"] == 10
    for other in (".\udcff", "." + "x" * 200, ".a\nb"):
        file = tmp_path / f"rows{other}"
        file.write_text("[]")
        with pytest.raises(DataError, match="file cannot be read") as caught:
            lab.uploads.keep(HOST, file)
        sentence(caught.value)


def test_weights_of_very_many_modules_are_refused_by_their_names_alone(lab, tmp_path):
    matrix = np.zeros((2, 1), np.float32)
    weights = save({f"base_model.model.m{number}.lora_A.weight": matrix for number in range(20_001)})
    with pytest.raises(DataError, match="adapts more than 10,000 modules"):
        imported(lab, tmp_path, changed(weights=weights))


def test_the_history_is_read_while_a_run_is_put_into_words(lab, run_id, monkeypatch):
    written, looked = threading.Event(), threading.Event()
    write = snapshot.write

    def slowly(*args):
        written.set()
        assert looked.wait(PATIENCE)
        write(*args)

    monkeypatch.setattr(snapshot, "write", slowly)
    renaming = threading.Thread(target=lab.runs.rename, args=(HOST, run_id, "slowly"))
    renaming.start()
    assert written.wait(PATIENCE)
    listing = threading.Thread(target=lambda: looked.set() if lab.runs.summaries(HOST) else None)
    listing.start()
    renaming.join(PATIENCE)
    assert looked.is_set()


def test_a_full_disk_is_no_fault_of_the_zip(lab, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(import_run, "_unpack", full)
    with pytest.raises(LabError, match=r"disk .* is full"):
        imported(lab, tmp_path, zipped(members()))
    assert is_tidy(lab)


# Names, tags, notes, questions

HALF = [text for text in TEXTS if any("\ud800" <= character <= "\udfff" for character in text)]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_a_name_a_tag_and_a_note_or_refused(lab, run_id, tmp_path, text):
    before = lab.runs.details(HOST, run_id)
    for write in (lambda: lab.runs.rename(HOST, run_id, text), lambda: lab.runs.annotate(HOST, run_id, [text], text)):
        if text in HALF or len(text) > LONGEST_NOTES:
            with pytest.raises(DataError):
                write()
        elif len(text) <= LONGEST_TAG:
            write()
    details = lab.runs.details(HOST, run_id)
    json.dumps(lab.runs.summaries(HOST), ensure_ascii=False).encode()
    if text in HALF:
        assert details == before
    assert zipfile.is_zipfile(lab.transfers.export(HOST, run_id, tmp_path / "out.zip"))


@pytest.mark.parametrize("text", HALF)
def test_half_a_character_is_named_wherever_it_is_written(lab, run_id, text):
    file = lab.data_dir / "x.zip"
    file.write_bytes(zipped(members()))
    ways = {
        "name": [lambda: lab.runs.rename(HOST, run_id, text), lambda: lab.training.start(HOST, smoke(), text),
                 lambda: lab.transfers.import_run(HOST, file, text)],
        "tag": [lambda: lab.runs.annotate(HOST, run_id, text, ""),
                lambda: lab.runs.annotate(HOST, run_id, ["a", text], "")],
        "notes": [lambda: lab.runs.annotate(HOST, run_id, "", text)],
        "instruction": [lambda: list(lab.inference.compare(HOST, run_id, text)),
                        lambda: lab.inference.generate(HOST, run_id, [{"instruction": text}])],
        "output": [lambda: lab.datasets.mask(HOST, smoke(), "a", "", text)],
    }  # fmt: skip
    for name, calls in ways.items():
        for call in calls:
            with pytest.raises(DataError, match=f"{name} holds half a character"):
                call()
    assert is_tidy(lab)


def test_a_text_that_no_border_refused_is_still_one_sentence(lab, run_id):
    with pytest.raises(DataError, match="half a character"):
        lab.store.add_event(run_id, "\ud800")
    with pytest.raises(DataError, match="half a character"):
        lab.store.update(run_id, message="\ud800")
    assert "\ud800" not in json.dumps(lab.runs.details(HOST, run_id), ensure_ascii=False)


@pytest.mark.parametrize("value", [*TEXTS, *(value for value in VALUES if not isinstance(value, str))])
def test_what_is_no_id_is_no_run(lab, value):
    assert not lab.runs.is_visible(HOST, value)
    assert not lab.store.has(value)
    for look in (
        lab.runs.details,
        lab.training.status,
        lab.training.delete,
        lab.training.resume,
        lab.runs.restore,
        lab.transfers.export_merged,
        lab.transfers.export_gguf,
    ):
        with pytest.raises(NotFoundError) as caught:
            look(HOST, value, lab.data_dir) if "export" in look.__name__ else look(HOST, value)
        sentence(caught.value)


def test_a_question_has_a_longest(lab, run_id):
    for way in (
        lambda text: list(lab.inference.compare(HOST, run_id, text)),
        lambda text: lab.datasets.page(HOST, smoke(), search=text),
    ):
        with pytest.raises(DataError, match="has 1,000,001 characters, and at most 1,000,000 are allowed"):
            way("x" * 1_000_001)


@pytest.mark.parametrize("token", ["\ud800", "\0", "x" * 10_000])
def test_no_token_of_a_host_is_an_error(token):
    assert not Access("the host's token").admit("page", token)


# Configurations


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"x" * 100_000: 1}, r'"xxx.{1,60}\.\.\. is not a setting'),
        ({"\ud800": 1}, r'"\\ud800" is not a setting'),
        ({"train": {"a\nb": 1}}, r'train."a\\nb" is not a setting'),
        ({str(number): 1 for number in range(5000)}, r"and 4,980 more problems"),
        ({"train": {"seed": 10**5000}}, "train.seed must be between"),
        ({"template": {"name": "x" * 201}}, "template.name has 201"),
        ({"template": "x" * 201}, "template has 201 characters, and at most 200"),
        ({"data": {"split": "x" * 201}}, "data.split has 201 characters, and at most 200"),
        ({"data": {"split": "\ud800"}}, "data.split holds half a character"),
        ({"data": {"source": "x" * 1001}}, "data.source has 1,001 characters, and at most 1,000"),
        ({"data": {"columns": {"output": "x" * 501}}}, "data.columns.output has 501 characters, and at most 500"),
        ({"data": {"columns": {"system": "\ud800"}}}, "data.columns.system holds half a character"),
        ({"data": {"columns": {"ignore": ["a"] * 1001}}}, "data.columns.ignore holds 1,001 texts, and at most 1,000"),
        ({"data": {"columns": {"ignore": ["a", "\ud800"]}}}, r"data.columns.ignore\[1\] holds half a character"),
        ({"data": {"filters": [{"step": "drop_empty"}] * 101}}, "data.filters holds 101 steps, and at most 100"),
        (
            {"data": {"filters": [{"step": "length", "unit": "tokens", "min": 1, "tokenizer": "x" * 1001}]}},
            r"data.filters\[0\].tokenizer has 1,001 characters, and at most 1,000",
        ),
        (
            {"data": {"filters": [{"step": "keep_rows", "rows": ["a"] * 10_001}]}},
            r"data.filters\[0\].rows holds 10,001 texts, and at most 10,000",
        ),
        (
            {"data": {"filters": [{"step": "keep_rows", "rows": ["a", "b" * 101]}]}},
            r"data.filters\[0\].rows\[1\] has 101 characters, and at most 100",
        ),
        ({"lora": {"target_modules": ["a"] * 10_001}}, "lora.target_modules holds 10,001 texts, and at most 10,000"),
        ({"lora": {"target_modules": ["a" * 201]}}, r"lora.target_modules\[0\] has 201 characters, and at most 200"),
        ({"lora": {"target_modules": "a\ud800"}}, "lora.target_modules holds half a character"),
        (
            {"data": {"filters": [{"step": "keep_rows", "rows": ["x" * 100] * 5001}] * 2}},
            r"the configuration holds 1,000,\d\d\d characters of text, and at most 1,000,000",
        ),
    ],
)
def test_a_setting_beyond_its_bound_is_named_with_its_size(lab, given, words):
    for way in (
        lambda: lab.configs.read(HOST, given),
        lambda: lab.training.start(HOST, given),
        lambda: lab.datasets.preview(HOST, given),
    ):
        with pytest.raises(SettingsError, match=words) as caught:
            way()
        assert len(str(caught.value)) < 5000
    assert is_tidy(lab)


def test_long_configurations_of_honest_use_stay_valid(lab):
    by_hand = [
        {"step": step, "rows": [f"{number:016x}" for number in range(10_000)]} for step in ("keep_rows", "drop_rows")
    ]
    config = lab.configs.read(
        HOST,
        {
            "data": {"source": "/" + "folder/" * 100 + "rows.json", "filters": by_hand},
            "template": {"without_input": "x" * 50_000 + "{instruction}", "with_input": "{instruction}{input}"},
            "lora": {"target_modules": [f"model.layers.{number}.self_attn.q_proj" for number in range(8000)]},
        },
    )
    assert lab.configs.read(HOST, config.to_dict()) == config


def test_the_good_export_is_accepted(lab, tmp_path):
    run_id = imported(lab, tmp_path, changed())
    details = lab.runs.details(HOST, run_id)
    assert details["facts"] == {**PROVENANCE, "imported": True}
    assert [metric["loss"] for metric in details["metrics"] if metric["kind"] == "train"] == [TRAIN["loss"]] * 2
    assert details["config"]["template"] == RUN["template"]
    assert details["config"]["lora"]["r"] == CONFIG["r"]
    assert (lab.data_dir / "runs" / run_id / "adapter" / "adapter_model.safetensors").read_bytes() == WEIGHTS
    use(lab, run_id, tmp_path / "out.zip", exports=True)
