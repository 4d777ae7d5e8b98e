"""The command line's parser: the commands and their arguments."""

from __future__ import annotations

import argparse
from typing import Any

from ..config.presets import PRESETS
from ..config.run_config import BASELINES
from ..evaluation import bleu_tokenizers


def parser() -> argparse.ArgumentParser:
    """The parser. ``does`` of its result is the command, such as ``train`` or ``runs list``."""
    main_parser = argparse.ArgumentParser(
        "python -m instruct_tune", description="Instruction-Tuning Lab without a browser."
    )
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_data(commands)
    _add_train(commands)
    _add_generate(commands)
    _add_scoring(commands)
    _add_with_config(commands, "lesson", "data, training and evaluation: the whole lesson").add_argument(
        "--name", default=""
    )
    _add_script(commands)
    _add_runs(
        commands.add_parser("runs", help="history").add_subparsers(dest="action", required=True, metavar="ACTION")
    )
    jobs = commands.add_parser("jobs", help="runs on the Hub's machines, with your own login")
    _add_jobs(jobs.add_subparsers(dest="action", required=True, metavar="ACTION"))
    return main_parser


def _add_data(commands: Any) -> None:
    data = _add_with_config(commands, "data", "load, filter and split a dataset")
    data.add_argument("--rows", type=_count, default=0, metavar="N", help="also print the first N rows of each part")
    data.add_argument("--report", action="store_true", help="also lengths, duplicates and leakage of all rows")
    data.add_argument(
        "--save-ledger", metavar="FILE.json", help="write filters, counts and fingerprint, to replay them"
    )
    mask = _add_with_config(commands, "mask", "show one row as the trainer gets it")
    mask.add_argument("--instruction", required=True)
    mask.add_argument("--input", default="")
    mask.add_argument("--output", required=True)
    cost = _add_with_config(commands, "cost", "what a run will do and take, before it starts")
    cost.add_argument(
        "--minutes", type=float, metavar="M", help="choose rows (and steps) so that it takes about this long"
    )


def _add_train(commands: Any) -> None:
    train = _add_with_config(commands, "train", "run one training in the foreground")
    origin = train.add_mutually_exclusive_group()
    origin.add_argument("--resume", metavar="RUN", help="go on with a run from its last checkpoint")
    origin.add_argument(
        "--continue", dest="parent", metavar="RUN", help="a new run that begins with RUN's adapter and its settings"
    )
    train.add_argument("--name", default="", help="a name for the run")


def _add_generate(commands: Any) -> None:
    generate = _add_with_config(commands, "generate", "answer prompts with a run, or with base")
    generate.add_argument("--run", dest="run_id", required=True, metavar="RUN|base")
    generate.add_argument("--prompts", required=True, metavar="FILE.jsonl")


def _add_scoring(commands: Any) -> None:
    evaluate = _add_command(
        commands, "evaluate", "base and tuned on the run's held-out rows; goes on with one that was stopped"
    )
    evaluate.add_argument("--run", dest="run_id", required=True, metavar="RUN")
    evaluate.add_argument("--limit", type=_count, metavar="N", help="only the first N rows")
    evaluate.add_argument(
        "--to",
        metavar="FILE",
        help="also write the rows with all answers there: .csv, .jsonl, .parquet, or .zip for sacrebleu",
    )
    evaluate.add_argument(
        "--baseline",
        action="append",
        choices=BASELINES,
        help="also base in its chat template, base shown three training rows, or the nearest training row's answer; "
        "repeatable",
    )
    score = _add_command(commands, "score", "BLEU of two JSONL files of strings")
    score.add_argument("--predictions", required=True, metavar="FILE")
    score.add_argument("--references", required=True, metavar="FILE")
    for scoring in (evaluate, score):
        scoring.add_argument(
            "--tokenize",
            default=bleu_tokenizers.DEFAULT,
            metavar="NAME",
            help=f"how BLEU cuts texts into words: {', '.join(bleu_tokenizers.DESCRIPTIONS)} "
            f"(default: {bleu_tokenizers.DEFAULT})",
        )


def _add_script(commands: Any) -> None:
    script = _add_with_config(commands, "export-script", "write a run, or a configuration, as plain Python")
    script.add_argument("run_id", nargs="?", metavar="RUN", help="a stored run; without it --preset and --set count")
    script.add_argument("--to", required=True, metavar="FILE.py|.ipynb", help="a new file: a script or a notebook")


