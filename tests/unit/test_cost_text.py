"""The cost of a run in words: the sentence beside Start, its details, and the differences from a preset."""

import pytest

from instruct_tune.config.presets import PRESET_NOTES, PRESETS
from instruct_tune.ui.train.presets import OWN_ROWS, cards, changes, keeps_rows
from instruct_tune.ui.train.tab import is_second_click
from instruct_tune.ui.train.text import about, cost_details, cost_sentence, cost_warnings

COST = {
    "rows": 48,
    "dropped": 2,
    "truncated": 0,
    "steps": 12,
    "epochs": 1.0,
    "tokens": 4300,
    "supervised": 2100,
    "parameters": 134_515_008,
    "trainable_parameters": 921_600,
    "memory": {
        "weights": 538_060_032, "adapter": 3_686_400, "gradients": 3_686_400, "optimizer": 7_372_800,
        "activations": 800_000_000, "logits": 50_000_000, "total": 1_402_805_632,
    },
    "disk": 14_745_600,
    "seconds": {
        "load": 0.2, "training": 30.0, "probes": 6.0, "samples": 1.0, "general": 1.0, "evaluations": 2.4, "bleu": 0.0,
        "total": 40.6,
    },
    "speed": "measured on this machine",
    "free_memory": 1_000_000_000,
    "warnings": ["It needs more than there is."],
    "unknown": None,
}  # fmt: skip


def test_the_line_says_it_all():
    assert cost_sentence(COST) == (
        "**12 steps** · 4,300 tokens · 921,600 trainable parameters (0.68%) · about 1.4 GB · "
        "**about 41 s** (measured on this machine)"
    )
    assert cost_warnings(COST) == "⚠ It needs more than there is."


def test_what_is_not_known_is_left_out_with_a_reason():
    nothing = dict.fromkeys(COST, None) | {"steps": 1, "warnings": [], "unknown": "nobody/x is not here yet."}
    assert cost_sentence(nothing) == r"**1 step** · nobody/x is not here yet\."
    assert "Known once" in cost_details(nothing)
    assert cost_warnings(nothing) == ""


def test_a_runs_name_cannot_break_out_of_the_line():
    evil = "from your run <img src=x onerror=alert(1)> [x](javascript:1)"
    line = cost_sentence(COST | {"speed": evil})
    assert r"\<img src=x onerror=alert\(1\)\>" in line
    assert r"\[x\]\(javascript\:1\)" in line


def test_details_name_where_time_memory_and_disk_go():
    table = cost_details(COST)
    for part in (
        "training | 30 s",
        "answers on the way | 1 s",
        "general loss | 1 s",
        "activations of one pass | 800 MB",
        "left out, rows cut | 2, 0",
        "15 MB",
        "1.0 GB",
    ):
        assert part in table
    assert "reading the weights" not in table, "a fifth of a second is not worth a line"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "1 s"), (7.4, "7 s"), (38.2, "38 s"), (132, "2 min 10 s"), (3600, "1 h 0 min"), (40_000, "11 h 6 min")],
)
def test_an_estimate_has_two_digits(seconds, expected):
    assert about(seconds) == expected


def test_changes_are_named_in_the_words_of_the_form():
    minute = PRESETS["minute"].to_dict()
    assert changes(minute, minute) == []
    now = minute | {
        "data": minute["data"] | {"limit": None, "filters": []},
        "lora": minute["lora"] | {"target_modules": ["q_proj", "k_proj"], "r": 32},
        "train": minute["train"] | {"num_train_epochs": 1.0, "learning_rate": 5e-4},
        "template": {"without_input": "{instruction}", "with_input": "{instruction}{input}"},
    }
    assert ", ".join(changes(minute, now)) == (
        "filter without input → none, rows 48 → all, template lesson → custom, rank 16 → 32, "
        "target modules auto → q_proj, k_proj, learning rate 0.002 → 0.0005"
    )


def test_every_preset_has_a_card_with_its_time_where_it_is_known():
    labels = {name: label for label, name in cards({"smoke": "about 3 s here"})}
    assert list(labels) == list(PRESET_NOTES)
    assert labels["smoke"].splitlines() == ["smoke", PRESET_NOTES["smoke"], "About 3 s here"]
    assert labels["minute"].splitlines()[2] == "About 30 s on two idle cores"
    assert len(labels["lesson"].splitlines()) == 2


def test_a_double_click_is_one_wish():
    request = [{"model": "x"}, None, "name"]
    assert not is_second_click(None, request, 10.0)
    assert is_second_click([request, 9.5], [{"model": "x"}, None, "name"], 10.0)
    assert not is_second_click([request, 9.5], [{"model": "y"}, None, "name"], 10.0)
    assert not is_second_click([request, 9.5], [{"model": "x"}, "parent", "name"], 10.0)
    # The first click has cleared the field.
    assert is_second_click([request, 9.5], [{"model": "x"}, None, ""], 10.0)
    assert not is_second_click([request, 9.5], [{"model": "x"}, None, "another"], 10.0)
    assert not is_second_click([request, 5.0], request, 10.0)


def test_a_preset_leaves_a_persons_own_rows_alone():
    assert keeps_rows(PRESETS["quick"], "/data/mine.csv")
    assert not keeps_rows(PRESETS["quick"], "codealpaca-20k")
    assert not keeps_rows(PRESETS["lesson"], "/data/mine.csv"), "the lesson is made for its own rows"
    quick = PRESETS["quick"].to_dict()
    mine = quick | {"data": quick["data"] | {"source": "/data/mine.csv", "filters": [], "limit": 30}}
    assert changes(quick, mine, but=OWN_ROWS) == ["rows 200 → 30"]
