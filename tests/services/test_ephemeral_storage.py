"""On a Space without storage the page warns that data vanish, and the download that it names works."""

from __future__ import annotations

import zipfile

import gradio as gr
import pytest
from labs import opened

from instruct_tune import lab as lab_module
from instruct_tune.config.viewer import known_by
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.ui import FORGETS, build_ui
from instruct_tune.ui.runs.table import ACTIONS

ANN = known_by("ann's own long secret")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Its own data home, no LAB_DATA_DIR, no Space and no mount; a test changes these through the monkeypatch."""
    monkeypatch.delenv("LAB_DATA_DIR", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setattr(lab_module, "_is_a_mount", lambda folder: False)
    return monkeypatch


def shown(lab) -> dict[str, str]:
    """The value of every component with an id, as text."""
    blocks = build_ui(lab).blocks.values()
    return {
        block.elem_id: str(block.value)
        for block in blocks
        if block.elem_id and isinstance(block, gr.components.Component)
    }


def test_without_storage_the_page_says_so_and_the_download_is_there(machine, tmp_path):
    machine.setenv("SPACE_ID", "somebody/lab")
    with opened(None) as lab:
        assert tmp_path in lab.data_dir.parents
        page = shown(lab)
        assert "runs and uploads vanish" in page["forgets"]
        # The button that the warning names is on the page, and gives every visitor the adapter.
        assert page["runs-export"] == ACTIONS["export"]
        assert f"*{ACTIONS['export']}*" in FORGETS
        put_recorded(lab.store)
        with zipfile.ZipFile(lab.transfers.export(ANN, BEST, tmp_path / "kept.zip")) as archive:
            assert archive.testzip() is None
            assert {"adapter_model.safetensors", "adapter_config.json"} <= set(archive.namelist())


@pytest.mark.slow
@pytest.mark.parametrize("space", [True, False])
def test_where_files_stay_it_says_nothing(machine, space):
    if space:
        machine.setenv("SPACE_ID", "somebody/lab")
        machine.setattr(lab_module, "_is_a_mount", lambda folder: True)
    with opened(None) as lab:
        assert "forgets" not in shown(lab)
        assert "runs-export" in shown(lab)
