"""What a run is called on the page."""

from __future__ import annotations

import time

from instruct_tune.config.presets import PRESETS
from instruct_tune.runs.naming import nearest_preset, shown_name
from instruct_tune.store.run_store import Run

ID = "20261130-195514-64dd"


def run(name: str, preset: str, **settings) -> Run:
    config = {**PRESETS[preset].to_dict(), **settings}
    created = time.mktime((2026, 11, 30, 19, 55, 14, 0, 0, -1))
    return Run(ID, name, "queued", None, "", 0, 0, created, None, config, None, {})


def test_an_unnamed_run_is_called_by_its_preset_and_time():
    assert shown_name(run(ID, "minute")) == "minute, 19:55"
    assert shown_name(run(ID, "overfit", evaluation_rows=7)) == "overfit, 19:55"
    assert shown_name(run("my tulips", "minute")) == "my tulips"


def test_the_nearest_preset_has_the_fewest_changes():
    assert nearest_preset(PRESETS["lesson"].to_dict()) == ("lesson", {})
    assert nearest_preset({**PRESETS["smoke"].to_dict(), "evaluation_rows": 3}) == ("smoke", {"evaluation_rows": 3})
