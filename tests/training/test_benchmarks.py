"""Every benchmark of ``python -m benchmarks`` measures what its name states, on the smallest model and the fewest
rows."""

import json
import re
import subprocess
from dataclasses import replace

import pytest
import torch
from labs import opened
from PIL import Image
from transformers import AutoModelForCausalLM, OPTConfig

from benchmarks import __main__ as command
from benchmarks import (
    compare,
    data,
    evaluation,
    growth,
    lesson_shape,
    measure,
    memory,
    merging,
    neighbours,
    peak,
    profile,
    recording,
    report,
    viewers,
    waits,
)
from benchmarks.measure import Row, Spread, alternating
from benchmarks.ours import Trained
from benchmarks.stock import padded
from benchmarks.workload import Setting, Workload
from instruct_tune.config.presets import PRESETS
from instruct_tune.config.viewer import HOST
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample

# Each test starts processes that import torch, which takes seconds.
pytestmark = pytest.mark.slow

SMALLEST = Setting(
    model="tiny-random", rows=4, prompts=4, stock_prompts=2, new_tokens=4, repeat=1, viewers=2, window_seconds=1.5,
    growth=2, data_rows=400, file_rows=20_000,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick(one_thread):
    """Toy models on one thread, and a peak measured on a small product."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peak, "SIDES", {"cpu": (256,), "cuda": (256,)})
        yield


@pytest.fixture(scope="module")
def work():
    return Workload(SMALLEST)


def test_training_is_measured_all_three_ways_on_the_same_rows(work):
    rows = list(compare.training(work))
    assert len(rows) == 8
    for row in rows[0], rows[4]:
        loss = row.details["mean_loss"]
        assert set(loss) == {compare.LAB, compare.SFT, compare.LOOP}
        assert max(loss.values()) - min(loss.values()) < 0.05
        assert row.lab.median * row.details["seconds"][compare.LAB][0] == pytest.approx(row.details["tokens"])
    assert 0 < rows[3].lab.median < 100
    assert rows[2].lab.median < rows[0].lab.median, "fewer tokens are supervised than read"


@pytest.mark.parametrize("way", memory.WAYS)
def test_a_step_says_how_much_memory_the_process_has_had(way):
    assert 50 * 2**20 < memory.train_a_step(way, 2, SMALLEST) < 64 * 2**30


def test_each_way_of_training_is_measured_in_a_process_of_its_own(work, monkeypatch):
    ran = []

    def fake(command, **options):
        ran.append(command[3:5])
        assert Setting(**json.loads(command[5])) == SMALLEST
        return subprocess.CompletedProcess(command, 0, f"output\n{len(ran) * 2**20}\n", "")

    monkeypatch.setattr(memory.subprocess, "run", fake)
    rows = list(memory.memory(work))
    assert ran == [[way, batch] for batch in "82" for way in memory.WAYS]
    assert [(row.lab.median, row.stock.median, row.ratio.median) for row in rows[:2]] == [(1, 2, 2), (1, 3, 3)]


def test_what_a_person_waits_for_before_a_training_is_measured_on_as_many_rows_as_requested(work):
    report_, *ledgers, first, peak_ = data.data(work)
    assert [row.what.split(" rows")[0] for row in (report_, *ledgers)] == ["report on 400", *["ledger of 400"] * 2]
    assert first.details["estimate"] == pytest.approx(20_000, rel=0.1)
    assert first.lab.median < 60
    assert 20 < peak_.lab.median < 1000


@pytest.mark.parametrize("line", [compare.greedy, compare.beams])
def test_both_sides_say_the_same(work, line):
    (row,) = line(work)
    assert row.details == {"pipeline": 2, "lab": 4, "same_texts": 2}
    assert "2 of 4 prompts" in row.what


def test_useful_operations_are_those_of_linear_layers_and_of_the_head_where_there_is_loss(work):
    base = work.subject.loaded.base
    head = base.get_output_embeddings().weight.numel()
    # Two layers of a Llama 64 wide with half as many key and value heads and a feed-forward part of 128.
    body = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 64 * 128 * 3)
    assert peak.training_operations(base, 100, 7) == 4 * (100 * body + 7 * head)


def test_rows_are_padded_as_everybody_does():
    rows = [TokenizedExample((5, 6, 7), (IGNORE, 6, 7), 1, 0), TokenizedExample((8, 9), (IGNORE, 9), 1, 0)]
    batch = padded(rows, 2)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[IGNORE, 6, 7], [IGNORE, 9, IGNORE]]


def test_repetitions_alternate():
    order = []
    results = alternating({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b", "a", "b"]
    assert results == {"a": [None] * 2, "b": [None] * 2}
    assert Spread.ratio([4.0, 9.0, 5.0], [1.0, 3.0, 1.0]) == Spread(5.0, 3.0, 5.0)


def test_the_command_prints_a_table_and_writes_json_and_a_plot(tmp_path, capsys, monkeypatch):
    curve = Row("growth with rows", Spread(1, 1, 1), curve=((8, 0.1), (16, 0.2)))
    speed = Row("training", Spread(488, 480, 490), Spread(71, 70, 72), Spread(6.9, 6.5, 7.1), wanted="3.5")

    def line(work):
        """A line"""
        yield from (speed, curve)

    monkeypatch.setattr(command, "LINES", (line,))
    out = {name: tmp_path / name for name in ("b.json", "b.png")}
    command.main(["line", "--rows", "5", "--json", str(out["b.json"]), "--plot", str(out["b.png"])])
    printed = capsys.readouterr().out
    assert report.HEAD in printed
    assert "| training | 71.0 | 488 | 6.90 (6.50–7.10) | 3.5 |\n" in printed
    written = json.loads(out["b.json"].read_text())
    assert written["setting"]["rows"] == 5
    assert written["rows"][0]["ratio"] == {"median": 6.9, "low": 6.5, "high": 7.1}
    assert Image.open(out["b.png"]).width > 600


def test_quick_is_less_of_everything_and_flags_win(monkeypatch):
    seen = []
    monkeypatch.setattr(command, "measured", lambda names, setting: seen.append(setting) or iter(()))
    command.main(["--quick", "--repeat", "2"])
    assert seen[0] == replace(command.QUICK, repeat=2)
    assert command.QUICK.rows < Setting().rows


def test_an_unknown_line_is_reported(capsys):
    with pytest.raises(SystemExit):
        command.parsed(["trainig"])
    assert "trainig: known are peak, training" in capsys.readouterr().err


def test_growth_is_measured_along_every_axis(monkeypatch):
    monkeypatch.setattr(growth, "lab_trains", lambda subject, rows, batch, lora: Trained(len(rows) ** 2, 1.0))
    *rows, memory_ = growth.growth(Workload(SMALLEST))
    assert [row.what.partition(",")[0] for row in rows] == [f"growth with {name}" for name in growth.CALLED.values()]
    assert rows[0].curve == ((50, 2500), (200, 40_000))
    assert [row.lab.median for row in rows] == pytest.approx([2, 0, 0, 0, 0])
    assert (memory_.what, memory_.wanted) == ("memory that an epoch of 200 rows leaves behind", "0")
    assert abs(memory_.lab.median) < 50


def test_a_point_of_growth_is_a_real_training():
    assert growth.prepared(growth.Point(rows=2, length=16, batch=2, r=2, width=64))() > 0


def test_the_lessons_shape_is_measured_and_its_ten_epochs_extrapolated(work, monkeypatch):
    sizes = {"hidden_size": 64, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_attention_heads": 4}
    small = OPTConfig(vocab_size=300, num_hidden_layers=2, **sizes)
    monkeypatch.setattr(lesson_shape, "shape", lambda: small)
    *rows, whole = lesson_shape.lesson_shape(work)
    assert len(rows) == 4
    an_epoch = 7811 * rows[0].details["tokens"] / rows[0].details["rows"]
    assert whole.lab.median == pytest.approx(10 * an_epoch / rows[0].lab.median / 60)
    assert whole.lab.low <= whole.lab.median <= whole.lab.high


def test_the_lessons_shape_is_opt_350ms():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(lesson_shape.shape())
    assert model.num_parameters() == 331_196_416


def test_without_a_gpu_the_lessons_shape_is_left_out_unless_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def lesson_shape(work):
        yield "lesson"

    monkeypatch.setattr(command, "LINES", (lesson_shape,))
    monkeypatch.setattr(command, "LONG", (lesson_shape,))
    assert list(command.measured([], SMALLEST)) == []
    assert list(command.measured(["lesson_shape"], SMALLEST)) == ["lesson"]


def test_a_windows_speed_is_of_whole_steps_and_of_all_that_lies_between_them():
    steps = [{"kind": "train", "time": at, "tokens": 100} for at in (1.0, 2.0, 3.0, 5.0, 9.0)]
    assert viewers.tokens_per_second(steps, 1.5, 6.0) == pytest.approx(200 / 3)
    with pytest.raises(RuntimeError, match="window_seconds"):
        viewers.tokens_per_second(steps, 4.0, 6.0)


def test_the_noise_is_between_windows_that_were_measured_alike():
    # The order is without, with, with, without, without, with: windows 2 and 3 measure the same case, and so do 4 and
    # 5.
    assert viewers.noise([100, 50, 51, 100, 98, 49]) == pytest.approx(2)


def test_the_interval_of_a_median_leaves_out_what_chance_allows():
    assert measure.Spread.interval(range(1, 13)) == measure.Spread(6.5, 3, 10)
    assert measure.Spread.interval([5, 1, 3]) == measure.Spread(3, 1, 5)
    assert measure.Spread.interval([7]) == measure.Spread(7, 7, 7)


def test_the_peak_is_what_a_product_reaches():
    assert 1e8 < peak.matmul_peak(torch.device("cpu"), torch.float32) < 1e14


@pytest.mark.parametrize(
    ("operator", "shapes", "kind"),
    [
        ("mkldnn::_linear_pointwise", [[1, 503, 576], [1536, 576], [], []], profile.FROZEN),
        ("aten::mm", [[503, 576], [576, 1536]], profile.FROZEN),
        ("aten::mm", [[148, 49152], [49152, 576]], profile.FROZEN),
        ("aten::addmm", [[768], [503, 768], [768, 2304], [], []], profile.FROZEN),
        ("mkldnn::_linear_pointwise", [[1, 503, 576], [16, 576], [], []], profile.LORA),
        ("aten::mm", [[503, 576], [576, 16]], profile.LORA),
        ("aten::mm", [[16, 503], [503, 576]], profile.LORA),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", [[1, 9, 16, 64]], "attention"),
        ("aten::_log_softmax", [[148, 49152], [], []], "the loss"),
        ("aten::silu", [[1, 503, 1536]], profile.REST),
        ("aten::mul", [[1, 503, 16], []], profile.REST),
    ],
)
def test_an_operator_is_known_by_its_name_and_its_shapes(operator, shapes, kind):
    assert profile.kind_of(operator, shapes, rank=16) == kind


def test_the_parts_of_a_step_are_all_of_it(work):
    *parts, speed = profile.profile(work)
    assert sum(row.lab.median for row in parts) == pytest.approx(100)
    assert {"products of frozen layers", "attention"} <= {row.what.removeprefix("of a step's time: ") for row in parts}
    assert speed.lab.median > 0


def test_merging_is_measured_against_the_adapter_beside_the_weights(work):
    pairs, tuned = merging.merging(work)
    assert pairs.lab.median > 0 < tuned.stock.median
    assert pairs.ratio.low <= pairs.ratio.median <= pairs.ratio.high


def test_an_evaluation_is_measured_whole_and_to_its_first_number(work):
    whole, first = evaluation.evaluation(work)
    assert "4 rows × 2" in whole.what
    assert 0 < first.lab.median <= whole.lab.median
    assert whole.stock.median > 0


def test_the_pages_start_is_measured_beside_gradios_import(work, monkeypatch):
    monkeypatch.setattr(waits, "seconds_to_start", lambda repeat: [2e6])
    (row,) = waits.page_start(work)
    assert (row.lab.median, row.ratio.median) == (2e6, row.stock.median / 2e6)
    assert 0.3 < row.stock.median < 300


def test_the_first_step_is_measured_on_a_warm_and_on_a_new_lab(work, monkeypatch):
    monkeypatch.setattr(waits, "seconds_to_first_step", lambda repeat, warm: [4.0 if warm else 9.0] * repeat)
    assert [(row.lab.median, row.wanted) for row in waits.first_step(work)] == [(4, "5 s"), (9, "15 s")]


def test_an_idle_lab_is_measured_beside_a_plain_gradio_page(work, monkeypatch):
    monkeypatch.setattr(waits, "WARM_UP_SECONDS", 1)
    monkeypatch.setattr(waits, "WATCHED_SECONDS", 1)
    monkeypatch.setattr(waits, "page_share", lambda address: 0.5)
    monkeypatch.setattr(waits, "serving", waits._bare_page)
    server, page = waits.idle(work)
    assert 0 <= server.lab.median < 100
    assert server.details["more"] == [server.lab.median - server.stock.median]
    assert (page.lab.median, page.details["more"]) == (50, [0])


def test_each_wait_policy_is_measured_alone_and_beside_another_training(work, monkeypatch):
    speed = {(1, "300000"): 120, (1, "10000"): 118, (1, None): 100, (2, "300000"): 20, (2, "10000"): 40, (2, None): 80}
    monkeypatch.setattr(
        neighbours, "at_once", lambda processes, policy, setting: speed[processes, policy.get("GOMP_SPINCOUNT")]
    )
    rows = list(neighbours.neighbours(work))
    assert [(row.lab.median, row.stock.median, row.ratio.median) for row in rows] == [
        (118, 120, pytest.approx(118 / 120)), (100, 120, pytest.approx(100 / 120)), (40, 20, 2), (80, 20, 4),
    ]  # fmt: skip
    assert ["bounded" in row.what for row in rows] == [True, False, True, False]


def test_only_the_time_in_which_both_trained_counts():
    long = [{"kind": "train", "time": at, "tokens": 100} for at in range(10)]
    short = [{"kind": "train", "time": at, "tokens": 50} for at in (4, 5, 6)]
    assert neighbours.shared_speed([long, short]) == 75
    slow_outside = [{**step, "tokens": 1} if not 4 < step["time"] <= 6 else step for step in long]
    assert neighbours.shared_speed([slow_outside, short]) == 75


@pytest.mark.nightly
def test_a_training_that_cannot_begin_is_an_error(monkeypatch):
    with pytest.raises(RuntimeError, match="ended before its first step"):
        neighbours.at_once(1, {}, replace(SMALLEST, model="no model/at all/"))


def test_the_cost_of_recording_is_measured_as_a_ratio(tmp_path, tiny_cache):
    config = PRESETS["smoke"]
    assert recording.without(config).train.sample_tokens == 0
    assert not recording.without(config).train.general_loss
    with opened(tmp_path / "data") as lab:
        words = recording.compared(lab, config, 1)
        recorded = [bool(lab.store.samples(run["id"])) for run in lab.runs.summaries(HOST)]
    assert re.fullmatch(
        r"clock [\d.]+ s without, [\d.]+ s with: [\d.]+; processors [\d.]+ s without, [\d.]+ s with: [\d.]+ "
        r"\(target for quick: at most 1.15\)",
        words,
    )
    # The newest first; the oldest warms up.
    assert recorded == [True, False, True]
