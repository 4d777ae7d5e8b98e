"""Downloads of Hub datasets: counted, stopped, refused; against a small local Hub."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_hub import ToyHub, serving_hub

from instruct_tune.config.environment import check_download
from instruct_tune.data import hub as hub_dataset
from instruct_tune.errors import DataError, Stopped
from instruct_tune.util.progress import Loading

ROWS = [{"instruction": f"Do {n}", "input": "", "output": f"Done {n} " + "x" * 500} for n in range(2000)]
FILES = {
    "train.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "test.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS[:10]).encode(),
    "README.md": b"---\nlicense: mit\n---\n",
}

# Runs in its own process, since the Hub's client reads the address once, when it is imported.
LOADS = """
import json, sys
from pathlib import Path
from instruct_tune.data.splits import load_splits
from instruct_tune.errors import LabError, Stopped
from instruct_tune.util.progress import Loading
from instruct_tune.config.run_config import DataSettings

class Recorded(Loading):
    def __init__(self, stop_at=None):
        super().__init__()
        self.phases, self.most, self.stop_at = [], 0, stop_at
    def enter(self, phase, total=0):
        super().enter(phase, total)
        self.phases.append(phase.split(" (")[0])
        self.most = total or self.most
    def advance(self, count):
        super().advance(count)
        self.count = self.done
        if self.stop_at and self.done >= self.stop_at:
            self.stop()

def tried(loading, **changes):
    try:
        splits = load_splits(DataSettings(**{"source": "hub:some/rows", "limit": None, **changes}), loading)
        outcome = [splits.rows_loaded, splits.licence]
    except Stopped:
        outcome = "stopped"
    except LabError as error:
        outcome = str(error)
    left = [path.name for path in Path(sys.argv[1]).rglob("*incomplete*") if path.suffix != ".lock"]
    count = getattr(loading, "count", 0)
    return {"outcome": outcome, "phases": loading.phases, "count": count, "total": loading.most, "left": left}

print(json.dumps([
    tried(Recorded(stop_at=200_000)),
    tried(Recorded()),
    tried(Recorded(), split="test"),
    tried(Recorded(), source="hub:some/other"),
]))
"""


@pytest.fixture(scope="module")
def loads(tmp_path_factory):
    home = tmp_path_factory.mktemp("hub")
    hub = ToyHub({"some/rows": FILES})
    with serving_hub(hub) as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOADS, str(home)],
            env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), hub


@pytest.mark.slow
def test_a_stop_in_the_middle_of_a_file_leaves_no_part_of_it(loads):
    stopped = loads[0][0]
    assert stopped["outcome"] == "stopped"
    assert stopped["count"] < len(FILES["train.jsonl"])
    assert stopped["phases"] == ["Asking the Hub for some/rows", "Downloading some/rows"]
    assert stopped["left"] == []


def test_every_byte_is_counted_on_the_way(loads):
    whole = loads[0][1]
    assert whole["outcome"] == [2000, "mit"]
    assert whole["phases"] == [
        "Asking the Hub for some/rows",
        "Downloading some/rows",
        "Preparing some/rows",
        "Filtering and splitting 2,000 rows",
    ]
    assert whole["count"] == whole["total"] == len(FILES["train.jsonl"]) + len(FILES["test.jsonl"])
    assert whole["left"] == []


def test_what_has_come_once_is_not_fetched_again(loads):
    again, hub = loads[0][2], loads[1]
    assert again["outcome"] == [10, "mit"]
    assert again["count"] == again["total"]
    fetched = [line for line in hub.requests if line.startswith("GET") and line.endswith("/train.jsonl")]
    assert len(fetched) == 2, "once until it was stopped, once whole"


def test_what_the_hub_does_not_have(loads):
    assert loads[0][3]["outcome"].startswith("The Hub has no some/other")


CSV_ANSWERS = ["None", "NA", "null", "yes"]
# A number is missing and a hint is given in a later piece than the first 10,000 rows, by which datasets decides the
# column's type.
CSV_REPEATS = 2500
CSV_ROWS = [f"Is it {n}?,{answer},{n},,0{n}.50" for n, answer in enumerate(CSV_ANSWERS * CSV_REPEATS)]
CSV = "\n".join(["instruction,output,score,hint,price", *CSV_ROWS, "Is that all?,None,,Think.,007"]).encode()
CSV_CARD = b"---\nlicense: mit\nconfigs:\n- config_name: main\n  data_files: rows.csv\n---\n"
TYPES = {"instruction": "string", "output": "string", "score": "int64", "hint": "string", "price": "string"}
TYPED_CARD = json.dumps({"dataset_info": {"features": [{"name": k, "dtype": v} for k, v in TYPES.items()]}})
LOADS_CSV = """
import json
from instruct_tune.util.progress import Loading
from dataclasses import replace
from instruct_tune.config.presets import PRESETS
from instruct_tune.data.sources import load_table
from instruct_tune.pretrained import hub
from instruct_tune.script.script import sections
from instruct_tune.config.run_config import Columns, DataSettings

