"""Loading, the lesson's recipe, and one clear sentence for everything a person can get wrong."""

import csv
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.utils import httpx

from instruct_tune import hub, sources
from instruct_tune.dataset import Example, LedgerEntry, examples, load_splits, take_evaluation_rows, take_probe_rows
from instruct_tune.errors import DataError, HubError, LabError
from instruct_tune.settings import Columns, DataSettings
from instruct_tune.steps import Filter

CODE_ALPACA = Path(__file__).parents[2] / "shared" / "data" / "code_alpaca_2k.json"
needs_code_alpaca = pytest.mark.skipif(
    not CODE_ALPACA.exists(), reason=f"{CODE_ALPACA} is not here: its licence (CC BY-NC) keeps it out of the project"
)
COLUMNS = ["instruction", "input", "output"]

# Texts that a careless reader changes: numbers, nulls, dates, quotes, new lines, separators, blanks.
AWKWARD = ["007", "1.50", "NA", "null", "nan", "true", "2024-01-31", 'say "hi", twice', "two\nlines", "a\r\nb", "",
           "  padded ", "naïve ☃ 😀", "\u2028", "[1]", "{}", "\\n", "\ttab"]  # fmt: skip


def make_rows(count, with_input=0):
    """Rows that differ, the first ``with_input`` of which have an input."""
    return [
        {"instruction": f"Do {n}", "input": f"on {n}" if n < with_input else "", "output": f"Done {n}"}
        for n in range(count)
    ]


def write_json(path, rows):
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


WRITERS = {".json": write_json, ".jsonl": write_jsonl, ".csv": write_csv, ".parquet": write_parquet}


def write(path, rows):
    WRITERS[path.suffix](path, rows)
    return path


def settings(source, *filters, **changes):
    return DataSettings(
        **{"source": str(source), "filters": tuple(Filter(step) for step in filters), "limit": None, **changes}
    )


LEAKS = ("Traceback", "Arrow", "Error:", "Exception", "object at 0x")


def said_of(given, kind=DataError, leaks=LEAKS):
    """The message that loading raises, having checked that it is one clean sentence."""
    with pytest.raises(LabError) as caught:
        load_splits(given)
    message = str(caught.value)
    assert isinstance(caught.value, kind)
    assert message.endswith(".") or kind is HubError
    assert "\n" not in message
    assert not any(word in message for word in leaks)
    return message


def everything(splits):
    return examples(splits.train), examples(splits.test)


# The recipe


def notebook(path, cache, steps=(lambda row: row["input"] == "",), seed=42):
    """The lesson's own lines."""
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
    for step in steps:
        rows = rows.filter(step)
    return rows.shuffle(seed=seed).train_test_split(test_size=0.2, seed=seed)


@needs_code_alpaca
def test_the_recipe_gives_the_rows_of_the_notebook(tmp_path):
    ours = load_splits(settings(CODE_ALPACA, "without_input"))
    theirs = notebook(CODE_ALPACA, tmp_path)

    assert ours.rows_loaded == 2017
    assert ours.ledger == (LedgerEntry("without_input", 1011, 1006),)
    assert (len(ours.train), len(ours.test)) == (808, 203)
    assert ours.train_rows_before_limit == 808
    assert everything(ours) == (examples(theirs["train"]), examples(theirs["test"]))


def test_filters_seed_and_test_size_are_those_of_the_notebook(tmp_path):
    rows = [*make_rows(40, with_input=25), {"instruction": "Blank", "input": "x", "output": " \n"}]
    path = write(tmp_path / "rows.json", rows)
    theirs = notebook(
        path, tmp_path / "cache", [lambda row: row["input"] != "", lambda row: row["output"].strip() != ""], seed=7
    )
    ours = load_splits(settings(path, "with_input", "drop_empty", seed=7))

    assert ours.ledger == (LedgerEntry("with_input", 26, 15), LedgerEntry("drop_empty", 25, 1))
    assert everything(ours) == (examples(theirs["train"]), examples(theirs["test"]))
    assert len(load_splits(settings(path, test_size=0.5)).test) == 21


def test_another_order_would_give_other_rows(tmp_path):
    # What makes the two tests above worth something: shuffling before the filter is noticed.
    path = write(tmp_path / "rows.json", make_rows(40, with_input=20))
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    other = rows.shuffle(seed=42).filter(lambda row: row["input"] == "").train_test_split(test_size=0.2, seed=42)
    assert examples(load_splits(settings(path, "without_input")).test) != examples(other["test"])


