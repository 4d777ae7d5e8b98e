"""What a run without a name is called on the page."""

from __future__ import annotations

import re

from instruct_tune.config.presets import PRESETS
from instruct_tune.runs.naming import default_name, nearest_preset


def test_an_unnamed_run_is_called_by_its_preset_and_time():
    assert re.fullmatch(r"minute, \d\d:\d\d", default_name(PRESETS["minute"].to_dict()))
    assert default_name({**PRESETS["overfit"].to_dict(), "evaluation_rows": 7}).startswith("overfit, ")


def test_the_nearest_preset_has_the_fewest_changes():
    assert nearest_preset(PRESETS["lesson"].to_dict()) == ("lesson", {})
    assert nearest_preset({**PRESETS["smoke"].to_dict(), "evaluation_rows": 3}) == ("smoke", {"evaluation_rows": 3})
