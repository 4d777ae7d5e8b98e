"""``python -m benchmarks.experiments --work DIR``: measure the experiments that the page's gallery shows.

Each arm is trained with each seed on the bundled rows, with the lab's own training and decoding. A result is a file in
``--work``: what is there is not measured again, so this can be stopped at any time and goes on where it was.
``--state`` prints what is there, ``--restore`` takes what the asset holds, ``--write`` makes the asset and the table
of docs/experiments.md out of it. A minute and more for an arm and a seed on two cores, hours for all.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from instruct_tune.config.run_config import DEFAULT_MODEL, RunConfig, TrainSettings
from instruct_tune.data.splits import Example, Splits, examples, load_splits
from instruct_tune.errors import DivergedError
from instruct_tune.evaluation.bleu import score
from instruct_tune.evaluation.predict import AnswererPrompts, answer_all
from instruct_tune.experiments.arms import ARMS, BASELINE, HELD_OUT_ROWS, LEAKED_ROWS, SEEDS
from instruct_tune.inspection.token_view import Fault
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel, load_model
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample, encode_prompts, tokenize_rows
from instruct_tune.tokenization.prompt_template import template_from
from instruct_tune.training.general_text import general_rows
from instruct_tune.training.train import train
from instruct_tune.training.types import TrainingData

from . import machine
from .ours import Watch

PROBES = 4
"""Held-out loss is measured before the first step and after each quarter of the steps."""
VERSIONED = ("torch", "transformers", "trl", "peft")
FAULTY = {"no-eos": Fault.NO_EOS, "prompt-loss": Fault.PROMPT_TOO, "eos-masked": Fault.EOS_MASKED}
LEAKED = "leaked"
DECODED = (BASELINE, "no-eos", "eos-masked")
"""The arms that are trained and whose answers are measured; of the others, the losses are."""
ASKED_AS = {"asked-alpaca": "alpaca", "asked-chat": "chat"}
STRENGTHS = {"strength-0": 0.0, "strength-2": 2.0}


def main() -> None:
    """Measure what is missing, or write what is there."""
    parser = argparse.ArgumentParser("python -m benchmarks.experiments", description=__doc__)
    parser.add_argument("arms", nargs="*", metavar="ARM", help=f"which of {', '.join(ARMS)} (default: all)")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="keeps the results")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--state", action="store_true", help="print what is measured")
    parser.add_argument(
        "--restore", action="store_true", help="take the results of the asset, which are in --work no more"
    )
    parser.add_argument("--write", action="store_true", help="write the asset and the table")
    args = parser.parse_args()
    if unknown := set(args.arms) - set(ARMS):
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(ARMS)}")
    if args.restore or args.state or args.write:
        from . import experiments_report

        what = experiments_report.restore if args.restore else experiments_report.state
        print(experiments_report.write(args.work) if args.write else what(args.work))
        return
    measure_all(args.work, args.model, args.arms or ARMS, args.seeds)


def measure_all(work: Path, model: str, arms: Iterable[str], seeds: Sequence[int]) -> None:
    """Measure each arm with each seed, unless the folder ``work`` holds its result."""
    bench: Bench | None = None
    for arm in arms:
        for seed in seeds:
            file = result_file(work, arm, seed)
            if file.is_file() and (arm != BASELINE or adapter_folder(work, seed).is_dir()):
                continue
            bench = bench or Bench(load_model(model, print), work)
            try:
                result = bench.measure(arm, seed)
            except DivergedError as error:
                # The arm then has too few seeds to be shown; the others are measured all the same.
                print(f"{arm} with seed {seed}: {error}", flush=True)
                continue
            write_result(file, result)
            values = ", ".join(f"{name} {value:.3f}" for name, value in result["measures"].items())
            print(f"{arm} with seed {seed}: {values}; {result['seconds']:.0f} s", flush=True)


def write_result(file: Path, result: dict[str, Any]) -> None:
    """Write a result whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_suffix(".partial")
    written.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(written, file)


def result_file(work: Path, arm: str, seed: int) -> Path:
    """Where a result is kept."""
    return work / "results" / f"{arm}-{seed}.json"


def adapter_folder(work: Path, seed: int) -> Path:
    """Where the baseline's adapter of a seed is kept."""
    return work / "adapters" / f"seed-{seed}"