def test_near_copies_of_held_out_rows_are_left_out_of_training_and_those_stay(tmp_path):
    rows = [{"instruction": f"Tell me {sha256(bytes([n])).hexdigest()[:24]}", "output": str(n)} for n in range(40)]
    rows += [{**row, "instruction": row["instruction"].upper() + "!"} for row in rows[:20]] + rows[20:30]
    path = write(tmp_path / "rows.json", rows)
    before, after = load_splits(settings(path)), load_splits(settings(path, "drop_leakage"))
    (entry,) = after.ledger
    assert examples(after.test) == examples(before.test)
    assert entry.dropped == len(before.train) - len(after.train) > 0
    assert entry.kept == len(after.train) + len(after.test)
    kept = set(examples(after.train))
    assert [row for row in examples(before.train) if row in kept] == examples(after.train)
    told = {"".join(c for c in row.question.lower() if c.isalnum()) for row in examples(after.test)}
    assert not {"".join(c for c in row.question.lower() if c.isalnum()) for row in kept} & told
    assert load_splits(settings(path, "drop_leakage")).fingerprint == after.fingerprint != before.fingerprint
    # Where it stands among the filters makes no difference, and the limit comes after it.
    limited = load_splits(settings(path, "drop_leakage", "drop_empty", limit=5))
    assert limited.train_rows_before_limit == len(after.train)


def test_a_dataset_that_is_all_copies_is_refused(tmp_path):
    rows = [{"instruction": "Say it again", "output": str(n)} for n in range(20)]
    message = said_of(settings(write(tmp_path / "rows.json", rows), "drop_leakage"))
    assert "Every training row" in message
    assert "remove drop_leakage from data.filters" in message


def test_the_ledger_adds_up(tmp_path):
    rows = [*make_rows(30, with_input=10), {"instruction": " ", "input": "", "output": "x"}]
    splits = load_splits(
        settings(write(tmp_path / "rows.json", rows), "drop_empty", "without_input", "drop_leakage", limit=5)
    )

    before = splits.rows_loaded
    for entry in splits.ledger:
        assert entry.kept + entry.dropped == before
        before = entry.kept
    assert [entry.dropped for entry in splits.ledger] == [1, 10, 0]
    assert splits.train_rows_before_limit + len(splits.test) == before


def test_without_filters_nothing_is_dropped(tmp_path):
    splits = load_splits(settings(write(tmp_path / "rows.json", make_rows(10, with_input=5))))
    assert splits.ledger == ()
    assert len(splits.train) + len(splits.test) == splits.rows_loaded == 10


def test_a_blank_input_is_an_input(tmp_path):
    # The lesson compares with the empty string and strips nothing.
    rows = [*make_rows(10), {"instruction": "i", "input": " ", "output": "o"}]
    splits = load_splits(settings(write(tmp_path / "rows.json", rows), "without_input"))
    assert splits.ledger == (LedgerEntry("without_input", 10, 1),)


def test_the_limit_caps_training_rows_only(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(50))
    whole = load_splits(settings(path))
    capped = load_splits(settings(path, limit=7))

    assert examples(capped.train) == examples(whole.train)[:7]
    assert examples(capped.test) == examples(whole.test)
    assert capped.train_rows_before_limit == whole.train_rows_before_limit == 40
    assert len(load_splits(settings(path, limit=1000)).train) == 40


def test_the_splits_have_the_three_text_columns_and_no_other(tmp_path):
    rows = [{"id": n, "output": "o", "instruction": "i", "input": "", "text": "t"} for n in range(10)]
    splits = load_splits(settings(write(tmp_path / "rows.jsonl", rows)))
    for part in (splits.train, splits.test):
        assert part.features == {name: datasets.Value("string") for name in COLUMNS}
        assert part.column_names == COLUMNS


def test_duplicate_rows_are_kept(tmp_path):
    splits = load_splits(settings(write(tmp_path / "rows.json", make_rows(1) * 10)))
    assert (len(splits.train), len(splits.test)) == (8, 2)


