"""The Data tab as code: load the rows, name their three texts, split, and take a fingerprint."""

from __future__ import annotations

import base64
import functools
import lzma
import textwrap
from collections.abc import Iterator
from pathlib import Path

from ..config.filters import DROP_LEAKAGE
from ..config.run_config import Columns, DataSettings
from ..data.file_formats import ending_of
from ..data.sources import BUNDLED_FILE, SEPARATOR_LINE, hub_repository
from ..text.python_literal import literal
from .code import Line, Section, assign, code, note
from .ledger_code import after_split, before_split
from .record import Record

SOURCE = "data.source"


def data_sections(data: DataSettings, record: Record | None, packed: bool) -> list[Section]:
    """Sections from the source to the training and held-out rows. ``packed``: with the bundled rows themselves."""
    return [
        Section("data", "Load the rows", (*_stand_in(record), *_load(data, packed), *_columns(data))),
        Section("data", "Filter the rows", tuple(before_split(data, record))),
        Section("data", "Hold rows out, and limit those to train on", tuple(_split(data, record))),
        Section("data", "Fingerprint of the rows", tuple(_fingerprint(record))),
    ]


# Loading


def _stand_in(record: Record | None) -> Iterator[Line]:
    if record and record.missing:
        yield from note(
            "The rows that the imported adapter was trained on did not come along: these stand in for them, and some "
            "may be among those that it was trained on."
        )


def _load(data: DataSettings, packed: bool) -> Iterator[Line]:
    repository = hub_repository(data.source)
    if data.source == "bundled":
        yield from _bundled(packed)
    elif repository is not None:
        yield Line("from datasets import load_dataset, load_dataset_builder")
        yield Line("")
        yield from note("A private or gated dataset needs `hf auth login` first, or HF_TOKEN in the environment.")
        yield Line(f"HUB_DATASET = {literal(repository)}", (SOURCE,))
        yield Line(f"HUB_SPLIT = {literal(data.split)}", ("data.split",))
        yield from code("""
            options, builder = {}, load_dataset_builder(HUB_DATASET)
            if hasattr(builder.config, "keep_default_na"):  # CSV: each cell is text, and None and NA are words
                options = {"converters": dict.fromkeys(range(10_000), str), "keep_default_na": False, "na_values": ""}
                options["na_filter"] = bool(builder.info.features)  # types that the card gives need nulls
            rows = load_dataset(HUB_DATASET, split=HUB_SPLIT, **options).to_list()
        """)
    else:
        yield from _file(data)


def _bundled(packed: bool) -> Iterator[Line]:
    yield Line("import base64")
    yield Line("import json")
    yield Line("import lzma")
    yield Line("")
    if packed:
        yield from note("The lab's own rows (CC0), one JSON object a line, compressed and written as text.", SOURCE)
        yield Line("PACKED = (", (SOURCE,))
        yield from (Line(f'    "{piece}"') for piece in _packed_rows())
        yield Line(")")
    else:
        yield Line("PACKED = ...  # the lab's own rows (CC0): the script and the notebook carry them", (SOURCE,))
    yield from code("""
        lines = lzma.decompress(base64.b64decode(PACKED)).decode().split("\\n")
        rows = [json.loads(line) for line in lines if line]
    """)


@functools.cache
def _packed_rows() -> tuple[str, ...]:
    compressed = lzma.compress(BUNDLED_FILE.read_bytes(), preset=9 | lzma.PRESET_EXTREME)
    return tuple(textwrap.wrap(base64.b64encode(compressed).decode(), 1000))


