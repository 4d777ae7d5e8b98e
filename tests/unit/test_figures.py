"""Plots for print: they show the numbers and the conditions, and markup in a name has no effect."""

import dataclasses
import io
import xml.etree.ElementTree

import pytest
from at_night import at_night_after
from hostile import NAMES
from PIL import Image

from instruct_tune.config.presets import PRESETS
from instruct_tune.errors import DataError
from instruct_tune.export.figures import DOTS_AN_INCH, INCHES, Subject, form_of, loss_plot, save, score_plot, subject
from instruct_tune.store.run import Run

ABOUT = Subject("tulip", "some/model", "fingerprint abc")
TRAIN = [{"kind": "train", "step": step, "loss": 1.0 + step % 2} for step in range(1, 9)]
HELD_OUT = [{"kind": "probe", "step": 4, "probe_loss": 5.0}, {"kind": "eval", "step": 8, "eval_loss": 0.1}]


def report(bleu, ci):
    return {"bleu": bleu, "ci": ci, "signature": "nrefs:1|tok:13a"}


FOUND = {
    "rows": 40,
    "generation": {"max_new_tokens": 96, "max_length": None, "num_beams": 1},
    "base": report(3.4, [0.6, 6.0]),
    "tuned": report(14.7, [9.0, 20.0]),
    "baselines": {},
}


def size(png):
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image.size


def words(svg):
    """The texts in an SVG: matplotlib draws letters as paths, and puts each text in a comment above."""
    builder = xml.etree.ElementTree.TreeBuilder(insert_comments=True)
    tree = xml.etree.ElementTree.fromstring(svg, xml.etree.ElementTree.XMLParser(target=builder))
    return [node.text.strip() for node in tree.iter(xml.etree.ElementTree.Comment)]


def test_a_png_is_fine_enough_for_print():
    expected = tuple(round(side * DOTS_AN_INCH) for side in INCHES)
    assert size(loss_plot(TRAIN, ABOUT)) == size(score_plot(FOUND, ABOUT)) == expected


def test_the_plot_shows_the_metrics():
    plots = {loss_plot(metrics, ABOUT) for metrics in ([], TRAIN, HELD_OUT, TRAIN + HELD_OUT)}
    assert len(plots) == 4


def test_the_losses_say_what_they_are_of():
    texts = words(loss_plot(TRAIN + HELD_OUT, ABOUT, "svg"))
    for expected in (
        "Loss: tulip", "some/model", "fingerprint abc", "optimizer step", "loss (nats a token)",
        "held-out loss, probe rows", "training loss, each batch", "training loss, smoothed",
    ):  # fmt: skip
        assert expected in texts


def test_the_scores_say_their_numbers_and_signature():
    texts = words(score_plot(FOUND, ABOUT, "svg"))
    for expected in (
        "14.7", "3.4", "tuned", "base", "nrefs:1|tok:13a", "fingerprint abc",
        "40 held-out rows · max_new_tokens 96, num_beams 1",
    ):  # fmt: skip
        assert expected in texts
    wider = {**FOUND, "base": report(3.4, [0.6, 9.0])}
    one_row = {**FOUND, "base": report(3.4, None), "tuned": report(14.7, None)}
    assert len({score_plot(evaluation, ABOUT) for evaluation in (FOUND, wider, one_row)}) == 3


def test_a_baseline_that_was_measured_has_a_bar_too():
    evaluation = {**FOUND, "baselines": {"nearest": report(3.9, [2.0, 5.0]), "chat": report(11.2, None)}}
    texts = words(score_plot(evaluation, ABOUT, "svg"))
    for expected in ("11.2", "3.9", "chat template", "nearest row"):
        assert expected in texts
    assert "3 examples" not in texts


@pytest.mark.parametrize("name", at_night_after(5, [*NAMES[::3], *NAMES[1::3], *NAMES[2::3]]))
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_name_is_only_a_name(name):
    about = Subject(name, name, name)
    assert size(loss_plot(TRAIN, about))[0] == size(score_plot(FOUND, about))[0] == INCHES[0] * DOTS_AN_INCH
    drawn = xml.etree.ElementTree.fromstring(loss_plot(TRAIN, about, "svg"))
    assert not {"script", "image", "a"} & {node.tag.rpartition("}")[2] for node in drawn.iter()}


def test_a_subject_names_data_and_weights():
    provenance = {"train_rows": 48, "data_fingerprint": "00e3", "weights_sha256": "a672" * 16}
    config = {**PRESETS["minute"].to_dict(), "model": "some/model"}
    run = Run("i", "tulip", "finished", None, "", 12, 12, 0, 0, config, None, provenance)
    about = subject(run)
    weights = "fingerprint 00e3 · base weights sha256 a672a672a672a672"
    assert (about.name, about.model) == ("tulip", "some/model")
    assert about.measured == f"trained on 48 rows of bundled, {weights}"
    best = dataclasses.replace(run, provenance={**provenance, "kept_step": 3})
    assert subject(best).measured == f"adapter of step 3, trained on 12 of 48 rows of bundled, {weights}"
    elsewhere = dataclasses.replace(run, provenance={"not_imported": "training", "train_rows": 48})
    assert subject(elsewhere).measured.startswith("trained on rows of bundled, fingerprint unknown")


def test_only_a_png_or_an_svg_is_written_and_only_where_one_can_be(tmp_path):
    assert [form_of(tmp_path / name) for name in ("a.png", "a.SVG")] == ["png", "svg"]
    for name in ("a.jpg", "png", "a"):
        with pytest.raises(DataError, match=r"\.png or \.svg"):
            form_of(tmp_path / name)
    with pytest.raises(DataError, match="cannot be written"):
        save(tmp_path / "missing" / "a.png", b"")