def test_source_and_licence_are_told(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.jsonl", make_rows(10))
    own = load_splits(settings(path))
    assert (own.source, own.licence) == (str(path), "unknown")

    monkeypatch.setattr(sources, "BUNDLED_FILE", path)
    bundled = load_splits(settings("bundled"))
    assert (bundled.source, bundled.licence) == ("bundled", "CC0-1.0")
    assert everything(bundled) == everything(own)


# The fingerprint


def test_the_fingerprint_is_the_same_in_another_process(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(10))
    code = (
        "import sys; from instruct_tune.dataset import load_splits; from instruct_tune.settings import DataSettings;"
        "print(load_splits(DataSettings(source=sys.argv[1])).fingerprint)"
    )
    root = Path(__file__).parents[1]
    other = subprocess.run([sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, check=True)
    fingerprint = load_splits(DataSettings(source=str(path))).fingerprint
    assert other.stdout.strip() == fingerprint
    assert len(fingerprint) == 16
    assert int(fingerprint, 16) >= 0


def test_the_fingerprint_follows_the_rows_and_nothing_else(tmp_path):
    rows = make_rows(10)
    first = load_splits(settings(write(tmp_path / "first.json", rows))).fingerprint
    assert load_splits(settings(write(tmp_path / "renamed.csv", rows))).fingerprint == first

    changed = [*rows[:9], {**rows[9], "output": "Done otherwise"}]
    prints = {
        first,
        load_splits(settings(write(tmp_path / "first.json", changed))).fingerprint,
        load_splits(settings(write(tmp_path / "first.json", rows), seed=1)).fingerprint,
        load_splits(settings(write(tmp_path / "first.json", rows), limit=3)).fingerprint,
        load_splits(settings(write(tmp_path / "first.json", rows), test_size=0.3)).fingerprint,
    }
    assert len(prints) == 5


def test_text_that_moves_to_the_next_column_changes_the_fingerprint(tmp_path):
    one = [{"instruction": "ab", "input": "c", "output": "d"}] * 5
    two = [{"instruction": "a", "input": "bc", "output": "d"}] * 5
    prints = [load_splits(settings(write(tmp_path / "rows.json", rows))).fingerprint for rows in (one, two)]
    assert prints[0] != prints[1]


def test_a_row_that_moves_from_training_to_held_out_changes_the_fingerprint(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(1) * 10)
    prints = [load_splits(settings(path, test_size=test_size)).fingerprint for test_size in (0.2, 0.3)]
    assert prints[0] != prints[1]


# Slices


def test_examples_of_a_part(tmp_path):
    test = load_splits(settings(write(tmp_path / "rows.json", make_rows(50)))).test
    whole = examples(test)
    assert len(whole) == 10
    assert isinstance(whole[0], Example)
    assert whole[0].output == whole[0].instruction.replace("Do ", "Done ")
    assert examples(test, start=3, count=4) == whole[3:7]
    assert examples(test, start=8, count=5) == whole[8:]
    assert examples(test, start=20, count=5) == examples(test, count=0) == []


@pytest.mark.parametrize(
    ("evaluation_rows", "probe_rows", "evaluated", "probed"),
    [(4, 3, 4, 3), (4, 100, 4, 6), (10, 3, 10, 0), (100, 3, 10, 0), (4, 0, 4, 0), (None, 3, 10, 0)],
)
def test_probe_rows_never_overlap_evaluation_rows(tmp_path, evaluation_rows, probe_rows, evaluated, probed):
    test = load_splits(settings(write(tmp_path / "rows.json", make_rows(50)))).test
    evaluation = examples(take_evaluation_rows(test, evaluation_rows))
    probe = examples(take_probe_rows(test, evaluation_rows, probe_rows))
    assert (len(evaluation), len(probe)) == (evaluated, probed)
    assert evaluation + probe == examples(test)[: evaluated + probed]
    assert not set(evaluation) & set(probe)


# Columns


def test_columns_are_mapped_and_rows_keep_their_order(tmp_path):
    rows = make_rows(20, with_input=8)
    renamed = [{"answer": r["output"], "context": r["input"], "question": r["instruction"]} for r in rows]
    plain = load_splits(settings(write(tmp_path / "plain.json", rows), "without_input"))
    mapped = load_splits(
        settings(
            write(tmp_path / "renamed.csv", renamed), "without_input", columns=Columns("question", "context", "answer")
        )
    )
    assert everything(mapped) == everything(plain)


@pytest.mark.parametrize("column", [None, "input"])
def test_a_dataset_without_inputs_has_empty_ones(tmp_path, column):
    rows = [{"instruction": row["instruction"], "output": row["output"]} for row in make_rows(10)]
    path = write(tmp_path / "rows.json", rows)
    splits = load_splits(settings(path, "without_input", columns=Columns(input=column)))
    assert splits.ledger == (LedgerEntry("without_input", 10, 0),)


def test_inputs_are_left_out_where_the_settings_say_so(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(10, with_input=10))
    splits = load_splits(settings(path, columns=Columns(input=None)))
    assert {example.input for part in everything(splits) for example in part} == {""}


def test_a_null_or_missing_input_is_an_empty_one(tmp_path):
    rows = make_rows(10, with_input=3)
    rows[5]["input"] = None
    del rows[6]["input"]
    splits = load_splits(settings(write(tmp_path / "rows.jsonl", rows), "without_input"))
    assert splits.ledger == (LedgerEntry("without_input", 7, 3),)


def test_an_input_column_asked_for_by_name_must_be_there(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(10))
    message = said_of(settings(path, columns=Columns(input="contxt")))
    assert message.startswith("rows.json has no column 'contxt', it has 'instruction', 'input', 'output'")
    assert "data.columns.input" in message


# Files


@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_gives_the_same_texts(tmp_path, ending):
    rows = [{"instruction": f"{n} {text}", "input": text, "output": text} for n, text in enumerate(AWKWARD)]
    # The numbers in front keep "instruction" distinct; in the other two a reader may see only odd values.
    splits = load_splits(settings(write(tmp_path / f"rows{ending}", rows)))
    loaded = [example for part in everything(splits) for example in part]
    assert {(e.instruction, e.input, e.output) for e in loaded} == {tuple(row.values()) for row in rows}
    assert everything(splits) == everything(load_splits(settings(write(tmp_path / "same.json", rows))))


@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_gives_the_rows_of_load_dataset(tmp_path, ending):
    rows = make_rows(30, with_input=30)
    path = write(tmp_path / f"rows{ending}", rows)
    builder = {".jsonl": "json"}.get(ending, ending[1:])
    loaded = datasets.load_dataset(builder, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    theirs = loaded.shuffle(seed=42).train_test_split(test_size=0.2, seed=42)
    assert everything(load_splits(settings(path))) == (examples(theirs["train"]), examples(theirs["test"]))


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("texts", [["1", "2"], ["NA", "null"], ["2024-01-31", "2024-02-29"], ["true", "false"]])
def test_a_column_that_looks_like_another_type_stays_text(tmp_path, ending, texts):
    rows = [{"instruction": text, "input": text, "output": text} for text in texts * 5]
    splits = load_splits(settings(write(tmp_path / f"rows{ending}", rows)))
    assert {e.output for part in everything(splits) for e in part} == set(texts)
    assert {e.input for part in everything(splits) for e in part} == set(texts)


def test_csv_cells_may_hold_quotes_commas_and_new_lines(tmp_path):
    cells = '"Say ""hi"", then\nstop","a,b","x\r\ny"\n'
    (tmp_path / "rows.csv").write_bytes(("instruction,input,output\n" + cells * 5).encode())
    splits = load_splits(settings(tmp_path / "rows.csv"))
    assert set(examples(splits.train)) == {Example('Say "hi", then\nstop', "a,b", "x\r\ny")}


def test_a_csv_cell_may_be_long(tmp_path):
    rows = [{**row, "output": "x" * 200_000} for row in make_rows(5)]
    splits = load_splits(settings(write(tmp_path / "rows.csv", rows)))
    assert len(splits.train[0]["output"]) == 200_000


def test_json_lines_may_end_in_json_and_a_list_in_jsonl(tmp_path):
    rows = make_rows(10)
    write_jsonl(tmp_path / "lines.json", rows)
    write_json(tmp_path / "list.jsonl", rows)
    assert everything(load_splits(settings(tmp_path / "lines.json"))) == everything(
        load_splits(settings(tmp_path / "list.jsonl"))
    )


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".csv"])
def test_a_byte_order_mark_windows_lines_and_capitals_do_no_harm(tmp_path, ending):
    plain = write(tmp_path / f"rows{ending}", make_rows(10))
    content = plain.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n\r\n")
    (tmp_path / f"WINDOWS{ending.upper()}").write_bytes(b"\xef\xbb\xbf" + content)
    assert everything(load_splits(settings(tmp_path / f"WINDOWS{ending.upper()}"))) == everything(
        load_splits(settings(plain))
    )


def test_a_home_directory_is_found(tmp_path, monkeypatch):
    write(tmp_path / "rows.json", make_rows(10))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_splits(settings("~/rows.json")).rows_loaded == 10


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path):
    (tmp_path / "output=no").mkdir()
    path = write(tmp_path / "output=no" / "rows.parquet", make_rows(5))
    assert examples(load_splits(settings(path)).train)[0].output.startswith("Done")


