"""The batch view shows the passes of training, position by position, and keeps rows apart as training does."""

import pytest
import torch
from labs import finished, smoke
from toys import toy_config, toy_model

from instruct_tune.batching.packing_mode import Packing
from instruct_tune.batching.packing_trial import detect_packing
from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import Example
from instruct_tune.errors import DataError
from instruct_tune.inspection.batch_view import micro_batch, packing_of
from instruct_tune.kernels.attention import attend_by_rows
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.tokenization.encode import IGNORE, tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.training import trainer

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENIZER = byte_tokenizer()
TEXTS = ["one", "twenty-two", "three hundred", "4"]
ROWS = tokenize_examples(TOKENIZER, LESSON, [Example(f"Say {n}", "", n) for n in TEXTS], 1024)
NUMBERED = list(zip((7, 3, 9, 5), ROWS, strict=True))
LENGTHS = [len(row.input_ids) for row in ROWS]


def test_each_step_is_what_training_computes(lab, monkeypatch):
    config = smoke(train={"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "max_length": 400})
    computed = []
    real = trainer.supervised_loss

    def recording(model, pack, separable):
        if torch.is_grad_enabled():
            computed.append(pack)
        return real(model, pack, separable)

    monkeypatch.setattr(trainer, "supervised_loss", recording)
    run = lab.training.status(HOST, finished(lab, config))
    shown = [lab.estimates.step_view(HOST, config, step) for step in range(1, run["total_steps"] + 1)]
    passes = [each for step in shown for each in step.passes]
    assert len(passes) == len(computed) > run["total_steps"]
    for one, pack in zip(passes, computed, strict=True):
        (lane,) = one.lanes
        assert [position for row in lane for position in row.positions] == pack["position_ids"][0].tolist()
        assert [loss for row in lane for loss in row.loss] == (pack["labels"][0] != IGNORE).tolist()
        assert one.tokens == one.width == pack["input_ids"].shape[1]
    assert {step.steps for step in shown} == {run["total_steps"]}
    assert sum(step.supervised for step in shown) == sum(len(pack["kept"]) for pack in computed)


def test_rows_are_called_by_their_number_among_the_training_rows(lab):
    config = smoke(train={"max_length": 300, "overlong": "drop"})
    for segment in [segment for each in lab.estimates.step_view(HOST, config).passes for segment in each.segments]:
        row = lab.datasets.training_row(HOST, config, segment.row)
        mask = lab.datasets.mask(HOST, config, row.instruction, row.input, row.output)
        assert (segment.length, segment.supervised) == (len(mask["input_ids"]), mask["supervised"])


def test_a_second_epoch_has_another_order(lab):
    config = smoke(train={"num_train_epochs": 2, "max_steps": -1})
    one = lab.estimates.step_view(HOST, config)
    other = lab.estimates.step_view(HOST, config, one.steps // 2 + 1)
    assert (one.epoch, other.epoch) == (1, 2)
    assert [s.row for each in one.passes for s in each.segments] != [
        s.row for each in other.passes for s in each.segments
    ]


@pytest.mark.parametrize("step", [0, 10_000])
def test_a_step_that_is_not_there_is_refused(lab, step):
    with pytest.raises(DataError, match=r"There is no step .*: with these settings a run has steps 1 to"):
        lab.estimates.step_view(HOST, smoke(), step)


def test_no_row_that_fits_is_an_error(lab):
    with pytest.raises(DataError, match=r"No row fits into train\.max_length 8"):
        lab.estimates.step_view(HOST, smoke(train={"max_length": 8}))


def test_packed_rows_lie_end_to_end_and_their_positions_begin_again():
    (one,) = micro_batch(NUMBERED, Packing.POSITIONS, TOKENIZER, 10_000).passes
    assert [segment.row for segment in one.segments] == [7, 3, 9, 5]
    assert [segment.start for segment in one.segments] == [0, *torch.tensor(LENGTHS).cumsum(0).tolist()[:-1]]
    assert all(segment.positions == tuple(range(segment.length)) for segment in one.segments)
    assert one.padding == 0


def test_padded_rows_have_a_lane_each_and_their_padding_is_counted():
    (one,) = micro_batch(NUMBERED, Packing.PADDED, TOKENIZER, 10_000).passes
    by_length = sorted(NUMBERED, key=lambda each: len(each[1].input_ids))
    assert [[segment.row for segment in lane] for lane in one.lanes] == [[number] for number, _ in by_length]
    assert one.padding == len(ROWS) * max(LENGTHS) - sum(LENGTHS)


def test_what_a_padded_batch_would_waste_is_counted_to_the_longest_row():
    batch = micro_batch(NUMBERED, Packing.POSITIONS, TOKENIZER, max(LENGTHS))
    assert len(batch.passes) > 1
    assert batch.padded - batch.tokens == len(ROWS) * max(LENGTHS) - sum(LENGTHS)


def test_a_rows_ends_are_its_tokens_with_their_positions():
    (one,) = micro_batch(NUMBERED, Packing.MASK, TOKENIZER, 10_000).passes
    first, second = one.segments[:2]
    assert "".join(token.text for token in first.last) == "one<|im_end|>"
    assert [token.position for token in first.last] == [*range(first.length - 4, first.length)]
    assert all(token.loss for token in first.last)
    assert [(token.position, token.loss) for token in second.first] == [(at, False) for at in range(4)]


def test_the_same_row_twice_is_two_segments():
    twice = [(1, ROWS[0]), (2, ROWS[0])]
    (one,) = micro_batch(twice, Packing.POSITIONS, TOKENIZER, 10_000).passes
    assert [segment.row for segment in one.segments] == [1, 2]


@pytest.mark.parametrize(
    ("name", "device", "found"),
    [
        ("llama", "cpu", (Packing.POSITIONS, True)),
        ("llama", "cuda", (Packing.POSITIONS, False)),
        # Row-by-row attention keeps rows apart even in architectures that ignore position ids.
        ("opt", "cpu", (Packing.POSITIONS, True)),
        ("opt", "cuda", (Packing.MASK, False)),
        ("rwkv", "cpu", (Packing.PADDED, False)),
    ],
)
def test_how_rows_are_kept_apart_is_tried_on_the_models_own_configuration(name, device, found, tmp_path, monkeypatch):
    monkeypatch.setattr("instruct_tune.inspection.batch_view.best_device", lambda: device)
    toy_config(name).save_pretrained(tmp_path)
    assert packing_of(tmp_path) == found
    if device == "cpu":
        model = toy_model(name)
        attend_by_rows(model, device)
        assert detect_packing(model.config).packing is found[0], "as load_model finds it"
