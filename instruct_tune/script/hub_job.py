"""The script of a Hub job: the exported script, and at its end what brings adapter and numbers back to the lab."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..config.run_config import RunConfig
from ..tokenization.prompt_template import template_of_run
from .code import Line, Section, assign, code
from .outgoing import outgoing
from .record import Record
from .script import script_of, sections

TRAINS = Line("trainer.train()")
"""The line before which the steps' clock is set up."""


def job_script(config: RunConfig, repo: str, record: Record | None = None) -> str:
    """The run as a Python file that puts its adapter, configuration, provenance and metrics into ``repo`` on the Hub.

    The files are those that ``runs import`` reads. The job's environment has the token, the file has none. Its BLEU is
    measured as the configuration says, which is what its number is recorded under, and not as an evaluation of the
    run was.
    """
    record = record and dataclasses.replace(record, evaluation=None)
    parts = [_with_clock(section) for section in sections(config, record)]
    parts.append(Section("job", "Back to the lab", tuple(_back(_without_own_prompts(outgoing(config)), repo))))
    return script_of(config, record, parts)


def _without_own_prompts(config: RunConfig) -> RunConfig:
    """As in every export: prompts that a person typed for themselves stay in the lab."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, own_prompts=()))


def _with_clock(section: Section) -> Section:
    if TRAINS not in section.lines:
        return section
    at = section.lines.index(TRAINS)
    return dataclasses.replace(section, lines=(*section.lines[:at], *_clock(), *section.lines[at:]))


def _clock() -> list[Line]:
    return code("""
        import time

        from transformers import TrainerCallback


        class Clock(TrainerCallback):
            \"\"\"When each step ended, and the seconds that it took.\"\"\"

            ended, seconds = {}, {}

            def on_step_begin(self, args, state, control, **kwargs):
                self.began = time.perf_counter()

            def on_step_end(self, args, state, control, **kwargs):
                self.ended[state.global_step] = time.time()
                self.seconds[state.global_step] = time.perf_counter() - self.began


        clock = Clock()
        trainer.add_callback(clock)
    """)


def _back(config: RunConfig, repo: str) -> Iterator[Line]:
    yield from assign("REPOSITORY", repo, why="private; it has this script already")
    yield from assign("CONFIG", config.to_dict())
    yield from code("""
        rows_of_a_step = share * state.num_processes * arguments.gradient_accumulation_steps
        steps_of_an_epoch = -(-len(train_rows) // rows_of_a_step)


        def tokens_of(step):
            \"\"\"The tokens of a step's rows, and those with loss.\"\"\"
            order = EpochOrder()
            order.epoch, place = divmod(step - 1, steps_of_an_epoch)
            rows = [train_rows[at] for at in list(order)[place * rows_of_a_step : (place + 1) * rows_of_a_step]]
            labels = [label for row in rows for label in row["labels"]]
            return sum(len(row["input_ids"]) for row in rows), sum(label != IGNORED for label in labels)


        measured = {}
        for entry in history:
            step = entry["step"]
            at = {"step": step, "epoch": entry["epoch"], "time": clock.ended[step]}
            if "loss" in entry:
                tokens, supervised = tokens_of(step)
                seconds = clock.seconds[step]
                numbers = {name: entry[name] for name in ("loss", "learning_rate", "grad_norm")}
                numbers |= {"tokens": tokens, "supervised": supervised, "seconds": seconds}
                measured["train", step] = {"kind": "train", **at, **numbers, "tokens_per_second": tokens / seconds}
            elif "eval_loss" in entry:
                measured["eval", step] = {"kind": "eval", **at, "eval_loss": entry["eval_loss"]}
        # BLEU is of the adapter that was kept, which need not be the last step's.
        kept = (arguments.load_best_model_at_end and trainer.state.best_global_step) or step
        at = {name: measured["train", kept][name] for name in ("step", "epoch", "time")}
        measured["bleu", kept] = {"kind": "bleu", **at, "bleu": scores["tuned"]}
        provenance = {
            "kept_step": kept,
            "data_fingerprint": FINGERPRINT,
            "device": torch.cuda.get_device_name() if GPU else "cpu",
            "train_rows": len(train_rows),
            "evaluation_rows": len(held_out_rows),
            "trainable_parameters": sum(each.numel() for each in model.parameters() if each.requires_grad),
            "base_bleu": scores["base"],
            "bleu_rows": len(references),
        }
    """)
    if template_of_run(config.template, {}).chat:
        # A template may write the date: the run is asked with what it was trained with.
        yield Line('provenance |= {"chat_before": BEFORE, "chat_after": AFTER}', ("template",))
    yield from code("""
        if state.is_main_process:
            import json
            import math
            from pathlib import Path

            from huggingface_hub import HfApi

            folder = Path("tuned/adapter")
            # A loss that diverged is in the log alone: JSON has no word for what is no number.
            lines = [
                each
                for each in measured.values()
                if all(isinstance(value, str) or math.isfinite(value) for value in each.values())
            ]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\\n" for each in lines))
            (folder / "facts.json").write_text(json.dumps(provenance))
            (folder / "run_config.json").write_text(json.dumps(CONFIG))
            HfApi().upload_folder(
                repo_id=REPOSITORY, folder_path=folder, commit_message="The adapter and the numbers of the job"
            )
            print("The adapter and the numbers are in", REPOSITORY)
    """)
