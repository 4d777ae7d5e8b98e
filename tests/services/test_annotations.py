"""Tags and notes: how they are cleaned, and who may write them."""

import json

import pytest
from labs import opened

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.errors import DataError, NotFoundError, NotYoursError
from instruct_tune.runs.annotations import LONGEST_NOTES, LONGEST_TAG, MAX_TAGS, read_notes, read_tags
from instruct_tune.store.run import Run

MINE, OTHER = known_by("a secret that is mine"), known_by("a secret of another")


def entered(lab, owner=None):
    config = RunConfig.from_dict({}, "smoke").to_dict()
    run = Run("one", "one", "finished", None, "", 4, 4, 1.0, 2.0, config, None, {}, owner, started_by=MINE.id)
    lab.store.enter(run)
    return run.id


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ()),
        (" a ,b,, a", ("a", "b")),
        (["two  words", "x"], ("two words", "x")),
        ("<b>,${x}", ("<b>", "${x}")),
        (",".join(str(n) for n in range(MAX_TAGS)), tuple(str(n) for n in range(MAX_TAGS))),
        ("x" * LONGEST_TAG, ("x" * LONGEST_TAG,)),
    ],
)
def test_what_is_kept_of_tags(given, kept):
    assert read_tags(given) == kept


@pytest.mark.parametrize(
    "given", [",".join(map(str, range(MAX_TAGS + 1))), "x" * (LONGEST_TAG + 1), None, [3], ["a,b"]]
)
def test_too_many_too_long_or_no_text_is_refused(given):
    with pytest.raises(DataError, match=r"[Tt]ags"):
        read_tags(given)


def test_notes_have_a_limit_too():
    assert read_notes("  two\nlines ") == "two\nlines"
    for wrong in ("x" * (LONGEST_NOTES + 1), None, 3):
        with pytest.raises(DataError, match="notes"):
            read_notes(wrong)


def test_they_are_in_the_list_and_stay(tmp_path):
    with opened(tmp_path / "data") as lab:
        run_id = entered(lab)
        lab.runs.annotate(HOST, run_id, "rank 4, keep", "It was too short.")
    with opened(tmp_path / "data", writing=False) as lab:
        for row in (*lab.runs.summaries(HOST), lab.runs.details(HOST, run_id)):
            assert (row["tags"], row["notes"]) == (["rank 4", "keep"], "It was too short.")
        assert json.loads(json.dumps(lab.runs.summaries(HOST)))


def test_only_who_may_change_a_run_writes_them(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    with opened(tmp_path / "data") as lab:
        run_id = entered(lab)
        with pytest.raises(NotYoursError, match="annotate"):
            lab.runs.annotate(OTHER, run_id, "x", "")
        lab.runs.annotate(MINE, run_id, "x", "")
        lab.store.update(run_id, owner=MINE.id)
        with pytest.raises(NotFoundError):
            lab.runs.annotate(OTHER, run_id, "y", "")
        assert lab.runs.summaries(MINE)[0]["tags"] == ["x"]
