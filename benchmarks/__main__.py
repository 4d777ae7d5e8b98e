"""``python -m benchmarks``: ours and theirs in one process, alternating, medians and ratios.

Same weights, same rows, same settings, float32 on a CPU. Run nothing else beside it. Figures of
different machines do not compare; the ratios of one run do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from instruct_tune import adapter
from instruct_tune.dataset import Example, examples, load_splits
from instruct_tune.generation import Request, generate
from instruct_tune.model import LoadedModel, load_model
from instruct_tune.prompt import LESSON
from instruct_tune.settings import DEFAULT_MODEL, DataSettings, GenerationSettings, LoraSettings, TrainSettings
from instruct_tune.tokenization import encode_prompts, tokenize_rows
from instruct_tune.training import TrainingData, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RUN = "benchmark"


class Silent:
    """A ``training.Watcher`` that keeps each step's loss and seconds."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def say(self, text: str) -> None: ...

    def phase(self, name: str) -> None: ...

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        self.steps.append(values)

    def progress(self, step: int, total_steps: int) -> None: ...

    def part(self, done: int, total: int) -> None: ...

    def probed(self, step: int) -> None: ...

    def breathe(self) -> None: ...

    def stopping(self) -> bool:
        return False


def ours(loaded: LoadedModel, rows: list[Example], batch: int) -> tuple[float, float]:
    """(seconds in training steps, mean of the steps' losses) of one epoch."""
    settings = TrainSettings(per_device_train_batch_size=batch, probes=0, eval_strategy="no", save_strategy="no")
    tokenized = tokenize_rows(loaded.tokenizer, LESSON, rows, settings.max_length, settings.overlong)
    adapter.attach(loaded, RUN, LoraSettings(), seed=42)
    watcher = Silent()
    with tempfile.TemporaryDirectory() as folder:
        train(loaded, RUN, TrainingData(tokenized.rows, [], []), settings, Path(folder), watcher)
    adapter.remove(loaded, RUN)
    return sum(step["seconds"] for step in watcher.steps), statistics.fmean(s["loss"] for s in watcher.steps)


def stock(loaded: LoadedModel, rows: list[Example], batch: int) -> tuple[float, float]:
    """The same with TRL's SFTTrainer as the lesson would write it today: prompt and completion, padded."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Clock(TrainerCallback):
        seconds = 0.0

        def on_step_begin(self, args, state, control, **kwargs):
            self.began = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            self.seconds += time.perf_counter() - self.began

    from peft import LoraConfig

    dataset = Dataset.from_list([{"prompt": LESSON.render(e.instruction), "completion": e.output} for e in rows])
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            learning_rate=5e-4,
            max_length=1024,
            bf16=False,
            activation_checkpointing=False,
            use_cpu=loaded.device.type == "cpu",
            save_strategy="no",
            report_to=[],
            logging_steps=1,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        model = AutoModelForCausalLM.from_pretrained(loaded.weights.path, dtype=loaded.base.dtype)
        trainer = SFTTrainer(
            model,
            args=config,
            train_dataset=dataset,
            processing_class=loaded.tokenizer,
            peft_config=lora,
            callbacks=[clock],
        )
        trainer.train()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return clock.seconds, statistics.fmean(losses)


def our_answers(loaded: LoadedModel, rows: list[Example], settings: GenerationSettings) -> list[str]:
    prompts = encode_prompts(loaded.tokenizer, LESSON, [(e.instruction, e.input) for e in rows])
    requests = [Request(tuple(prompt), adapter.BASE) for prompt in prompts]
    return [answer.text for answer in generate(loaded, requests, settings)]


def pipeline_answers(
    loaded: LoadedModel, stock_model: PreTrainedModel, rows: list[Example], settings: GenerationSettings
) -> list[str]:
    """The lesson's pipeline: two prompts at a time, on a model as transformers loads it."""
    from transformers import GenerationConfig, pipeline

    generator = pipeline("text-generation", model=stock_model, tokenizer=loaded.tokenizer, batch_size=2)
    config = GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        num_beams=settings.num_beams,
        do_sample=False,
        eos_token_id=loaded.tokenizer.eos_token_id,
        pad_token_id=loaded.tokenizer.pad_token_id,
        **({"early_stopping": True} if settings.num_beams > 1 else {}),
    )
    prompts = [LESSON.render(e.instruction, e.input) for e in rows]
    return [told[0]["generated_text"] for told in generator(prompts, generation_config=config, return_full_text=False)]


def timed(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--dataset", default="bundled", help="as data.source")
    parser.add_argument("--rows", type=int, default=32, help="training rows a repetition")
    parser.add_argument("--prompts", type=int, default=16, help="prompts a repetition")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions, alternating; medians are told")
    args = parser.parse_args()
    loaded = load_model(DEFAULT_MODEL, lambda text: print(text, file=sys.stderr))
    splits = load_splits(DataSettings(source=args.dataset))
    rows, held_out = examples(splits.train, 0, args.rows), examples(splits.test, 0, args.prompts)
    tokens = tokenize_rows(loaded.tokenizer, LESSON, rows, 1024, "drop").tokens
    print(
        f"{DEFAULT_MODEL}, {loaded.weights.source}, {loaded.device}; {args.dataset}: {len(rows)} rows, {tokens} tokens"
    )
    print("\n| | stock | lab | ratio |\n|---|---|---|---|")
    for batch in (8, 2):
        pairs = [(stock(loaded, rows, batch), ours(loaded, rows, batch)) for _ in range(args.repeat)]
        theirs, mine = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
        name = f"training, batch {batch}, tokens/s"
        print(f"| {name} | {tokens / theirs:.0f} | {tokens / mine:.0f} | {theirs / mine:.2f} |", flush=True)
        print(f"| mean loss of the last repetition | {pairs[-1][0][1]:.3f} | {pairs[-1][1][1]:.3f} | |", flush=True)
    from transformers import AutoModelForCausalLM

    # A model of its own: the lab's has its layers replaced by faster ones.
    stock_model = AutoModelForCausalLM.from_pretrained(loaded.weights.path, dtype=loaded.base.dtype).eval()
    for name, settings in (
        ("greedy", GenerationSettings(max_new_tokens=50)),
        ("5 beams", GenerationSettings(max_new_tokens=50, num_beams=5, early_stopping=True)),
    ):
        pairs = [
            (
                timed(lambda settings=settings: pipeline_answers(loaded, stock_model, held_out, settings)),
                timed(lambda settings=settings: our_answers(loaded, held_out, settings)),
            )
            for _ in range(args.repeat)
        ]
        theirs, mine = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        speeds = f"{len(held_out) / theirs:.2f} | {len(held_out) / mine:.2f}"
        print(f"| decoding, {name}, answers/s | {speeds} | {theirs / mine:.2f} |", flush=True)


if __name__ == "__main__":
    main()