def _add_runs(actions: Any) -> None:
    _add_command(actions, "runs list", "all runs, newest first")
    importing = _add_command(actions, "runs import", "take in an exported run, or a LoRA adapter trained elsewhere")
    importing.add_argument("file", metavar="FILE.zip|OWNER/NAME", help="a zip, or a repository on the Hub")
    importing.add_argument("--name", default="", help="a name for the run")
    compare = _add_command(actions, "runs compare", "BLEU of several runs, a table for all that was measured alike")
    compare.add_argument("run_ids", nargs="*", metavar="RUN", help="default: all that were evaluated")
    show = _add_command(actions, "runs show", "a run, its configuration and metrics")
    export = _add_command(actions, "runs export", "write a run's adapter as a zip, the run as one page, or to trackio")
    plot = _add_command(actions, "runs plot", "write a run's losses as a plot")
    push = _add_command(actions, "runs push", "push a run's adapter, card and script to the Hub, with your own login")
    delete = _add_command(actions, "runs delete", "remove a run and its files")
    for action in (show, export, plot, push, delete):
        action.add_argument("run_id", metavar="RUN")
    goes = export.add_mutually_exclusive_group(required=True)
    goes.add_argument("--to", metavar="FILE.zip|html")
    goes.add_argument("--trackio", metavar="PROJECT", help="its numbers and settings, into trackio's local storage")
    form = export.add_mutually_exclusive_group()
    form.add_argument("--merged", action="store_true", help="the whole model, the adapter merged into a copy of base")
    form.add_argument("--gguf", action="store_true", help="the adapter for llama.cpp, with a Modelfile for Ollama")
    form.add_argument("--page", action="store_true", help="the run as one HTML file that needs no network")
    export.add_argument("--with-rows", action="store_true", help="with --page: with the texts of private rows")
    push.add_argument("--to", required=True, metavar="OWNER/NAME", help="it is created where it is not there yet")
    push.add_argument("--private", action="store_true", help="only you can see the repository")
    push.add_argument(
        "--rows",
        action=argparse.BooleanOptionalAction,
        help="the rows of the last evaluation, too (default: where everybody can get the data, and its licence allows)",
    )
    push.add_argument("--replace", action="store_true", help="in place of other things that the repository holds")
    plot.add_argument("--to", required=True, metavar="FILE.png|svg")
    plot.add_argument("--scores", action="store_true", help="BLEU of its last evaluation instead")


def _add_jobs(actions: Any) -> None:
    _add_command(actions, "jobs machines", "the Hub's machines and what an hour costs")
    start = _add_with_config(actions, "jobs start", "train a run anew, or a configuration, as a job on the Hub")
    start.add_argument("run_id", nargs="?", metavar="RUN", help="a stored run; without it --preset and --set count")
    start.add_argument("--flavor", required=True, metavar="NAME", help="the machine, see jobs machines")
    start.add_argument("--minutes", type=_count, default=60, metavar="M", help="the Hub ends it then (default: 60)")
    start.add_argument(
        "--pay", type=float, metavar="USD", help="the price that you agree to; without it only the price is printed"
    )
    _add_command(actions, "jobs list", "your jobs, newest first")
    follow = _add_command(actions, "jobs follow", "a job's state and log, until its run is back in the history")
    cancel = _add_command(actions, "jobs cancel", "end a job on the Hub")
    for action in (follow, cancel):
        action.add_argument("job_id", metavar="JOB")


def _add_command(commands: Any, name: str, help_text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name.rpartition(" ")[2], help=help_text, description=help_text)
    command.set_defaults(does=name)
    command.add_argument("--data-dir", metavar="DIR", help="where runs live (default: $LAB_DATA_DIR)")
    command.add_argument("--json", action="store_true", help="print one line of JSON on stdout")
    return command


def _add_with_config(commands: Any, name: str, help_text: str) -> argparse.ArgumentParser:
    """Add a command with the options of a run configuration."""
    command = _add_command(commands, name, help_text)
    command.add_argument("--preset", choices=sorted(PRESETS), help="what to start from (default: quick)")
    command.add_argument("--ledger", metavar="FILE.json", help="data and filters of a saved ledger, over the preset")
    command.add_argument("--config", metavar="FILE.json", help="laid over the preset")
    command.add_argument("--set", action="append", metavar="SECTION.FIELD=VALUE", help="laid over that; repeatable")
    command.add_argument("--dataset", metavar="S", help="short for --set data.source=S")
    command.add_argument("--model", metavar="M", help="short for --set model=M")
    return command


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