class Curves(Watch):
    """Records the losses of a training as (step, loss), by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.points: dict[str, list[tuple[int, float]]] = {"probe": [], "general": [], "eval": []}

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        if kind in self.points:
            self.points[kind].append((step, values[f"{kind}_loss"]))


class Bench:
    """Measures on one loaded model; ``work`` keeps the baseline's adapters, which other arms ask."""

    def __init__(self, loaded: LoadedModel, work: Path):
        self.loaded, self.work = loaded, work
        self._splits: dict[str, Splits] = {}

    def measure(self, arm: str, seed: int) -> dict[str, Any]:
        """The result of one arm with one seed: its measures, its curves, and what it was measured on."""
        began, busy = time.perf_counter(), machine.busy()
        config = ARMS[arm].config
        measures, curves = self._ask(arm, config, seed) if ARMS[arm].answers_only else self._train(arm, config, seed)
        return {
            "arm": arm,
            "seed": seed,
            "measures": measures,
            "curves": curves,
            "seconds": round(time.perf_counter() - began, 1),
            "load_before": busy,
            "machine": machine.described(),
            "weights_sha256": self.loaded.weights.sha256,
            "data": self._rows(config).fingerprint,
            "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        }

    # Training

    def _train(self, arm: str, config: RunConfig, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
        name, watch = f"{arm}-{seed}", Curves()
        settings = training_settings(config.train, seed)
        lora.attach(self.loaded, name, config.lora, seed)
        try:
            with tempfile.TemporaryDirectory() as folder:
                train(self.loaded, name, self._data(arm, config, seed), settings, Path(folder), watch)
            measures = {
                "held_out_loss": watch.points["probe"][-1][1],
                "general_loss": watch.points["general"][-1][1],
                "leaked_loss": watch.points["eval"][-1][1],
            }
            if arm == BASELINE:
                lora.save(self.loaded, name, self._adapter(seed))
            if arm in DECODED:
                measures |= self._answers(name, config)
        finally:
            lora.remove(self.loaded, name)
        kinds = {"held_out_loss": "probe", "general_loss": "general"}
        curves = {name: [(step, round(loss, 4)) for step, loss in watch.points[kind]] for name, kind in kinds.items()}
        return measures, curves

    def _data(self, arm: str, config: RunConfig, seed: int) -> TrainingData:
        splits = self._rows(config)
        held_out = examples(splits.test, 0, HELD_OUT_ROWS)
        chosen = choose(examples(splits.train), config.data.limit, seed)
        if arm == LEAKED:
            chosen[-LEAKED_ROWS:] = held_out[:LEAKED_ROWS]
        rows, measured = self._tokenize(config, chosen), self._tokenize(config, held_out)
        if arm in FAULTY:
            rows = [broken(row, FAULTY[arm]) for row in rows]
        general = general_rows(self.loaded)
        return TrainingData(rows, measured[:LEAKED_ROWS], measured, general)

    def _tokenize(self, config: RunConfig, rows: Sequence[Example]) -> list[TokenizedExample]:
        template, settings = template_from(config.template), config.train
        tokenized = tokenize_rows(
            self.loaded.tokenizer,
            template,
            rows,
            settings.max_length,
            settings.overlong,
            self.loaded.context_length,
        )
        return list(tokenized.rows)

    def _rows(self, config: RunConfig) -> Splits:
        """All rows of the split: a seed chooses from them."""
        data = dataclasses.replace(config.data, limit=None)
        key = json.dumps(data.to_dict())
        if key not in self._splits:
            self._splits[key] = load_splits(data)
        return self._splits[key]

    # Asking

    def _ask(self, arm: str, config: RunConfig, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
        if not self._adapter(seed).is_dir():
            raise SystemExit(f"{arm} asks the adapters of {BASELINE}: measure that first.")
        config = dataclasses.replace(config, template=ASKED_AS.get(arm, config.template))
        name = f"{BASELINE}-{seed}"
        lora.load(self.loaded, name, self._adapter(seed))
        try:
            strength = STRENGTHS.get(arm)
            at = contextlib.nullcontext() if strength is None else lora.at_strength(self.loaded, name, strength)
            with at:
                return self._answers(name, config), {}
        finally:
            lora.remove(self.loaded, name)

    def _answers(self, name: str, config: RunConfig) -> dict[str, float]:
        """BLEU and the counts of the answers to the held-out rows."""
        rows = examples(self._rows(config).test, 0, HELD_OUT_ROWS)
        questions = [(row.instruction, row.input) for row in rows]
        prompts = encode_prompts(self.loaded.tokenizer, template_from(config.template), questions)
        answered = answer_all(self.loaded, [AnswererPrompts(name, name, prompts)], config.generation)[name].answers
        answers = [answered[row] for row in range(len(rows))]
        report = score([answer.text for answer in answers], [row.output for row in rows], bootstrap=0)
        return {
            "bleu": report.bleu,
            "stopped": 100 * sum(answer.ended for answer in answers) / len(answers),
            "tokens": sum(answer.tokens for answer in answers) / len(answers),
        }

    def _adapter(self, seed: int) -> Path:
        return adapter_folder(self.work, seed)


def training_settings(settings: TrainSettings, seed: int) -> TrainSettings:
    """An arm's settings with the seed, and with what an experiment measures while it trains."""
    return dataclasses.replace(
        settings,
        seed=seed,
        probes=PROBES,
        sample_every=1,
        sample_tokens=0,
        save_strategy="no",
        save_minutes=None,
    )


def choose(rows: Sequence[Example], count: int | None, seed: int) -> list[Example]:
    """The training rows of a seed: of two counts, the smaller one's are the first of the larger one's."""
    order = list(rows)
    random.Random(seed).shuffle(order)
    return order[:count]


def broken(row: TokenizedExample, fault: Fault) -> TokenizedExample:
    """The row with the fault that ``inspection.token_view.broken_token_view`` shows."""
    changes: dict[Fault, Callable[[], dict[str, Any]]] = {
        Fault.NO_EOS: lambda: {"input_ids": row.input_ids[:-1], "labels": row.labels[:-1]},
        Fault.EOS_MASKED: lambda: {"labels": (*row.labels[:-1], IGNORE)},
        Fault.PROMPT_TOO: lambda: {"labels": row.input_ids},
    }
    return dataclasses.replace(row, **changes[fault]())


if __name__ == "__main__":
    main()
