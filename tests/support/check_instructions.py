"""Checks every row of the bundled dataset, and counts its kinds: ``python tests/support/check_instructions.py``.

Python answers run, SQL runs in SQLite, interpreters check the syntax of JavaScript and shell scripts, and JSON, HTML
and CSS are parsed. Where a row asks what a program prints, the program runs and the answer must contain the output.
Prints one line per fault and exits with status 1 if there is any; writes the counts to the card, ``instructions.md``.
"""

from __future__ import annotations

import functools
import html.parser
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

from answer_kind import kind

ASSETS = Path(__file__).parents[2] / "assets"
ROWS = ASSETS / "instructions.jsonl"
CARD = ASSETS / "instructions.md"
SECONDS = 20
"""Time limit for running one answer."""
NEAR = 85
"""From this similarity (rapidfuzz's token sort ratio of the whole row, 0 to 100) two rows are near duplicates."""
NEAR_SHARE = 0.01
"""The share of rows that may have a near duplicate."""


class Row(TypedDict):
    instruction: str
    input: str
    output: str


# -- checks of an answer by its kind: each returns the fault in words, or None --


def python_fault(row: Row) -> str | None:
    """Run the answer in a folder of its own, where the files that it names hold the row's input."""
    return _run([sys.executable, "-I", "-X", "utf8", "-W", "error::SyntaxWarning"], row, ".py")


_FILE = re.compile(r"[\"'/]([\w-]+\.(?:csv|json|jsonl|txt|log|tsv|ini|toml|xml|md))[\"']")


