"""A run that answers with other weights of the same model name says so in every result."""

import logging
import shutil

import pytest
from labs import cache_for, finished, opened, smoke
from safetensors.torch import load_file, save_file

from instruct_tune.config.viewer import HOST
from instruct_tune.pretrained.locate import locate
from instruct_tune.ui.compare.text import state_sentence
from instruct_tune.ui.evaluate.text import measured_with, sentence

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = "trained on other weights of the same name"


@pytest.fixture
def folder(tmp_path, tmp_path_factory, monkeypatch):
    """A copy of the tiny model, whose weights a test can replace under the same name."""
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    return shutil.copytree(locate("tiny-random", print).path, tmp_path / "model")


def exchange(folder):
    """Replace the weights by others of the same shapes."""
    file = folder / "model.safetensors"
    save_file({name: value + 0.01 for name, value in load_file(file).items()}, file, {"format": "pt"})


def compare_and_evaluate(lab, run_id):
    """Compare, evaluate and generate with a run; return the comparison, the stored and the streamed evaluation."""
    settings = {"max_new_tokens": 2}
    *_, compared = lab.inference.compare(HOST, run_id, "Say 1", generation=settings)
    *_, evaluated = lab.evaluations.stream(HOST, run_id, 2, settings)
    lab.inference.generate(HOST, run_id, [{"instruction": "Say 1"}], generation=settings)
    return compared, lab.runs.evaluations(HOST, run_id)[0], evaluated


@pytest.mark.slow
def test_a_run_on_other_weights_of_the_same_name_says_so(folder, tmp_path, caplog):
    with opened(tmp_path / "data") as lab:
        run_id = finished(lab, smoke(model=str(folder)))
        compared, kept, evaluated = compare_and_evaluate(lab, run_id)
        assert "warning" not in compared
        assert evaluated["other_weights"] is None
        assert WORDS not in sentence(kept)
        assert WORDS not in caplog.text
        was = evaluated["weights_sha256"]

    exchange(folder)
    with opened(tmp_path / "data") as lab, caplog.at_level(logging.WARNING):
        compared, kept, evaluated = compare_and_evaluate(lab, run_id)
        assert WORDS in state_sentence(compared, {"num_beams": 1, "do_sample": False, "max_new_tokens": 2})
        assert WORDS in evaluated["other_weights"]
        assert WORDS in sentence(kept)
        assert WORDS in caplog.text
        assert was[:8] in evaluated["other_weights"]
        # The evaluation records the weights that answered, not those of the training.
        assert evaluated["weights_sha256"] != was
        provenance = lab.runs.details(HOST, run_id)["facts"]
        assert provenance["weights_sha256"] == was
        assert evaluated["weights_sha256"] in measured_with(kept, provenance, None)


def test_a_folder_that_changes_while_the_lab_is_open_is_read_again(folder, tmp_path):
    def load(pinned=None):
        def work():
            lab.models.evaluating = pinned
            loaded = lab.models.base(str(folder), "auto", print)
            lab.models.evaluating = None
            return loaded

        return lab.queue.run(work)

    with opened(tmp_path / "data") as lab:
        run_id = finished(lab, smoke(model=str(folder)))
        first, tokenizer = load(), lab.tokenizers.get(str(folder))
        assert load() is first
        assert lab.tokenizers.get(str(folder)) is tokenizer
        exchange(folder)
        # A run that trains or is evaluated goes on with the weights that it began with.
        assert load(pinned=run_id) is first
        assert load().weights.sha256 != first.weights.sha256
        *_, compared = lab.inference.compare(HOST, run_id, "Say 1", generation={"max_new_tokens": 2})
        assert WORDS in compared["warning"]
        (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }} it is")
        config = smoke(model=str(folder), template="chat")
        assert "ĠitĠis" in "".join(lab.datasets.mask(HOST, config, "Say 1", "", "1")["tokens"])
