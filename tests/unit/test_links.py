"""Links: what is written is read again, and a fault is one sentence."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import parse_qsl

import pytest
from gradio.context import LocalContext
from hypothesis import given, settings
from hypothesis import strategies as st

from instruct_tune.config.presets import PRESETS
from instruct_tune.errors import DataError, SettingsError
from instruct_tune.lesson.links import (
    LONGEST_ADDRESS,
    Link,
    configured,
    read_link,
    require_short,
    settings_over,
    text_of,
    write_link,
)
from instruct_tune.ui.links.limits import Opened, counted, limits_of_link
from instruct_tune.ui.links.making import made_link, read_lines
from instruct_tune.ui.links.strip import _remembered

TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=30)
COLUMNS = st.fixed_dictionaries({"instruction": st.just("a"), "input": st.none(), "output": TEXTS.filter(str.strip)})
VALUES = {
    "model": st.sampled_from(["tiny-random", "123", "null", "true", "gpt2", '"quoted"', "[a]", "a b&c=d#e+f%20"]),
    "data.limit": st.none() | st.integers(1, 10_000_000),
    "data.filters": st.lists(st.fixed_dictionaries({"step": st.just("keep_rows"), "rows": st.just(["r1", "r2"])}))
    | st.just([{"step": "regex", "column": "output", "pattern": "a&b=c|d", "keep": False}]),
    "data.columns": COLUMNS.filter(lambda columns: columns["output"] != "a"),
    "data.unify_newlines": st.booleans(),
    "template": st.sampled_from(["lesson", "alpaca"]),
    "lora.use_rslora": st.booleans(),
    "lora.target_modules": st.sampled_from(["auto", "all-linear", ["q_proj"], [".*v_proj"], "q|v"]),
    "train.learning_rate": st.floats(1e-8, 1),
    "train.bf16": st.sampled_from([True, False, "auto"]),
    "train.own_prompts": st.lists(TEXTS.filter(str.strip), max_size=2),
    "train.max_steps": st.integers(1, 1000),
    "generation.stop": st.lists(TEXTS, max_size=3),
    "evaluation_rows": st.none() | st.integers(1, 100),
}


def opened(query):
    """What a browser's address gives."""
    return read_link(dict(parse_qsl(query, keep_blank_values=True)))


@given(st.sampled_from(list(PRESETS)), st.fixed_dictionaries({}, optional=VALUES))
@settings(deadline=None, max_examples=60)
def test_the_link_of_a_configuration_gives_it(preset, changed):
    try:
        config = configured(preset, changed)
    except SettingsError:
        return
    link = opened(write_link(Link(preset, settings_over(preset, config))))
    assert configured(link.preset, link.settings) == config


def test_the_strategies_make_valid_configurations():
    config = configured("minute", {"data.columns": {"instruction": "a", "input": None, "output": "b"}, "model": "123"})
    assert settings_over("minute", config)["model"] == "123"
    assert settings_over("minute", configured("minute", {})) == {}


@given(st.text() | st.integers() | st.floats(allow_nan=False) | st.none() | st.booleans() | st.lists(st.text()))
def test_a_value_is_read_as_it_was_written(value):
    assert read_link({"set.x": text_of(value)}).settings == {"x": value}


def test_every_part_of_a_link_is_read_again():
    link = Link("minute", {"lora.r": 8}, {"train.seed": "hidden", "model": "a|b"}, "Train", "week1", 3, "ABC234")
    query = write_link(link)
    assert opened(query) == link
    assert query == (
        "room=ABC234&preset=minute&set.lora.r=8&lock.train.seed=hidden&lock.model=a|b&tab=Train&path=week1&step=3"
    )
    assert opened("tab=compare&run=x&exhibit=curve") == Link(tab="compare")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("preset=nope", "no preset"),
        ("set.lora.rr=3", "lora.rr"),
        ("set.train.learning_rate=7", "train.learning_rate must be"),
        ("set.data=5&set.data.limit=5", "data is not a section"),
        ("lock.lora.rr=fixed", "about no setting"),
        ("lock.lora.r=open", "must be fixed, hidden"),
        ("set.lora.r=64&lock.lora.r=4..8", "own settings break its locks"),
        ("step=-1", "whole number from 1"),
        ("step=" + "9" * 5000, "whole number from 1"),
        ("&".join(f"set.a{at}=1" for at in range(101)), "at most 100"),
        ("set.data.filters=" + "[" * 100_000, "data.filters"),
        ("set." + "a." * 2000 + "b=1", "is not a setting"),
    ],
)
def test_a_faulty_link_is_refused_with_a_message(query, message):
    with pytest.raises(SettingsError, match=message):
        limits_of_link(opened(query))