def _run(command: Sequence[str], row: Row, suffix: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        for name in _FILE.findall(row["output"]):
            Path(folder, name).write_text(row["input"], encoding="utf-8")
        script = Path(folder, "answer" + suffix)
        script.write_text(row["output"], encoding="utf-8")
        return _outcome([*command, str(script)], folder)


def _outcome(command: Sequence[str], folder: str | None = None, stdin: str = "") -> str | None:
    try:
        done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"still running after {SECONDS} seconds"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or ["ended with an error"]
    return next((line for line in reversed(lines) if re.search(r"error\b", line, re.IGNORECASE)), lines[-1])


_PARSES = """
const {SourceTextModule} = require("node:vm");
require("node:readline").createInterface({input: process.stdin}).on("line", line => {
    let fault = null;
    try { new SourceTextModule(JSON.parse(line)); } catch (error) { fault = String(error); }
    console.log(JSON.stringify(fault));
});
"""
_NODE_LOCK = threading.Lock()


@functools.cache
def _node() -> subprocess.Popen[str]:
    """One process for all answers, since node takes longer to start than to parse them.

    It reads a text as JSON per line, parses it as a module, and writes the fault or null.
    """
    command = ["node", "--no-warnings", "--experimental-vm-modules", "-e", _PARSES]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def javascript_fault(row: Row) -> str | None:
    with _NODE_LOCK:
        node = _node()
        print(json.dumps(row["output"]), file=node.stdin, flush=True)
        return json.loads(node.stdout.readline())


def shell_fault(row: Row) -> str | None:
    if re.match(r"(?:[-\d*/,]+ ){5}|@\w+ ", row["output"]):
        return None  # A line of a crontab: no shell reads its first five words.
    return _outcome(["bash", "-n"], stdin=row["output"])


def json_fault(row: Row) -> str | None:
    try:
        json.loads(row["output"])
    except ValueError as error:
        return str(error)
    return None


class _Nesting(html.parser.HTMLParser):
    """Requires an end tag for every start tag, in order, also where HTML makes it optional."""

    VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
    SELF_CLOSING = ("circle", "ellipse", "line", "path", "polygon", "polyline", "rect", "stop", "use")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fault: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.fault = f"<{tag}> has an attribute twice"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.SELF_CLOSING + self.VOID:
            self.fault = f"<{tag}/> does not close itself in HTML"

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.fault = self.fault or f"</{tag}> closes nothing that is open"


def html_fault(row: Row) -> str | None:
    parser = _Nesting()
    parser.feed(row["output"])
    parser.close()
    return parser.fault or (f"<{parser.open[-1]}> is not closed" if parser.open else None)


def css_fault(row: Row) -> str | None:
    import tinycss2

    return next(_css_errors(tinycss2, tinycss2.parse_stylesheet(row["output"], skip_comments=True)), None)


def _css_errors(tinycss2, nodes) -> Iterator[str]:
    for node in nodes:
        if node.type == "error":
            yield node.message
        elif getattr(node, "content", None) is not None and node.type in ("qualified-rule", "at-rule"):
            yield from _css_errors(tinycss2, tinycss2.parse_blocks_contents(node.content, skip_whitespace=True))


# -- SQL: an empty database with the tables that the row mentions --


def sql_fault(row: Row) -> str | None:
    """Run the statements in SQLite on the tables that the row describes; tables and columns that it omits are added."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    described = set()
    for statement in re.findall(r"CREATE (?:TABLE|VIEW|(?:UNIQUE )?INDEX|TRIGGER)[^;]*;", row["input"]):
        if statement.split("(")[0].strip() in row["output"]:
            continue  # The answer creates it itself.
        try:
            database.execute(statement)
        except sqlite3.Error:
            continue  # A statement that the row asks to fix.
        described |= {name.lower() for name in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", statement)}
    question = row["instruction"] + "\n" + row["input"]
    for name, columns in re.findall(r"\b([a-z]\w*) ?\(([a-z][^()]*(?:\(\w+\)[^()]*)*)\)", question):
        if name in described or not re.search(rf"(?<!CREATE TABLE )\b{name}\b", row["output"]):
            continue
        if re.search(rf"CREATE TABLE {name}\b", row["output"]):
            continue  # The answer creates it.
        columns = re.sub(r",? and (?=\w+$)", ", ", columns)
        try:
            database.execute(f"CREATE TABLE {name} ({columns})")
        except sqlite3.Error:
            continue  # Words in brackets that are no columns.
        described.add(name)
    return _run_sql(database, row["output"], described)


def _run_sql(database: sqlite3.Connection, script: str, described: set[str]) -> str | None:
    fault = None
    for _ in range(30):
        if not re.match(r"(?:BEGIN|PRAGMA|VACUUM)", script):  # Those refuse to run inside a transaction.
            database.execute("SAVEPOINT before")
        try:
            for statement in _statements(script):
                database.execute(statement)
            return None
        except sqlite3.Error as error:
            fault = str(error)
        if database.in_transaction:
            database.execute("ROLLBACK")
        if not _supply(database, script, fault, described):
            break
    return fault


def _statements(script: str) -> Iterator[str]:
    held = ""
    for piece in script.split(";"):
        held += piece + ";"
        if sqlite3.complete_statement(held):
            if held.strip(" \n;"):
                yield held
            held = ""
    if held.strip(" \n;"):
        yield held


def _supply(database: sqlite3.Connection, script: str, fault: str, described: set[str]) -> bool:
    """Add the table or column that SQLite reports missing; False where the row describes the table without it."""
    if match := re.search(r"no such table: (?:\w+\.)?(\w+)", fault):
        database.execute(f'CREATE TABLE "{match[1]}" (id)')
        return True
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    free = sorted(table for table in tables if table.lower() not in described and not table.startswith("sqlite_"))
    if match := re.search(r"no such column: \"?(\w+)\.(\w+)|table (\w+) has no column named (\w+)", fault):
        owner, column = (match[1], match[2]) if match[1] else (match[3], match[4])
        alias = re.search(rf"(?:FROM|JOIN|,)\s+(\w+)(?: AS)? {owner}\b", script)
        owner = owner if owner in tables else alias[1] if alias else owner
        candidates = [owner] if owner in free else []
    elif match := re.search(r"no such column: \"?(\w+)|has no column named (\w+)", fault):
        column, candidates = match[1] or match[2], free[:1]
    else:
        return False
    for table in candidates:
        database.execute(f'ALTER TABLE "{table}" ADD COLUMN "{column}"')
    return bool(candidates)


# -- rows that ask what a program prints --

_ASKS = re.compile(r"\b(?:print|output|display|log|console|screen|predict|result|show|appear)", re.IGNORECASE)


def prediction_fault(row: Row) -> str | None:
    """Where a row asks what the program in its input prints, run it and require each line of it in the answer."""
    if not _ASKS.search(row["instruction"]) or kind(row["output"]) not in ("words", "json"):
        return None
    if "console.log" in row["input"] and shutil.which("node"):
        command, suffix = ["node"], ".mjs"
    elif re.search(r"\bprint\(", row["input"]):
        command, suffix = [sys.executable, "-I"], ".py"
    else:
        return None
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "program" + suffix)
        script.write_text(row["input"], encoding="utf-8")
        try:
            done = subprocess.run([*command, script.name], cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"the program was still running after {SECONDS} seconds"
    answer = re.sub(r"\s+", " ", row["output"])
    missing = [line for line in done.stdout.splitlines() if re.sub(r"\s+", " ", line.strip()) not in answer]
    return f"the program prints {missing[0]!r}, which the answer does not say" if missing else None


# -- the text of a row, and the whole file --


def text_faults(row: dict) -> Iterator[str]:
    """The faults of a row's fields as text."""
    if list(row) != ["instruction", "input", "output"] or not all(isinstance(value, str) for value in row.values()):
        yield "the fields are not instruction, input and output, all text"
        return
    for name, text in row.items():
        if name != "input" and not text:
            yield f"{name} is empty"
        if text != text.strip("\n ") and not (name == "input" and text.startswith(" ")):
            yield f"{name} begins or ends with blanks"
        if re.search(r"[ \t]+$", text, re.MULTILINE):
            yield f"{name} has blanks at the end of a line"
        if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn") and char not in "\n\t" for char in text):
            yield f"{name} has a control character"
        if "```" in text:
            yield f"{name} has a markdown fence"
    if "\n" in row["instruction"]:
        yield "the instruction has more than one line"


FAULTS = {
    "python": python_fault,
    "javascript": javascript_fault,
    "shell": shell_fault,
    "json": json_fault,
    "html": html_fault,
    "css": css_fault,
    "sql": sql_fault,
}
NEEDS = {"javascript": "node", "shell": "bash"}


def row_faults(row: Row) -> list[str]:
    """All faults of one row, in words."""
    faults = list(text_faults(row))
    if faults:
        return faults
    answer_kind = kind(row["output"])
    check = FAULTS.get(answer_kind) if answer_kind not in NEEDS or shutil.which(NEEDS[answer_kind]) else None
    return [fault for fault in (check and check(row), prediction_fault(row)) if fault]


def near_duplicates(rows: Sequence[Row], threshold: int = NEAR) -> list[tuple[int, int, float]]:
    """(row, row, similarity) of all pairs, by index, whose words are at least ``threshold`` (0 to 100) similar."""
    from rapidfuzz import fuzz, process

    texts = [" ".join(sorted(re.findall(r"\w+|[^\w\s]", " ".join(row.values()).lower()))) for row in rows]
    scores = process.cdist(texts, texts, scorer=fuzz.ratio, score_cutoff=threshold)
    return [(int(a), int(b), float(scores[a, b])) for a, b in zip(*scores.nonzero(), strict=True) if a < b]


def counts(rows: Sequence[Row]) -> str:
    """The card's Markdown table: by kind, the rows, those with an input, and the answers' mean length."""
    lines = ["| kind of answer | rows | with an input | mean characters |", "|---|--:|--:|--:|"]
    by_kind = Counter(kind(row["output"]) for row in rows)
    for name, count in [*by_kind.most_common(), ("all", len(rows))]:
        chosen = [row for row in rows if name in ("all", kind(row["output"]))]
        mean = sum(len(row["output"]) for row in chosen) / count
        lines.append(f"| {name} | {count:,} | {sum(bool(row['input']) for row in chosen):,} | {mean:.0f} |")
    return "\n".join(lines)


def read() -> list[Row]:
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]


