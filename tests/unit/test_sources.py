"""Files of every kind give the texts that were written."""

from concurrent.futures import ThreadPoolExecutor

import datasets
import pytest
from data_files import WRITERS, everything, make_rows, settings, write, write_json, write_jsonl

from instruct_tune.data.splits import Example, examples, load_splits

# Texts that a careless reader changes: numbers, nulls, dates, quotes, new lines, separators, blanks.
AWKWARD = ["007", "1.50", "NA", "null", "nan", "true", "2024-01-31", 'say "hi", twice', "two\nlines", "a\r\nb", "",
           "  padded ", "naïve ☃ 😀", "\u2028", "[1]", "{}", "\\n", "\ttab"]  # fmt: skip


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


@pytest.mark.parametrize("ends", ["\r", "\r\n"])
@pytest.mark.parametrize("named", ["", "sep=,"])
def test_lines_of_a_csv_may_end_in_a_carriage_return(tmp_path, ends, named):
    lines = [*filter(None, [named]), "instruction,input,output", *[f"Say {n},,{n}" for n in range(9)]]
    (tmp_path / "mac.csv").write_bytes(ends.join(lines).encode())
    train, test = everything(load_splits(settings(tmp_path / "mac.csv")))
    assert sorted(row.output for row in (*train, *test)) == list("012345678")


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
