"""A hosted lab: the page's visitors are not the machine's owners."""

from functools import partial
from pathlib import Path

import pytest
from labs import finished, opened, smoke, write_rows

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, ModelError

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.fixture
def hosted(tmp_path):
    with opened(tmp_path / "hosted", local_paths=False) as lab:
        yield lab


def test_a_hosted_lab_reads_no_file_of_its_machine(hosted, tmp_path, monkeypatch):
    secret = write_rows(tmp_path / "secret.json", [{"instruction": "a", "output": "b"}] * 20)
    hosted.uploads.folder.mkdir()
    monkeypatch.chdir(tmp_path)
    for source in (
        secret,
        "secret.json",
        f"{hosted.uploads.folder}/../../secret.json",
        "/etc/passwd",
        "file://" + secret,
        "~",
    ):
        for ask in (
            hosted.datasets.summary,
            hosted.training.start,
            hosted.datasets.preview,
            hosted.datasets.held_out,
            hosted.configs.read,
        ):
            with pytest.raises(DataError, match="hosted"):
                ask(HOST, {"data": {"source": source}})
    assert hosted.runs.summaries(HOST) == []


def test_a_hosted_lab_follows_no_link_out_of_its_uploads(hosted, tmp_path):
    secret = write_rows(tmp_path / "secret.json", [{"instruction": "a", "output": "b"}] * 20)
    hosted.uploads.folder.mkdir()
    (hosted.uploads.folder / "link.json").symlink_to(secret)
    with pytest.raises(DataError, match="hosted"):
        hosted.datasets.summary(HOST, {"data": {"source": str(hosted.uploads.folder / "link.json")}})


def test_a_hosted_lab_loads_no_model_folder_of_its_machine(hosted, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for model in (str(tmp_path / "model"), "model", ".", "/etc", "~/model", "~"):
        for ask in (hosted.training.start, partial(hosted.datasets.mask, instruction="a", input="", output="b")):
            with pytest.raises(ModelError, match="hosted"):
                ask(HOST, {"model": model})
    assert hosted.runs.summaries(HOST) == []


def test_a_hosted_lab_takes_uploads_and_what_it_offers(hosted, tmp_path):
    rows = [{"instruction": f"Do {n}", "output": f"Done {n}"} for n in range(30)]
    kept = hosted.uploads.keep(HOST, Path(write_rows(tmp_path / "mine.json", rows)))
    assert kept.parent == hosted.uploads.folder
    assert "mine" not in kept.name
    assert hosted.datasets.summary(HOST, {"data": {"source": str(kept)}})["rows_loaded"] == 30
    assert hosted.datasets.summary(HOST, {"data": {"source": "bundled"}})["rows_loaded"] > 100
    assert hosted.configs.read(HOST, {"data": {"source": "hub:some/data"}}).data.source == "hub:some/data"
    assert hosted.configs.read(HOST, {"model": "facebook/opt-125m"}).model == "facebook/opt-125m"
    finished(hosted, smoke(data={"source": str(kept)}))


def test_uploads_do_not_meet_and_are_of_a_kind_that_is_read(hosted, tmp_path):
    file = Path(write_rows(tmp_path / "Mine.JSON", [{"instruction": "a", "output": "b"}]))
    one, other = hosted.uploads.keep(HOST, file), hosted.uploads.keep(HOST, file)
    assert one != other
    assert one.suffix == ".json"
    for name in ("x.py", "x", "x.json.exe"):
        (tmp_path / name).write_text("[]")
        with pytest.raises(DataError, match="cannot be read: upload one of"):
            hosted.uploads.keep(HOST, tmp_path / name)
    assert {path for path in hosted.uploads.folder.iterdir() if path.suffix != ".name"} == {one, other}


def test_a_space_is_hosted_unless_it_is_set_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/space")
    with opened(tmp_path / "a") as lab:
        assert lab.configs.local_paths is False
    with opened(tmp_path / "b", local_paths=True) as lab:
        assert lab.configs.local_paths is True
    monkeypatch.delenv("SPACE_ID")
    with opened(tmp_path / "c") as lab:
        assert lab.configs.local_paths is True
