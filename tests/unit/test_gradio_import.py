"""gradio is imported without its type stubs, and nothing of it is missing."""

from __future__ import annotations

import contextlib
import inspect
import json
import subprocess
import sys

import gradio
import pytest
from gradio import component_meta

from instruct_tune.ui.gradio_import import without_stubs


@pytest.fixture
def made(monkeypatch):
    """The classes for which a stub is made."""
    made: list[str] = []
    monkeypatch.setattr(component_meta, "create_pyi", lambda code, events: made.append(code.split("\n")[0]) or "")
    monkeypatch.setattr(component_meta.Path, "write_text", lambda path, text: None)
    return made


def test_a_class_of_gradio_gets_no_stub_and_another_component_does(made):
    class Box(gradio.Textbox):
        """A component of somebody else."""

    made.clear()
    with without_stubs():
        component_meta.create_or_modify_pyi(gradio.Textbox, "Textbox", [])
        assert made == []
        component_meta.create_or_modify_pyi(Box, "Box", [])
        assert made == ["class Box(gradio.Textbox):"]
    component_meta.create_or_modify_pyi(gradio.Textbox, "Textbox", [])
    assert len(made) == 2


def test_inspect_is_as_it_was_also_after_a_fault():
    find = inspect.getfile
    with without_stubs():
        assert inspect.getfile(json) == json.__file__
    with contextlib.suppress(KeyError), without_stubs():
        raise KeyError
    assert inspect.getfile is find
    assert inspect.getfile(gradio.Textbox).endswith("textbox.py")


@pytest.mark.slow
def test_the_pages_own_import_makes_none():
    """But for the page's own ``gr.Blocks``, which is defined after the import."""
    script = """
import pathlib, sys
made = []
pathlib.Path.write_text = lambda path, text: None
class Watch:
    def find_spec(self, name, path, target=None):
        if name == "gradio.components.base":
            import gradio.component_meta as meta
            meta.create_pyi = lambda code, events: made.append(code) or ""
sys.meta_path.insert(0, Watch())
import instruct_tune.ui
import gradio.component_meta as meta
assert meta.create_pyi.__name__ == "<lambda>"
print(*(code.partition(":")[0] for code in made), sep=", ")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "class BlocksEvents"