def all_faults(rows: Sequence[Row]) -> list[str]:
    """A sentence for each fault of the rows, alone and compared with each other."""
    with ThreadPoolExecutor() as pool:
        faults = list(pool.map(row_faults, rows))
    sentences = [f"row {number}: {fault}" for number, each in enumerate(faults, 1) for fault in each]
    first: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, 1):
        same = first.setdefault((row["instruction"].lower(), row["input"]), number)
        if same != number:
            sentences.append(f"row {number}: asks the same as row {same}")
    near = near_duplicates(rows)
    share = len({index for pair in near for index in pair[:2]}) / len(rows)
    if share >= NEAR_SHARE:
        sentences.append(f"{share:.1%} of the rows have a near duplicate: {[(a + 1, b + 1) for a, b, _ in near]}")
    return sentences


def card_with(table: str) -> str:
    """The card's text with its table of counts replaced by ``table``."""
    return re.sub(r"(?m)^\|[\s\S]*\|$", lambda _: table, CARD.read_text(encoding="utf-8"), count=1)


def main() -> int:
    rows = read()
    faults = all_faults(rows)
    for line in faults:
        print(line)
    print(counts(rows))
    print(f"{len(faults)} faults.")
    for name, tool in NEEDS.items():
        if not shutil.which(tool):
            print(f"{tool} is not here: {name} was not checked.")
    CARD.write_text(card_with(counts(rows)), encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
