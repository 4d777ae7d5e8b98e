"""An upload is stored under an unguessable name and shown under its original one."""

import json
from pathlib import Path

import pytest

from instruct_tune.config.viewer import HOST
from instruct_tune.data.upload_names import LONGEST
from instruct_tune.errors import DataError
from instruct_tune.lab import Lab
from instruct_tune.services.uploads import Uploads


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "data").mkdir()
    return Lab(tmp_path / "data", writing=False)


def upload(lab, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    return lab.uploads.keep(HOST, tmp_path / name)


def test_messages_and_the_page_speak_of_the_name_it_came_with(lab, tmp_path):
    kept = upload(lab, tmp_path, "my rows.jsonl", '{"a": 1}\n{oops')
    assert "my rows" not in str(kept)
    assert lab.uploads.display_name(str(kept)) == "my rows.jsonl"
    with pytest.raises(DataError, match=r"^my rows.jsonl is not valid JSON at line 2"):
        lab.datasets.summary(HOST, {"data": {"source": str(kept)}})


def test_a_name_is_one_short_line(lab, tmp_path):
    kept = upload(lab, tmp_path, "x\n" + "y" * 150 + ".json", json.dumps([{"instruction": "a", "output": "b"}] * 9))
    name = lab.uploads.display_name(str(kept))
    assert len(name) == LONGEST
    assert "\n" not in name
    assert name.endswith("y.json")


@pytest.mark.parametrize(
    "source", ["bundled", "hub:some/rows", "/nowhere/rows.json", "", "/", "..", "a\0b", "x" * 5000]
)
def test_everything_else_is_called_what_it_is(source):
    assert Uploads.display_name(source) == source


def test_a_name_goes_with_its_upload(lab, tmp_path):
    kept = upload(lab, tmp_path, "rows.json", "[]")
    assert {path.name for path in lab.uploads.folder.iterdir()} == {kept.name, f"{kept.name}.name"}
    assert Path(f"{kept}.name").stat().st_size < 100