ROLES = Columns(instruction="price", input="hint", output="output")
REPOS = ("some/plain", "some/Named", "some/typed")

def texts(repo):
    columns = load_table(DataSettings(source=f"hub:{repo}", limit=None, columns=ROLES), Loading()).columns
    return [[value or "" for value in columns[name]] for name in (ROLES.output, ROLES.input, ROLES.instruction)]

def texts_of_the_script(repo):
    config = replace(PRESETS["quick"], data=DataSettings(source=f"hub:{repo}", filters=(), columns=ROLES))
    names = {}
    exec(next(section.text for section in sections(config) if "load_dataset" in section.text), names)
    return [[row[part] for row in names["rows"]] for part in ("output", "input", "instruction")]

online = [read(repo) for repo in REPOS for read in (texts, texts_of_the_script)]
hub.hub_reachable = lambda: False
print(json.dumps([*online, *map(texts, REPOS)]))
"""


@pytest.mark.slow
def test_csv_cells_are_the_texts_that_stand_there_now_and_without_the_hub(tmp_path):
    """pandas would read None and NA as empty cells, and 007 as 7."""
    cards = {"some/plain": {}, "some/Named": {"README.md": CSV_CARD}}
    cards["some/typed"] = {"README.md": f"---\n{TYPED_CARD}\n---\n".encode()}
    files = {repo: {"rows.csv": CSV, **card} for repo, card in cards.items()}
    with serving_hub(ToyHub(files)) as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOADS_CSV],
            env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in CSV.decode().splitlines()[1:]]
    columns = [[row[at] for row in rows] for at in (1, 3, 4)]
    assert json.loads(done.stdout.splitlines()[-1]) == [columns] * 9


def test_a_stop_before_any_request(monkeypatch):
    monkeypatch.setattr(hub_dataset.hub, "hub_reachable", lambda: pytest.fail("the Hub was contacted"))
    loading = Loading()
    loading.stop()
    with pytest.raises(Stopped):
        hub_dataset.fetch("some/rows", loading)


def test_a_download_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setenv("LAB_MAX_DOWNLOAD_MB", "10")
    check_download("some/rows", 10 * 2**20)
    with pytest.raises(DataError, match=r"some/rows has 11 MB of files, and this lab downloads at most 10 MB"):
        check_download("some/rows", 11 * 2**20)


# Runs in its own process, as above.
OUTCOMES = """
import json, sys
from instruct_tune.data.splits import load_splits
from instruct_tune.errors import LabError
from instruct_tune.config.run_config import DataSettings

def outcome(repo):
    try:
        return load_splits(DataSettings(source=f"hub:{repo}", limit=None)).rows_loaded
    except LabError as error:
        return str(error)