def _file(data: DataSettings) -> Iterator[Line]:
    """``data.source`` is a file's name without its folder, see ``outgoing``."""
    ending = ending_of(Path(data.source))
    kind = ending.removesuffix(".gz")
    text = "gzip.decompress(Path(FILE).read_bytes())" if ending.endswith(".gz") else "Path(FILE).read_bytes()"
    imports = ["from pathlib import Path"]
    if ending.endswith(".gz"):
        imports.insert(0, "import gzip")
    if kind == ".parquet":
        imports += ["", "from datasets import Dataset"]
        reading = ["rows = Dataset.from_parquet(str(Path(FILE))).to_list()"]
    elif kind in (".csv", ".tsv"):
        imports = ["import csv", "import io", "import re", *imports]
        marks = ['mark = named[1] if named else "\\t"']
        if kind == ".csv":
            marks = [
                'header = re.split(r"\\r\\n?|\\n", text.lstrip(), maxsplit=1)[0]',
                'cells = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in ",;\\t|"}',
                'mark = named[1] if named else "," if cells[","] > 1 else max(cells, key=cells.get)',
            ]
        reading = [
            f'text = {text}.decode("utf-8-sig")',
            "csv.field_size_limit(2**31 - 1)",
            "# Excel may write the separator in a first line of its own.",
            f"named = re.match(r'{SEPARATOR_LINE.pattern}', text, re.IGNORECASE)",
            "text = text[named.end() :] if named else text",
            *marks,
            'rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=mark))',
        ]
    else:
        imports = ["import json", *imports]
        reading = [
            f'text = {text}.decode("utf-8-sig")',
            "# A list of objects, or one object a line.",
            'is_list = text.lstrip().startswith("[")',
            'rows = json.loads(text) if is_list else [json.loads(line) for line in text.split("\\n") if line.strip()]',
        ]
    yield from (Line(each) for each in imports)
    yield Line("")
    yield from note(
        "These rows came from a file, which stays where it is: no script carries rows of others. "
        "Put a copy of it in the folder that you start this from.",
        SOURCE,
    )
    yield Line(f"FILE = {literal(data.source)}", (SOURCE,))
    yield from (Line(each) for each in reading)


# Columns


def _columns(data: DataSettings) -> Iterator[Line]:
    columns = data.columns
    yield Line("")
    may_be_chat = _may_be_chat(data)
    if may_be_chat:
        yield from _conversations(columns)
    if columns.ignore:
        yield from note(
            f"In the lab these columns are left out of account: {', '.join(map(repr, columns.ignore))}.",
            "data.columns.ignore",
        )
    yield from note("Three texts a row. A missing input is an empty one; instruction and output must be there.")
    yield Line("rows = [")
    yield Line("    {")
    yield Line(f'        "instruction": row[{literal(columns.instruction)}],', ("data.columns.instruction",))
    yield Line(f'        "input": {_input(columns)},', ("data.columns.input",))
    yield Line(f'        "output": row[{literal(columns.output)}],', ("data.columns.output",))
    if columns.system is not None:
        yield Line(f'        "system": row[{literal(columns.system)}] or "",', ("data.columns.system",))
    yield Line("    }")
    yield Line("    for row in rows")
    yield Line("]")
    if columns.system is not None:
        yield from _systems(may_be_chat)
    yield from code("""
        assert all(isinstance(text, str) for row in rows for text in row.values()), "a cell holds no text"
    """)
    if data.unify_newlines:
        yield from code("""
            import re

            # Windows ends a line with two characters, others with one: a model reads them as different texts.
        """)
        yield Line(
            'rows = [{name: re.sub("\\r\\n?", "\\n", text) for name, text in row.items()} for row in rows]',
            ("data.unify_newlines",),
        )
    yield Line('print(len(rows), "rows loaded")')


def _input(columns: Columns) -> str:
    if columns.input is None:
        return '""'
    # A column of the default name is optional; one that the settings name must be there.
    name = literal(columns.input)
    return f'row.get({name}) or ""' if columns.input == Columns.input else f'row[{name}] or ""'


