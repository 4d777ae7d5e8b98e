"""Runs imported from zips, and what holds after an import: a message of one line, and a tidy runs folder."""

import json
import zipfile
from contextlib import contextmanager

from mutations import members, zipped

from instruct_tune.config.viewer import HOST

LONGEST_MESSAGE = 1000


def imported(lab, folder, content):
    file = folder / "x.zip"
    file.write_bytes(content)
    return lab.transfers.import_run(HOST, file)


@contextmanager
def imported_run(lab, folder):
    """A run imported from an unchanged export; deleted afterwards."""
    run_id = imported(lab, folder, zipped(members()))
    yield run_id
    lab.training.delete(HOST, run_id)


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


def changed(**fields):
    """A good zip with some of its files replaced."""
    return zipped(members(**fields))
