"""``runs export RUN --page``: a run becomes a page, or one sentence says why not."""

import pytest
from commands import _folders, answer_of, refused, run, trained


@pytest.mark.slow
def test_a_run_becomes_a_page(answer_of, trained, tmp_path):
    folder, run_id = trained
    file = tmp_path / "run.html"
    answer = answer_of("runs", "export", run_id, "--page", "--to", file, "--data-dir", folder)
    assert answer == {"run_id": run_id, "file": str(file), "bytes": file.stat().st_size}
    page = file.read_text(encoding="utf-8")
    assert "<h1>tulip</h1>" in page
    assert str(folder) not in page


def test_what_cannot_be_written_gets_one_sentence(refused, trained, tmp_path):
    folder, run_id = trained
    for message, *arguments in (
        ("run.zip: a page is saved as .html", run_id, "--page", "--to", tmp_path / "run.zip"),
        ("no-such-run", "no-such-run", "--page", "--to", tmp_path / "run.html"),
        ("run.html cannot be written", run_id, "--page", "--to", tmp_path / "nowhere" / "run.html"),
        ("--with-rows says what a page holds", run_id, "--with-rows", "--to", tmp_path / "run.zip"),
    ):
        assert message in refused("runs", "export", *arguments, "--data-dir", folder)
    assert list(tmp_path.iterdir()) == []