@pytest.mark.parametrize("ending", WRITERS)
def test_a_changed_file_never_gives_stale_rows(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    seen = []
    for word in ("old", "new"):
        write(path, [{**row, "output": word} for row in make_rows(10)])
        seen.append({example.output for example in examples(load_splits(settings(path)).train)})
    assert seen == [{"old"}, {"new"}]


def test_loading_a_file_leaves_nothing_in_the_datasets_cache(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    load_splits(settings(write(tmp_path / "rows.json", make_rows(10)), "without_input"))
    assert not cache.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_threads_may_load_at_once(tmp_path):
    paths = [write(tmp_path / f"{n}.json", make_rows(20 + n, with_input=5)) for n in range(4)]
    alone = [load_splits(settings(path, "without_input")).fingerprint for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda path: load_splits(settings(path, "without_input")).fingerprint, paths * 4))
    assert together == alone * 4


def test_nothing_is_printed(tmp_path, capfd):
    load_splits(settings(write(tmp_path / "rows.json", make_rows(10)), "without_input"))
    assert capfd.readouterr() == ("", "")


# Bad input: what is wrong and what to do, in one sentence

ROW = '{"instruction": "i", "input": "", "output": "o"}'


def lines(*outputs):
    """JSON lines whose outputs are the given JSON values."""
    return "\n".join(f'{{"instruction": "i", "input": "", "output": {output}}}' for output in outputs)


BAD_FILES = {
    "empty": ("rows.json", "", ["rows.json is empty"]),
    "only blanks": ("rows.csv", " \n\n", ["rows.csv is empty"]),
    "only a byte order mark": ("rows.csv", "\ufeff\n", ["rows.csv is empty"]),
    "empty parquet": ("rows.parquet", "", ["rows.parquet is empty"]),
    "unknown ending": ("rows.xlsx", "x", ["rows.xlsx is not a kind of file", ".json, .jsonl, .csv, .parquet"]),
    "no ending": ("rows", "x", ["rows is not a kind of file"]),
    "not JSON": ("rows.json", "hello", ["rows.json is not valid JSON at line 1", "mend that line"]),
    "a bad line": ("rows.jsonl", f"{ROW}\n{ROW}\n{{oops\n", ["rows.jsonl is not valid JSON at line 3"]),
    "a bad line after a blank": ("rows.jsonl", f"{ROW}\n\n{{oops\n", ["at line 3"]),
    "a list cut short": ("rows.json", f"[{ROW},\n{ROW[:20]}", ["is not valid JSON at line 2", "cut short"]),
    "lines cut short": ("rows.jsonl", f"{ROW}\n{ROW[:20]}", ["is not valid JSON at line 2", "cut short"]),
    "too deep": ("rows.json", "[" * 100_000, ["lists too deep"]),
    "a number too long": ("rows.jsonl", lines("1" * 5000), ["number too long"]),
    "garbage": (
        "rows.json",
        bytes(range(255, 0, -1)),
        ["rows.json is not UTF-8 text", "byte 1 is", "save it as UTF-8"],
    ),
    "garbage CSV": ("rows.csv", bytes(range(255, 0, -1)), ["rows.csv is not UTF-8 text"]),
    "garbage parquet": ("rows.parquet", bytes(range(255)), ["rows.parquet is not a readable parquet file"]),
    "another encoding": ("rows.csv", "instruction,output\nnaïve,x\n".encode("latin-1"), ["UTF-8", "byte 22"]),
    "UTF-16": ("rows.json", ROW.encode("utf-16"), ["rows.json is not UTF-8 text"]),
    "broken UTF-8": ("rows.jsonl", lines('"ok"').encode() + b'\n{"instruction": "\xc3"}', ["is not UTF-8 text"]),
    "one object": ("rows.json", '{"data": [1]}', ["holds one JSON object, not rows", "make it a list of objects"]),
    "one object, printed": ("rows.json", json.dumps({"data": [{}]}, indent=2), ["holds one JSON object, not rows"]),
    "one row": ("rows.jsonl", ROW, ["holds one JSON object, not rows"]),
    "a list of texts": ("rows.json", '["a", "b"]', ["holds a text where an object", "2 rows, the first is row 1"]),
    "one number among rows": ("rows.json", f"[{ROW}, 3, {ROW}]", ["holds a number", "1 row, the first is row 2"]),
    "a list of lists": ("rows.json", "[[1], [2]]", ["holds a list where an object"]),
    "lines of numbers": ("rows.jsonl", "1\n2\n", ["holds a number where an object"]),
    "a JSON null": ("rows.jsonl", "null", ["holds null where an object"]),
    "no rows in JSON": ("rows.json", "[]", ["rows.json has no rows"]),
    "no rows in CSV": ("rows.csv", "instruction,input,output\n", ["rows.csv has no rows"]),
    "other columns": (
        "rows.json",
        '[{"prompt": "p", "completion": "c"}]',
        ["no column 'instruction' and no column 'output'", "'prompt', 'completion'", "data.columns.output"],
    ),
    "one column missing": (
        "rows.csv",
        "instruction,answer\na,b\n",
        ["no column 'output', it has 'instruction', 'answer': set data.columns.output=answer."],
    ),
    "objects without columns": ("rows.json", "[{}, {}]", ["no column 'instruction'", "it has none"]),
    "many columns": ("rows.csv", ",".join("abcdefghij") + "\n" + ",".join("1234567890"), ["'h' and 2 more"]),
    "a null": (
        "rows.jsonl",
        lines('"o"', "null", '"o"', "null"),
        ["'output' of rows.jsonl is null", "2 rows", "row 2"],
    ),
    "a missing key": ("rows.json", f'[{ROW}, {{"instruction": "i"}}]', ["is null or missing in 1 row", "row 2"]),
    "only nulls": ("rows.jsonl", lines("null", "null"), ["is null or missing in 2 rows, the first is row 1"]),
    "numbers": ("rows.jsonl", lines("1", "2.5"), ["'output'", "holds a number instead of text in 2 rows", "row 1"]),
    "mixed types": ("rows.jsonl", lines('"o"', "5", '"o"'), ["holds a number instead of text in 1 row", "row 2"]),
    "not a number": ("rows.jsonl", lines('"o"', "NaN"), ["holds a number instead of text in 1 row"]),
    "booleans": ("rows.jsonl", lines("true", '"o"'), ["holds true or false instead of text"]),
    "lists": ("rows.jsonl", lines('["o"]', '"o"'), ["holds a list instead of text", "name another column"]),
    "objects": ("rows.jsonl", lines('"o"', '{"a": 1}'), ["holds an object instead of text", "row 2"]),
    "half a character": ("rows.jsonl", lines('"o"', r'"\ud83d"'), ["holds half a character", "1 row", "row 2"]),
    "a number as input": (
        "rows.json",
        '[{"instruction": "i", "input": null, "output": "o"}, {"instruction": "i", "input": 5, "output": "o"}]',
        ["Column 'input' of rows.json holds a number", "1 row, the first is row 2"],
    ),
    "too few cells": ("rows.csv", "instruction,input,output\na,,b\na,b\n", ["Row 2 of rows.csv has 2 cells", "has 3"]),
    "too many cells": ("rows.csv", "instruction,output\na,b\na,b,c\n", ["Row 2 of rows.csv has 3 cells", "quotes"]),
    "a quote left open": ("rows.csv", 'instruction,output\n"a,b\nc,d\n', ["not well-formed CSV", "quotes"]),
    "a column twice": ("rows.csv", "instruction,output,output\na,b,c\n", ["more than one column 'output'"]),
    "too few rows to split": ("rows.csv", "instruction,output\na,b\n", ["1 row to split", "data.test_size 0.2"]),
}


@pytest.mark.parametrize(("name", "content", "fragments"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_gets_one_clear_sentence(tmp_path, name, content, fragments):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    message = said_of(settings(tmp_path / name))
    for fragment in fragments:
        assert fragment in message
    assert ": " in message  # what is wrong, then what to do


@pytest.mark.parametrize("cut", [4, 0.5, 0.99])
def test_a_parquet_file_cut_short(tmp_path, cut):
    content = write(tmp_path / "whole.parquet", make_rows(500)).read_bytes()
    (tmp_path / "rows.parquet").write_bytes(content[: cut if cut > 1 else int(len(content) * cut)])
    assert "rows.parquet is not a readable parquet file" in said_of(settings(tmp_path / "rows.parquet"))


def test_a_parquet_file_with_damaged_pages(tmp_path):
    content = bytearray(write(tmp_path / "rows.parquet", make_rows(500)).read_bytes())
    content[10:200] = b"\xff" * 190
    (tmp_path / "rows.parquet").write_bytes(content)
    assert "rows.parquet is not a readable parquet file" in said_of(settings(tmp_path / "rows.parquet"))


@pytest.mark.parametrize(
    ("column", "fragment"),
    [
        (pyarrow.array([1, 2, 3]), "holds a number instead of text in 3 rows, the first is row 1"),
        (pyarrow.array(["a", None, None]), "is null or missing in 2 rows, the first is row 2"),
        (pyarrow.array([["a"], ["b"], []]), "holds a list instead of text"),
        (pyarrow.array([{"a": 1}] * 3), "holds an object instead of text"),
        (pyarrow.array([b"a", b"b", b"c"]), "holds raw bytes instead of text"),
        (pyarrow.array([0, 1, 2], pyarrow.timestamp("ns")), "holds a Timestamp instead of text"),
        (pyarrow.array([b"\xff"] * 3).view(pyarrow.string()), "cannot be read as text"),
        (pyarrow.array([2**40] * 3, pyarrow.timestamp("s")), "cannot be read as text"),
    ],
)
def test_a_parquet_column_that_is_no_text(tmp_path, column, fragment):
    table = pyarrow.table({"instruction": ["a", "b", "c"], "output": column})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    message = said_of(settings(tmp_path / "rows.parquet"))
    assert message.startswith("Column 'output' of rows.parquet ")
    assert fragment in message


def test_a_parquet_file_without_rows(tmp_path):
    table = pyarrow.table({name: pyarrow.array([], pyarrow.string()) for name in COLUMNS})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert "rows.parquet has no rows" in said_of(settings(tmp_path / "rows.parquet"))


@pytest.mark.parametrize("kind", [pyarrow.large_string(), pyarrow.string_view(), pyarrow.dictionary("int8", "string")])
def test_every_kind_of_parquet_text_is_text(tmp_path, kind):
    texts = pyarrow.array(["a", "b", "a", "b", "a"]).cast(kind)
    pyarrow.parquet.write_table(pyarrow.table({"instruction": texts, "output": texts}), tmp_path / "rows.parquet")
    assert load_splits(settings(tmp_path / "rows.parquet")).rows_loaded == 5


@pytest.mark.parametrize("source", ["/nowhere/rows.json", "owner/name", "bundeld", "x" * 5000 + ".json", "a\0b.json"])
def test_a_path_that_is_not_there(source):
    message = said_of(settings(source))
    assert message.startswith(f"There is no file {source}")
    assert "hub:OWNER/NAME" in message


def test_a_directory(tmp_path):
    (tmp_path / "folder.json").mkdir()
    assert "folder.json is a directory: give one file in it" in said_of(settings(tmp_path / "folder.json"))


def test_a_file_has_only_the_split_train(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(10))
    assert "rows.json has no split 'test'" in said_of(settings(path, split="test"))


def test_a_filter_that_leaves_nothing_is_named(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(12, with_input=12))
    message = said_of(settings(path, "drop_empty", "without_input"))
    assert "The filter without_input left none of the 12 rows of rows.json" in message


@pytest.mark.parametrize(("rows", "test_size"), [(1, 0.2), (2, 0.9), (10, 0.95)])
def test_a_split_without_training_rows(tmp_path, rows, test_size):
    path = write(tmp_path / "rows.csv", make_rows(rows))
    message = said_of(settings(path, test_size=test_size))
    assert f"data.test_size {test_size} leaves none to train on" in message


def test_two_rows_are_enough(tmp_path):
    splits = load_splits(settings(write(tmp_path / "rows.csv", make_rows(2))))
    assert (len(splits.train), len(splits.test)) == (1, 1)


# The Hub


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No Hub, and an empty datasets cache, whose folder is given."""
    monkeypatch.setattr(hub, "hub_reachable", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


class FakeHub:
    """What the Hub would answer: a dataset, its card, and who may have it."""

    def __init__(self):
        self.splits = {"train": datasets.Dataset.from_list(make_rows(20, with_input=5))}
        self.info = SimpleNamespace(gated=False, card_data=SimpleNamespace(license="mit"))
        self.asked = []

    def dataset_info(self, api, repo, timeout):
        self.asked.append(repo)
        if isinstance(self.info, Exception):
            raise self.info
        return self.info

    def load_dataset(self, repo):
        self.asked.append(repo)
        if isinstance(self.splits, Exception):
            raise self.splits
        return datasets.DatasetDict(self.splits)


@pytest.fixture
def online(monkeypatch):
    fake = FakeHub()
    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *a, **k: fake.dataset_info(*a, **k))
    monkeypatch.setattr(datasets, "load_dataset", fake.load_dataset)
    # What is downloaded, and how, is tested against a small Hub of our own.
    monkeypatch.setattr(
        datasets, "load_dataset_builder", lambda repo: SimpleNamespace(config=SimpleNamespace(data_files=None))
    )
    return fake


def refusal(kind, status):
    return kind("refused", response=httpx.Response(status, request=httpx.Request("GET", "https://hub.test")))


def test_a_hub_dataset_is_loaded_like_a_file(online, tmp_path):
    splits = load_splits(settings("hub:owner/name", "without_input"))
    path = write(tmp_path / "rows.json", make_rows(20, with_input=5))
    assert everything(splits) == everything(load_splits(settings(path, "without_input")))
    assert (splits.source, splits.licence, splits.rows_loaded) == ("hub:owner/name", "mit", 20)
    assert online.asked == ["owner/name", "owner/name"]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, "unknown"),
        (SimpleNamespace(license=None), "unknown"),
        (SimpleNamespace(license=["mit", "apache-2.0"]), "mit, apache-2.0"),
    ],
)
def test_the_licence_is_what_the_card_says(online, card, licence):
    online.info.card_data = card
    assert load_splits(settings("hub:owner/name")).licence == licence


def test_codealpaca_comes_from_its_repository_with_both_licences(online):
    splits = load_splits(settings("codealpaca-20k"))
    assert set(online.asked) == {"sahil2801/CodeAlpaca-20k"}
    assert splits.source == "codealpaca-20k"
    assert "CC BY 4.0" in splits.licence
    assert "CC BY-NC 4.0" in splits.licence


def test_another_split_and_a_split_that_is_not_there(online):
    online.splits["validation"] = datasets.Dataset.from_list(make_rows(10))
    assert load_splits(settings("hub:owner/name", split="validation")).rows_loaded == 10
    message = said_of(settings("hub:owner/name", split="test"))
    assert message == "owner/name has no split 'test': set data.split to one of 'train', 'validation'."


def test_hub_columns_are_checked_like_those_of_a_file(online):
    online.splits = {"train": datasets.Dataset.from_dict({"instruction": ["a", "b"], "output": [1, 2]})}
    assert "'output' of owner/name holds a number instead of text in 2 rows" in said_of(settings("hub:owner/name"))
    online.splits = {"train": datasets.Dataset.from_dict({"text": []})}
    assert "owner/name has no rows" in said_of(settings("hub:owner/name"))


@pytest.mark.parametrize("repo", ["", "name", "a/b/c", "../etc", "owner/", "owner/..", "own er/name", "https://x/y"])
def test_a_hub_id_is_owner_and_name(online, repo):
    assert said_of(settings(f"hub:{repo}")) == f"{repo!r} is not a Hub dataset: write hub:OWNER/NAME."
    assert online.asked == []


def test_a_repository_that_is_not_there(online):
    online.info = refusal(RepositoryNotFoundError, 404)
    assert "The Hub has no owner/name" in said_of(settings("hub:owner/name"), HubError)


def test_a_gated_repository(online, monkeypatch):
    def refuse(self, repo, repo_type):
        raise refusal(GatedRepoError, 403)

    online.info.gated = "auto"
    monkeypatch.setattr(huggingface_hub.HfApi, "auth_check", refuse)
    assert "owner/name is gated on the Hub: accept its terms" in said_of(settings("hub:owner/name"), HubError)


@pytest.mark.parametrize("when", ["info", "splits"])
@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no route to host"), ConnectionError("no route to host"), OSError("disk full")]
)
def test_a_hub_that_goes_away_on_the_way(online, when, error):
    setattr(online, when, error)
    message = said_of(settings("hub:owner/name"), HubError, leaks=("Traceback", "Arrow", "object at 0x"))
    assert "The Hub did not give owner/name" in message
    assert str(error) in message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Config name is missing.\nPlease pick one among the available configs: ['main', 'socratic']"),
        RuntimeError("Dataset scripts are no longer supported, but found name.py"),
        datasets.exceptions.DatasetGenerationError("An error occurred while generating the dataset"),
        datasets.exceptions.DataFilesNotFoundError("No (supported) data files found in owner/name"),
    ],
)
def test_a_hub_dataset_that_cannot_be_loaded_as_it_is(online, error):
    online.splits = error
    message = said_of(settings("hub:owner/name"))
    assert str(error).splitlines()[0] in message
    assert "download the file you want and give its path" in message


@pytest.mark.parametrize("source", ["codealpaca-20k", "hub:owner/name"])
def test_without_the_hub_one_is_told_at_once_what_to_do(offline, source):
    start = time.monotonic()
    message = said_of(settings(source), HubError)
    assert time.monotonic() - start < 5
    assert "The Hub cannot be reached" in message
    assert str(offline) in message
    assert "data.source=bundled" in message
    assert "local file" in message


def test_the_real_hub_out_of_reach_is_told_within_ten_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_last", (-hub.REMEMBER_SECONDS, False))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    start = time.monotonic()
    if hub.hub_reachable():
        pytest.skip("the Hub can be reached from here")
    message = said_of(settings("codealpaca-20k"), HubError)
    assert time.monotonic() - start < 10
    assert "sahil2801/CodeAlpaca-20k" in message


def put_in_cache(cache, rows):
    """What load_dataset leaves behind after owner/My-Set was loaded from the Hub."""
    folder = cache / "owner___my-set" / "default" / "0.0.0" / "abc"
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.ipc.new_stream(folder / "my-set-train.arrow", table.schema) as stream:
        stream.write_table(table)
    info = {
        "dataset_name": "my-set",
        "config_name": "default",
        "features": datasets.Features.from_arrow_schema(table.schema).to_dict(),
        "splits": {"train": {"name": "train", "num_examples": len(rows), "dataset_name": "my-set"}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def test_without_the_hub_the_local_cache_is_used(offline, tmp_path):
    rows = make_rows(20, with_input=5)
    put_in_cache(offline, rows)
    splits = load_splits(settings("hub:owner/My-Set", "without_input"))
    path = write(tmp_path / "rows.json", rows)
    assert everything(splits) == everything(load_splits(settings(path, "without_input")))
    assert splits.licence == "unknown"
    assert "has no split 'test'" in said_of(settings("hub:owner/My-Set", split="test"))


@pytest.mark.parametrize("broken", ["my-set-train.arrow", "dataset_info.json"])
@pytest.mark.parametrize("content", [None, b"", b"garbage", b"{}"])
def test_a_broken_cache_is_no_cache(offline, broken, content):
    file = put_in_cache(offline, make_rows(20)) / broken
    file.unlink() if content is None else file.write_bytes(content)
    assert "no usable copy of owner/My-Set" in said_of(settings("hub:owner/My-Set"), HubError)
