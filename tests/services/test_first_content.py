"""What a new page shows before slow imports are done equals what the lab computes.

The tokens are those of the real model: tests/services/test_real_model.py compares them.
"""

import dataclasses
import json
from pathlib import Path

import pytest

from instruct_tune.config.presets import PRESETS
from instruct_tune.config.viewer import HOST
from instruct_tune.inspection.first_content import (
    PRESET_NAMES,
    ROWS,
    FirstContent,
    first_content,
    recorded_rows,
    recorded_tokens,
)
from instruct_tune.inspection.token_view import Role
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.ui import first_preset

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")
MINUTE = PRESETS["minute"]


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_the_recorded_rows_are_those_that_the_lab_loads(lab, name):
    recorded = first_content(name)
    assert recorded.summary == lab.datasets.summary(HOST, PRESETS[name])
    assert recorded.rows == lab.datasets.page(HOST, PRESETS[name], size=ROWS)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_the_recorded_tokens_spell_the_first_row(name):
    recorded = first_content(name)
    row, tokens = recorded.rows.rows[0][1], recorded.tokens.tokens
    prompt = LESSON.render(row.instruction)
    assert "".join(token.text for token in tokens) == f"{prompt}{row.output}<|im_end|>"
    assert "".join(token.text for token in tokens if not token.loss) == prompt
    assert tokens[-1].role is Role.EOS


def test_it_is_recorded_for_every_preset_that_a_page_begins_with(monkeypatch):
    for has_gpu in (False, True):
        monkeypatch.setattr(first_preset, "wants_cpu", lambda: False)
        monkeypatch.setattr(Path, "exists", lambda self, there=has_gpu: there)
        assert first_preset.first_preset() in PRESET_NAMES


def test_reading_what_was_written_gives_it_back():
    content = first_content("minute")
    assert FirstContent.from_dict(json.loads(json.dumps(content.to_dict()))) == content


def changed(section, **settings):
    return dataclasses.replace(MINUTE, **{section: dataclasses.replace(getattr(MINUTE, section), **settings)})


def test_other_rows_have_no_recorded_content():
    assert recorded_rows(MINUTE) == first_content("minute")
    assert recorded_rows(dataclasses.replace(MINUTE, model="some/model", template="chat")) == first_content("minute")
    for settings in ({"filters": ()}, {"limit": 3}, {"seed": 1}, {"source": "rows.json"}):
        assert recorded_rows(changed("data", **settings)) is None


def test_other_tokens_have_no_recorded_content():
    tokens = first_content("minute").tokens
    assert recorded_tokens(MINUTE) == tokens
    # These change later rows only, or nothing that is shown.
    assert recorded_tokens(changed("data", limit=3)) == tokens
    assert recorded_tokens(changed("train", num_train_epochs=9)) == tokens
    other = (
        dataclasses.replace(MINUTE, model="some/model"),
        dataclasses.replace(MINUTE, template="alpaca"),
        changed("data", filters=()),
        changed("data", seed=1),
        changed("train", max_length=20),
        changed("train", overlong="truncate"),
    )
    assert [recorded_tokens(config) for config in other] == [None] * len(other)