def test_a_long_address_is_refused_with_what_is_long():
    require_short("set.a=" + "x" * (LONGEST_ADDRESS - 300))
    with pytest.raises(DataError, match=r"shorten data\.filters, which takes 8,0"):
        require_short("preset=minute&set.data.filters=" + "x" * 8000)


def test_what_is_fixed_is_set_and_what_has_a_limit_is_checked():
    limits = limits_of_link(opened("preset=smoke&lock.lora.r=hidden&lock.train.learning_rate=0.001..0.01&set.lora.r=5"))
    form = {"lora": {"r": 64}, "train": {"learning_rate": 0.005}}
    assert limits.hold(form) == {"lora": {"r": 5}, "train": {"learning_rate": 0.005}}
    assert form["lora"]["r"] == 64
    with pytest.raises(SettingsError, match=r"between 0\.001 and 0\.01"):
        limits.hold({"train": {"learning_rate": 0.5}})


def test_locks_are_counted():
    assert counted({}) == ""
    assert counted({"a": "fixed"}) == "1 setting is fixed"
    assert counted({"a": "fixed", "b": " hidden", "c": "1..2", "d": "x|y"}) == (
        "1 setting is fixed, 1 is hidden, 2 have limits"
    )


def test_lines_name_settings_by_label_or_name():
    labels = {"train.learning_rate": "Learning rate", "lora.r": "Rank"}
    lines = "learning rate: 0.001..0.01\n\n lora.r : 4|8 \nmodel: a:b|c"
    assert read_lines(lines, labels) == {"train.learning_rate": "0.001..0.01", "lora.r": "4|8", "model": "a:b|c"}
    for wrong in ("Rank", "Rank:", ": 4|8\nRank"):
        with pytest.raises(SettingsError):
            limits_of_link(Link("smoke", {}, read_lines(wrong, labels)))


@pytest.mark.parametrize(
    ("query", "link"),
    [
        ("preset=smoke&lock.lora.r=4..64", Link("smoke", {}, {"lora.r": "4..64"})),
        ("exhibit=xray&preset=smoke", None),
        ("preset=smoke&set.lora.r=9&lock.lora.r=4..8", None),
        ("lock.lora.r=nonsense", None),
        ("", None),
    ],
)
def test_a_lab_that_was_started_again_reads_the_address_of_a_page(query, link):
    mark = LocalContext.request.set(SimpleNamespace(query_params=dict(parse_qsl(query))))
    try:
        assert _remembered(Opened()) == Opened(link or Link())
        # What the page was opened with is known: its address may be another by now.
        assert _remembered(Opened(fault="A fault.")) == Opened(fault="A fault.")
    finally:
        LocalContext.request.reset(mark)
    assert _remembered(Opened()) == Opened()


def test_a_made_link_has_no_prompt_file_or_folder_of_its_maker():
    own = configured("smoke", {"train.own_prompts": ["my secret"], "lora.r": 9})
    assert made_link("smoke", own, {}, {"open": True, "step": 2, "name": "week1"}) == (
        "preset=smoke&set.lora.r=9&path=week1&step=3"
    )
    assert "secret" in made_link("smoke", own, {"train.own_prompts": "fixed"}, None)
    assert made_link("smoke", own, {}, {"open": False, "step": 2}) == "preset=smoke&set.lora.r=9"
    for settings_ in ({"data.source": "/home/me/rows.json"}, {"model": "/home/me/model"}):
        with pytest.raises(DataError, match="cannot be in a link"):
            made_link("smoke", configured("smoke", settings_), {}, None)
