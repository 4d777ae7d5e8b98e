"""Files that a browser has downloaded are deleted."""

import os
import time

from instruct_tune.ui.downloads import SERVED_AFTER, Outgoing


def test_what_has_been_served_is_removed_and_what_is_on_its_way_is_not():
    outgoing = Outgoing()
    old, recent = outgoing.folder(), outgoing.folder()
    for folder in (old, recent):
        (folder / "run.zip").write_text("a zip")
    long_ago = time.time() - SERVED_AFTER - 1
    os.utime(old, (long_ago, long_ago))
    fresh = outgoing.folder()
    assert not old.exists()
    assert (recent / "run.zip").read_text() == "a zip"
    assert fresh not in (old, recent)
    assert list(fresh.iterdir()) == []


def test_all_of_it_goes_with_the_page():
    outgoing = Outgoing()
    folder = outgoing.folder()
    (folder / "run.zip").write_text("a zip")
    del outgoing
    assert not folder.parent.exists()
