"""The slow tests of tests/browser/test_journey_format.py, for the nightly run."""

from __future__ import annotations

import json

import pytest
from browser import Window, chromium, serving
from test_journey_format import served
from toy_hub import ToyHub, serving_hub

from instruct_tune.pretrained.tiny_random import byte_tokenizer


def test_a_tokenizer_of_the_hub_is_followed_and_cancelled(served, tmp_path):
    """The model's weights are not requested: showing a row needs none."""
    folder = tmp_path / "model"
    byte_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 259}))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["vocab.json"] = b"{}" + b" " * 4_000_000
    hub = ToyHub({}, pause=0.3, models={"some/model": files | {"model.safetensors": b"\0" * 1000}})
    with (
        serving_hub(hub) as endpoint,
        serving(tmp_path / "data", HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path / "hub")) as address,
    ):
        window = Window(served[0], address)
        window.tab("Train")
        window.page.fill("#train-model input", "some/model")
        window.page.keyboard.press("Enter")
        window.tab("Format")
        window.wait_text("#format-sentence", "some/model is not on this machine")
        window.page.click("#format-show")
        assert "MB/s" in window.wait_text("#format-phase", "some/model")
        window.shot("format-arrival")
        window.page.click("#format-cancel")
        window.page.wait_for_function("!document.querySelector('#format-cancel')?.checkVisibility()")
        assert "is not on this machine" in window.text("#format-sentence")

        hub.pause = 0.0
        window.page.click("#format-show")
        window.wait_text("#format-sentence", "tokens carry loss")
        assert not window.page.is_visible("#format-cancel")
        assert not window.page.is_visible("#format-show")
        assert not any("model.safetensors" in request for request in hub.requests)
        assert window.errors == []
        window.close()
