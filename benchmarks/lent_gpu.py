"""``python -m benchmarks.lent_gpu``: a run on this process's GPU, and in a forked worker as a ZeroGPU Space lends it.

It trains **minute** and opt-350m's shape (random weights, the lesson's batch of 2) through the lab on both devices, and
prints the seconds from Start to end, tokens/s, and the share of the fastest matrix product. Made for a GPU; without one
it says so, and shows that the way works. It needs nothing of Hugging Face's: a fork stands for the platform.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from instruct_tune.compute import gpu_worker
from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import DEFAULT_MODEL, RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.lab import Lab

ZEROGPU = "SPACES_ZERO_GPU"
FORK = multiprocessing.get_context("fork")


def forked(folder: Path, seconds: int, data_dir: Path) -> Generator[gpu_worker.News, None, None]:
    """``gpu_worker.execute`` in a fork of this process."""
    news = FORK.SimpleQueue()

    def send() -> None:
        for each in gpu_worker.execute(folder, seconds, data_dir):
            news.put(each)

    worker = FORK.Process(target=send, daemon=True)
    worker.start()
    try:
        while True:
            each = news.get()
            yield each
            if not isinstance(each, gpu_worker.Reported):
                return
    finally:
        (folder / gpu_worker.STOP).touch()
        worker.join()


def lesson_shape(folder: Path) -> str:
    """Save opt-350m's shape with random weights and the default model's tokenizer; its path."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from instruct_tune.pretrained.locate import locate

    from .lesson_shape import shape

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(locate(DEFAULT_MODEL, print).path)
    config = shape()
    config.bos_token_id, config.eos_token_id, config.pad_token_id = (
        tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def measured(lab: Lab, config: RunConfig, peak: float | None) -> str:
    """Train once; seconds from Start to end, tokens/s, and the share of ``peak`` operations a second."""
    began = time.perf_counter()
    run_id = lab.training.start(HOST, config)
    run = lab.training.wait(run_id)
    seconds = time.perf_counter() - began
    if run.status != "finished":
        return run.message
    result = lab.runs.result(HOST, run_id)
    # Every parameter counts as a product forward and one backward, also embeddings, which are only looked up.
    operations = 4 * run.provenance["parameters"] * (result["tokens_per_second"] or 0)
    share = f", {operations / peak:.0%} of the fastest product" if peak else ""
    dtype, device = run.provenance["dtype"], run.provenance["device"]
    return f"{seconds:.1f} s, {result['tokens_per_second']:,.0f} tokens/s{share} ({dtype} on {device})"


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.lent_gpu", description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of the lesson's shape")
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        shape = lesson_shape(Path(folder) / "opt-350m-shape")
        configs = {
            "minute": PRESETS["minute"],
            "the lesson's shape": RunConfig.from_dict(
                {
                    "model": shape,
                    "data": {"limit": None},
                    "train": {
                        "per_device_train_batch_size": 2, "max_steps": steps, "probes": 0, "bleu_rows": 0,
                        "eval_strategy": "no", "save_strategy": "no", "general_loss": False, "sample_tokens": 0,
                    },
                }
            ),
        }  # fmt: skip
        # First, since a process whose parent has used the GPU cannot use it any more.
        os.environ[ZEROGPU] = "1"
        lines = _lines(Path(folder) / "forked", configs, "a forked worker", forked, None)
        del os.environ[ZEROGPU]
        import torch

        from instruct_tune.util.device import best_device

        from .peak import matmul_peak

        device = torch.device(best_device())
        peak = matmul_peak(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
        lines += _lines(Path(folder) / "own", configs, "this process", None, peak)
    print(*lines, f"the fastest product: {peak / 1e12:.2f} TFLOP/s", sep="\n")
    if device.type == "cpu":
        print("There is no GPU here: these numbers are the CPU's, a worker's with one thread.")


def _lines(data_dir: Path, configs: dict[str, RunConfig], where: str, allocate: Any, peak: float | None) -> list[str]:
    lab = Lab(data_dir, allocate=allocate)
    try:
        # Twice: the first run imports the libraries.
        measured(lab, PRESETS["smoke"], None)
        return [f"{name}, {where}: {measured(lab, config, peak)}" for name, config in configs.items()]
    finally:
        lab.close()


if __name__ == "__main__":
    main()