print(json.dumps([outcome(repo) for repo in sys.argv[1:]]))
"""


def outcomes_of(repos: dict[str, dict[str, bytes]], home: Path) -> list[int | str]:
    """Of each repository on a Hub of the test: the number of its rows, or the error."""
    with serving_hub(ToyHub(repos)) as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", OUTCOMES, *repos],
            env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_card_that_takes_rows_from_elsewhere_is_refused_without_a_request_there(tmp_path):
    """Otherwise a visitor could make the host's machine send requests into its own network."""

    def card(data_files: object) -> bytes:
        configs = json.dumps([{"config_name": "default", "data_files": data_files}])
        return f"---\nlicense: mit\nconfigs: {configs}\n---\n".encode()

    inner = ToyHub({})
    with serving_hub(inner) as inside:
        secret = f"{inside}/secret.jsonl"
        repos = {
            "some/list": {"a.jsonl": FILES["test.jsonl"], "README.md": card([secret])},
            "some/split": {"README.md": card([{"split": "train", "path": [secret]}])},
            "some/chained": {"README.md": card(f"zip://a.jsonl::{secret}")},
            "some/file": {"a.jsonl": FILES["test.jsonl"], ".huggingface.yaml": b"configs: []\n"},
            "some/torn": {"a.jsonl": FILES["test.jsonl"], "README.md": b"---\nconfigs: [\n---\n"},
            "some/own": {"a.jsonl": FILES["test.jsonl"], "README.md": card("a.jsonl")},
        }
        outcomes = outcomes_of(repos, tmp_path)
    *outside, settings, torn, own = outcomes
    assert all("outside the Hub: download the file you want" in sentence for sentence in outside)
    assert "says in .huggingface.yaml where its rows are" in settings
    assert "some/torn" in torn
    assert own == 10
    assert inner.requests == []


@pytest.mark.slow
def test_a_csv_whose_rows_are_not_as_wide_as_its_header_is_refused(tmp_path):
    """pandas would take the first column for row names, and each answer for an instruction."""
    rows = [f"q{n},a{n}" for n in range(20)]
    semicolons = b"---\nconfigs:\n- config_name: default\n  data_files: rows.csv\n  sep: ;\n---\n"
    texts = {
        "some/wider": ["instruction,output", "Explain a, b and c,a", *rows],
        "some/comma": ["instruction,output", *(f"{row}," for row in rows)],
        "some/narrower": ["instruction,output", *rows, "q"],
        "some/twice": ["output,output", *rows],
        "some/whole": ["instruction,output", "", '"q, ""r""\n",a', *rows],
        "some/marks": ["instruction;output", *(row.replace(",", ";") for row in rows)],
    }
    repos = {name: {"rows.csv": "\n".join(lines).encode()} for name, lines in texts.items()}
    repos["some/marks"]["README.md"] = semicolons
    for fault, line in {"encoding": "encoding: none-such", "quote": "quotechar: ab"}.items():
        card = semicolons.replace(b"sep: ;", line.encode())
        repos[f"some/{fault}"] = {"rows.csv": repos["some/whole"]["rows.csv"], "README.md": card}
    repos["some/packed"] = {"rows.csv.gz": gzip.compress(repos["some/narrower"]["rows.csv"])}
    wider, comma, narrower, twice, whole, marks, encoding, quote, packed = outcomes_of(repos, tmp_path)
    assert wider.startswith("Row 1 of rows.csv of some/wider has 3 cells where the header has 2: download the file")
    assert "Row 1 of rows.csv of some/comma has 3 cells" in comma
    assert "Row 21 of rows.csv of some/narrower has 1 cell where" in narrower
    assert "more than one column 'output'" in twice
    assert (whole, marks) == (21, 20)
    assert "Row 21 of rows.csv.gz" in packed
    assert "cannot be used as the Hub has it" in encoding
    assert "cannot be used as the Hub has it" in quote
