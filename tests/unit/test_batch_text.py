"""The batch view's sentences and tables, for passes of hand-made rows."""

import base64
import json
from dataclasses import replace

from instruct_tune.batching.packing_mode import Packing
from instruct_tune.data.splits import Example
from instruct_tune.inspection.batch_view import StepView, micro_batch
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.tokenization.encode import tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.ui.format.batch_grid import MAX_PASSES, grid_value
from instruct_tune.ui.format.text import HEADERS, pass_title, sentence, table

TOKENIZER = byte_tokenizer()
EXAMPLES = [Example("Say it.", "", answer) for answer in ("one", "</script><b>${1}", "three hundred and something")]
ROWS = tokenize_examples(TOKENIZER, LESSON, EXAMPLES, 1024)


def view(packing=Packing.POSITIONS, budget=10_000, by_rows=True):
    batch = micro_batch(list(enumerate(ROWS)), packing, TOKENIZER, budget)
    return StepView(1, 25, 1, packing, by_rows, budget, (batch,))


def drawn(one):
    return json.loads(base64.b64decode(grid_value(one)["packed"]))


def test_the_sentence_counts_what_was_saved():
    lengths = [len(row.input_ids) for row in ROWS]
    usual = 3 * max(lengths)
    text = sentence(view())
    assert "3 rows in 1 micro-batch, computed in 1 pass of at most 10,000 tokens" in text
    assert f"**{sum(row.supervised for row in ROWS)} of {sum(lengths)} tokens carry loss.**" in text
    assert f"**{1 - sum(lengths) / usual:.0%}** of the places" in text


def test_each_way_says_why():
    assert "positions are enough" in sentence(view())
    assert "within each row's own square" in sentence(view())
    assert "explicit mask" in sentence(view(Packing.MASK, by_rows=False))
    padded = sentence(view(Packing.PADDED, by_rows=False))
    assert "neither positions nor a mask" in padded
    assert "places are padding" in padded
    alone = sentence(view(Packing.ALONE, by_rows=False))
    assert "One row a pass" in alone
    assert "own squares" not in alone


def test_equally_long_rows_have_nothing_to_save():
    batch = micro_batch([(0, ROWS[0]), (1, ROWS[0])], Packing.POSITIONS, TOKENIZER, 10_000)
    assert "nor would there be any" in sentence(replace(view(), batches=(batch,)))


def test_the_table_says_all_that_the_strips_show():
    rows = table(view(budget=1))
    assert [len(row) for row in rows] == [len(HEADERS)] * 3
    assert [row[:2] for row in rows] == [[1, 1], [2, 2], [3, 3]]
    assert rows[0][2:5] == [f"0 to {len(ROWS[0].input_ids) - 1}", len(ROWS[0].input_ids), ROWS[0].supervised]
    assert rows[1][6].endswith("1}<|im_end|>")


def test_what_is_drawn_are_runs_of_what_carries_loss_and_never_markup():
    value = grid_value(view())
    assert "script" not in value["packed"]
    (one,) = drawn(view())["passes"]
    (lane,) = one["lanes"]
    assert [segment["row"] for segment in lane] == [1, 2, 3]
    assert lane[0]["runs"] == [[ROWS[0].prompt_length, False], [ROWS[0].supervised, True]]


def test_padding_is_named_in_the_title_of_its_pass():
    (one,) = view(Packing.PADDED).passes
    assert pass_title(1, one).endswith(f"{one.padding} places of padding")
    assert "padding" not in pass_title(1, view().passes[0])


def test_more_passes_than_are_drawn_are_counted():
    many = replace(view(budget=1), batches=view(budget=1).batches * MAX_PASSES)
    value = drawn(many)
    assert len(value["passes"]) == MAX_PASSES
    assert value["more"].startswith(f"And {2 * MAX_PASSES} more passes")
