"""The page's structure, as gradio sends it to the browser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from labs import opened

from instruct_tune.ui import build_ui


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> dict[str, Any]:
    with opened(tmp_path_factory.mktemp("layout")) as lab:
        return build_ui(lab).get_config_file()


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("children") or ():
        yield from nodes(child)


def test_tabs_hold_tabs_alone(config):
    """gradio counts another child as a tab before those that follow, and draws these twice once they are opened."""
    kinds = {component["id"]: component["type"] for component in config["components"]}
    found = [node for node in nodes(config["layout"]) if kinds.get(node["id"]) == "tabs"]
    assert len(found) > 5
    assert {kinds[child["id"]] for node in found for child in node["children"]} == {"tabitem"}


def test_an_empty_number_box_has_no_null(config):
    """The browser turns null into 0 as soon as it draws the box."""
    boxes = [component["props"] for component in config["components"] if component["type"] == "number"]
    assert len(boxes) > 20
    assert [box["label"] for box in boxes if box["value"] is None] == []
    assert {box["label"] for box in boxes if box["value"] == ""} >= {"Patience", "Prompt and answer", "Longest answer"}


def test_no_two_components_have_one_id(config):
    ids = [component["props"]["elem_id"] for component in config["components"] if component["props"].get("elem_id")]
    assert [each for each, count in Counter(ids).items() if count > 1] == []