def _systems(may_be_chat: bool) -> Iterator[Line]:
    """System prompts go in front of the instructions; in a conversation one may be there already."""
    yield from code("""
        for row in rows:
            system = row.pop("system")
    """)
    if may_be_chat:
        yield Line("    # A conversation may begin with the same system message.")
        yield Line('    prefixed = is_chat and f"{row[\'instruction\']}\\n\\n".startswith(f"{system}\\n\\n")')
        yield Line("    if system.strip() and not prefixed:")
    else:
        yield Line("    if system.strip():")
    yield Line('        row["instruction"] = "\\n\\n".join(filter(None, (system, row["instruction"])))')


def _may_be_chat(data: DataSettings) -> bool:
    """Whether the rows may be conversations, as the lab finds them: where no column is named."""
    known = data.source == "bundled" or hub_repository(data.source) == hub_repository("codealpaca-20k")
    columns = data.columns
    return not known and (columns.instruction, columns.output) == (Columns.instruction, Columns.output)


def _conversations(columns: Columns) -> Iterator[Line]:
    yield from code("""
        chats = [name for name in rows[0] if name.strip().lower() in ("messages", "conversations", "conversation")]
        is_chat = bool(chats) and not {"instruction", "output"} <= rows[0].keys()
        if is_chat:
            # A chat dataset: one question and one answer a row; a system message goes in front of the question.
            # (The lab also refuses rows with tool calls or weights, which this does not look for.)
            for row in rows:
                *before, answer = row[chats[0]]
                texts = [message["content"] if "content" in message else message["value"] for message in before]
                assert len(before) - sum((m.get("role") or m.get("from")) == "system" for m in before) == 1
                row["instruction"] = "\\n\\n".join(text for text in texts if text)
                row["output"] = answer["content"] if "content" in answer else answer["value"]
    """)
    if columns.input == Columns.input:
        yield Line('        row["input"] = ""  # a column of this name beside a conversation is no part of it')


# Split, limit, fingerprint


def _split(data: DataSettings, record: Record | None) -> Iterator[Line]:
    yield from code("""
        from datasets import Dataset

        # Shuffled, then split: the other order would hold out other rows.
    """)
    yield from assign("SPLIT_SEED", data.seed, "data.seed")
    yield from assign("TEST_SIZE", data.test_size, "data.test_size", why="of all rows, never trained on")
    yield from code("""
        parts = Dataset.from_list(rows).shuffle(seed=SPLIT_SEED).train_test_split(test_size=TEST_SIZE, seed=SPLIT_SEED)
        train, held_out = parts["train"], parts["test"]
    """)
    if DROP_LEAKAGE in data.filters:
        yield from after_split()
    if data.limit is not None:
        yield from assign("LIMIT", data.limit, "data.limit", why="training rows; held-out rows are never limited by it")
        yield Line("train = train.select(range(min(LIMIT, len(train))))")
    else:
        yield Line("# No limit: all of these rows are trained on.", ("data.limit",))
    yield Line('print(len(train), "rows to train on,", len(held_out), "held out; the first:", train[0])')


def _fingerprint(record: Record | None) -> Iterator[Line]:
    yield from code("""
        import hashlib
        import json

        # A hash of the rows in their order: two machines with the same one train and measure on the same rows.
        digest = hashlib.sha256()
        for name, part in (("train", train), ("test", held_out)):
            digest.update(f"{name} {len(part)}\\n".encode())
            for row in part:
                digest.update(json.dumps([row["instruction"], row["input"], row["output"]]).encode() + b"\\n")
        FINGERPRINT = digest.hexdigest()[:16]
    """)
    if record and record.fingerprint:
        yield from assign("LAB_FINGERPRINT", str(record.fingerprint))
        yield Line('same = "the same rows as" if FINGERPRINT == LAB_FINGERPRINT else "OTHER ROWS THAN"')
        yield Line('print(f"fingerprint {FINGERPRINT}: {same} in the lab ({LAB_FINGERPRINT})")')
    else:
        yield Line('print(f"fingerprint {FINGERPRINT}")')
