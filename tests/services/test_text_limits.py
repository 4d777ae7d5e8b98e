"""Limits of texts and settings: what is too long or holds half a character is refused by name."""

import json
import zipfile

import pytest
from imported_runs import LONGEST_MESSAGE, imported_run, is_tidy, sentence
from labs import opened, smoke
from mutations import TEXTS, VALUES, members, zipped

from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, NotFoundError, SettingsError
from instruct_tune.runs.annotations import LONGEST_NOTES, LONGEST_TAG
from instruct_tune.services.access import Access

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("imports") / "data", local_paths=True) as lab:
        yield lab


@pytest.fixture
def run_id(lab, tmp_path):
    with imported_run(lab, tmp_path) as run_id:
        yield run_id


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
