"""``python -m instruct_tune``: the lab without a browser.

Progress and logs go to stderr. With ``--json``, stdout is one line with one JSON object. Exit status:
0 done, 1 an error that the user can fix (one line on stderr), 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..compute.answer_work import BASE_RUN
from ..config.environment import default_data_dir
from ..config.run_config import RunConfig
from ..config.validation import merge, parse_override
from ..config.viewer import HOST
from ..data import json_text, ledger
from ..errors import DataError, LabError, SettingsError
from ..evaluation import bleu_tokenizers
from ..evaluation.predictions_file import check_ending, write_rows
from ..export import hub_repository
from ..lab import Lab
from ..runs import continuation
from ..services.scripts import form_of
from ..util.device import check_device_choice
from ..util.wait_policy import check_environment
from . import hub_commands
from .hub_commands import Outcome
from .parser import parser

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("instruct_tune").setLevel(logging.INFO)
    if not sys.warnoptions:
        # Other libraries' deprecations are not the user's problem; `-W default` shows them.
        warnings.simplefilter("ignore")
    try:
        check_environment()
        check_device_choice()
        result, status = COMMANDS[args.does](args)
    except LabError as error:
        print(f"{args.command}: {error}", file=sys.stderr)
        result, status = {"error": str(error), "kind": error.kind}, 1
        if not args.json:
            return status
    except KeyboardInterrupt:
        print(f"{args.command}: interrupted", file=sys.stderr)
        result, status = {"status": "stopped"}, INTERRUPTED
        if not args.json:
            return status
    print(json.dumps(result) if args.json else _readable(result), flush=True)
    return status


def _readable(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=2, ensure_ascii=False)


# Commands: each returns the result to print and the exit status.


def _data(args: argparse.Namespace) -> Outcome:
    with _lab(args, writing=False) as lab:
        config = _config(args)
        summary = lab.datasets.summary(HOST, config, rows=args.rows, model=args.model)
        for note in summary["notes"]:
            print(f"data: {note}", file=sys.stderr)
        if args.ledger:
            saved = ledger.read(Path(args.ledger)).fingerprint
            summary["replayed"] = {"fingerprint": saved, "same": saved == summary["fingerprint"]}
            if saved != summary["fingerprint"]:
                print(f"data: these are other rows than those of {args.ledger} ({saved})", file=sys.stderr)
        if args.save_ledger:
            ledger.save(Path(args.save_ledger), config.data, summary["ledger"], summary["fingerprint"])
        return summary | (lab.datasets.report(HOST, config) if args.report else {}), 0


def _cost(args: argparse.Namespace) -> Outcome:
    with _lab(args, writing=False) as lab:
        if args.minutes is not None:
            return lab.estimates.fit(HOST, _config(args), args.minutes), 0
        return lab.estimates.cost(HOST, _config(args)), 0


def _mask(args: argparse.Namespace) -> Outcome:
    with _lab(args, writing=False) as lab:
        return lab.datasets.mask(HOST, _config(args), args.instruction, args.input, args.output), 0


def _train(args: argparse.Namespace) -> Outcome:
    with _lab(args, writing=True) as lab:
        return _train_one(lab, args)


def _train_one(lab: Lab, args: argparse.Namespace) -> Outcome:
    """Start (or resume) a run and wait for it; the first Ctrl-C stops it and keeps the adapter."""
    if args.resume and (args.preset or args.name or _overrides(args)):
        raise SettingsError(["a resumed run keeps its own settings and name: --continue begins a new run with others"])
    run_id = lab.training.resume(HOST, args.resume) if args.resume else _start(lab, args)
    print(f"run {run_id}", file=sys.stderr)
    with _stop_on_signal(lambda: lab.training.stop(HOST, run_id)) as signals:
        run = lab.training.wait(run_id)
    if run.status == "failed":
        raise _Failed(run.message, run.error_kind or "bug")
    return dict(lab.runs.result(HOST, run_id)), 128 + signals[0] if signals else 0


def _start(lab: Lab, args: argparse.Namespace) -> str:
    if not args.parent:
        return lab.training.start(HOST, _config(args), args.name)
    config = continuation.config_after(lab.runs.get(HOST, args.parent), _overrides(args), args.preset)
    return lab.training.start(HOST, config, args.name, parent=args.parent)


class _Failed(LabError):
    """A run that failed; its metrics so far are in the store."""

    def __init__(self, message: str, kind: str):
        super().__init__(message)
        self.kind = kind


@contextmanager
def _stop_on_signal(stop: Callable[[], Any]) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM calls ``stop`` and keeps waiting; a second one ends the process.

    Yields the list of received signals, which stays empty without a signal.
    """
    signals: list[int] = []

    def on_signal(number: int, frame: Any) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)
        print("stopping within one step; press Ctrl-C again to leave at once", file=sys.stderr)
        stop()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _generate(args: argparse.Namespace) -> Outcome:
    rows = _read_prompts(Path(args.prompts))
    with _lab(args, writing=False) as lab:
        if args.run_id == BASE_RUN:
            return {"texts": lab.inference.generate(HOST, BASE_RUN, rows, _config(args))}, 0
        overrides = _overrides(args)
        if args.preset or set(overrides) - {"generation"}:
            raise SettingsError(["a run has its own model, data and template: with --run RUN set generation.* only"])
        return {"texts": lab.inference.generate(HOST, args.run_id, rows, generation=overrides.get("generation"))}, 0


def _evaluate(args: argparse.Namespace) -> Outcome:
    if args.to:
        check_ending(Path(args.to))
    with _lab(args, writing=True) as lab:
        try:
            evaluation = _evaluate_one(lab, args.run_id, args.limit, args.baseline or (), args.tokenize)
            if args.to:
                write_rows(lab.evaluations.predictions(HOST, args.run_id), Path(args.to), args.tokenize)
            return evaluation, 0
        except KeyboardInterrupt:
            print("what was answered is kept: the same command goes on from there", file=sys.stderr)
            raise


def _evaluate_one(
    lab: Lab, run_id: str, limit: int | None, baselines: Sequence[str] = (), tokenize: str = bleu_tokenizers.DEFAULT
) -> dict[str, Any]:
    update: dict[str, Any] = {}
    done = None
    for update in lab.evaluations.stream(HOST, run_id, limit, baselines=baselines, tokenize=tokenize):
        if "done" in update and update["done"] != done:
            done = update["done"]
            print(f"answers {update['done']} of {update['total']}", file=sys.stderr)
        elif "message" in update:
            print(update["message"], file=sys.stderr)
    for warning in update["warnings"]:
        print(warning, file=sys.stderr)
    return update


def _score(args: argparse.Namespace) -> Outcome:
    from ..evaluation.bleu import read_texts, score

    predictions, references = read_texts(Path(args.predictions)), read_texts(Path(args.references))
    return score(predictions, references, tokenize=bleu_tokenizers.checked(args.tokenize)).to_dict(), 0


def _lesson(args: argparse.Namespace) -> Outcome:
    args.preset = args.preset or "lesson"
    args.resume = args.parent = None
    with _lab(args, writing=True) as lab:
        (trained, status), evaluation = _train_one(lab, args), None
        if not status:
            try:
                evaluation = _evaluate_one(lab, trained["run_id"], None)
            except KeyboardInterrupt:
                status = INTERRUPTED
    ended = "stopped" if status else "finished"
    return {"run_id": trained["run_id"], "status": ended, "train": trained, "evaluation": evaluation}, status


def _export_script(args: argparse.Namespace) -> Outcome:
    to = Path(args.to)
    form = form_of(to)
    _require_origin(args)
    with _lab(args, writing=False) as lab:
        if args.run_id:
            text = lab.scripts.of_run(HOST, args.run_id, form)
        else:
            text = lab.scripts.of_config(HOST, _config(args), form)
        return {"run_id": args.run_id, "file": str(lab.scripts.save(text, to))}, 0


def _require_origin(args: argparse.Namespace) -> None:
    """Raise SettingsError unless there is a run or a configuration, and not both."""
    chosen = bool(args.preset or _overrides(args))
    if args.run_id and chosen:
        raise SettingsError(["a run has its own settings: give RUN alone, or --preset and --set without RUN"])
    if not (args.run_id or chosen):
        raise SettingsError(["there is nothing to write: give a RUN, or --preset with one of its names"])


def _jobs_start(args: argparse.Namespace) -> Outcome:
    _require_origin(args)
    with _lab(args, writing=False) as lab:
        return hub_commands.start_job(lab, args, None if args.run_id else _config(args))


def _runs_export(args: argparse.Namespace) -> Outcome:
    if args.with_rows and not args.page:
        raise SettingsError(["--with-rows says what a page holds: give --page too"])
    if args.trackio is not None:
        if args.merged or args.gguf or args.page:
            raise SettingsError(["--trackio takes a run's numbers: --merged, --gguf and --page are for --to"])
        with _lab(args, writing=False) as lab:
            rows = lab.transfers.export_trackio(HOST, args.run_id, args.trackio)
            return {"run_id": args.run_id, "project": args.trackio, "rows": rows}, 0
    to = Path(args.to)
    with _lab(args, writing=False) as lab:
        if args.page:
            # The page's pieces come with gradio, which takes seconds to import.
            from ..ui.run_page.page import write_run_page

            file = write_run_page(lab.run_pages, HOST, args.run_id, to, args.with_rows)
            return {"run_id": args.run_id, "file": str(file), "bytes": file.stat().st_size}, 0
        if args.merged:
            file = lab.transfers.export_merged(HOST, args.run_id, to, lambda text: print(text, file=sys.stderr))
        elif args.gguf:
            file = lab.transfers.export_gguf(HOST, args.run_id, to)
        else:
            file = lab.transfers.export(HOST, args.run_id, to)
        return {"run_id": args.run_id, "file": str(file)}, 0


def _runs_plot(args: argparse.Namespace) -> Outcome:
    with _lab(args, writing=False) as lab:
        plot = lab.transfers.plot_scores if args.scores else lab.transfers.plot_losses
        return {"run_id": args.run_id, "file": str(plot(HOST, args.run_id, Path(args.to)))}, 0


def _runs_compare(args: argparse.Namespace) -> Outcome:
    with _lab(args, writing=False) as lab:
        tables = lab.evaluations.leaderboard(HOST, args.run_ids)
        for table in tables:
            print(table["sentence"], file=sys.stderr)
        if len(tables) > 1:
            print("compare scores within a table only: what differs was measured otherwise", file=sys.stderr)
        measured = {run["run_id"] for table in tables for run in table["runs"]}
        for run_id in [run_id for run_id in args.run_ids if run_id not in measured] or ["RUN"] * (not tables):
            print(f"nothing to compare of {run_id}: evaluate --run {run_id} first", file=sys.stderr)
        return {"tables": tables}, 0


def _runs_import(args: argparse.Namespace) -> Outcome:
    with _lab(args, writing=True) as lab:
        file = Path(args.file)
        if hub_repository.is_name(args.file) and not file.exists() and file.suffix != ".zip":
            run_id = lab.transfers.import_from_hub(
                HOST, args.file, args.name, lambda text: print(text, file=sys.stderr)
            )
        else:
            run_id = lab.transfers.import_run(HOST, file, args.name)
        return {"run_id": run_id, "message": lab.runs.details(HOST, run_id)["message"]}, 0


def _runs_delete(args: argparse.Namespace) -> Outcome:
    with _lab(args, writing=True) as lab:
        lab.training.delete(HOST, args.run_id)
        return {"run_id": args.run_id, "deleted": True}, 0


def _on_lab(
    command: Callable[[Lab, argparse.Namespace], Outcome], writing: bool = False
) -> Callable[[argparse.Namespace], Outcome]:
    """``command`` as one that opens the lab itself."""

    def run(args: argparse.Namespace) -> Outcome:
        with _lab(args, writing) as lab:
            return command(lab, args)

    return run


COMMANDS: Mapping[str, Callable[[argparse.Namespace], Outcome]] = {
    "data": _data,
    "cost": _cost,
    "mask": _mask,
    "train": _train,
    "generate": _generate,
    "evaluate": _evaluate,
    "score": _score,
    "lesson": _lesson,
    "export-script": _export_script,
    "runs list": _on_lab(lambda lab, args: ({"runs": lab.runs.summaries(HOST)}, 0)),
    "runs show": _on_lab(lambda lab, args: (lab.runs.details(HOST, args.run_id), 0)),
    "runs export": _runs_export,
    "runs plot": _runs_plot,
    "runs push": _on_lab(hub_commands.push),
    "runs compare": _runs_compare,
    "runs import": _runs_import,
    "runs delete": _runs_delete,
    "jobs machines": _on_lab(hub_commands.machines),
    "jobs start": _jobs_start,
    "jobs list": _on_lab(hub_commands.list_jobs),
    "jobs follow": _on_lab(hub_commands.follow_job, writing=True),
    "jobs cancel": _on_lab(hub_commands.cancel_job, writing=True),
}


# Helpers


@contextmanager
def _lab(args: argparse.Namespace, writing: bool) -> Iterator[Lab]:
    lab = Lab(Path(args.data_dir) if args.data_dir else default_data_dir(), writing=writing)
    try:
        yield lab
    finally:
        lab.close()


def _config(args: argparse.Namespace) -> RunConfig:
    """Preset, then ``--ledger``, ``--config``, ``--dataset`` and ``--model``, then each ``--set``."""
    return RunConfig.from_dict(_overrides(args), args.preset or "quick")


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """The options that override the preset, as a (partial) configuration."""
    config = {"data": ledger.read(Path(args.ledger)).data} if args.ledger else {}
    for section, value in (_read_config(args.config) if args.config else {}).items():
        both = isinstance(value, dict) and isinstance(config.get(section), dict)
        config[section] = config[section] | value if both else value
    overrides = [parse_override(text) for text in args.set or []]
    if args.dataset:
        overrides.insert(0, ("data.source", args.dataset))
    if args.model:
        overrides.insert(0, ("model", args.model))
    for name, value in overrides:
        merge(config, name, value)
    return config


def _read_config(path: str) -> dict[str, Any]:
    try:
        config = json_text.read_value(Path(path))
    except DataError as error:
        raise SettingsError([f"--config {str(error).rstrip('.')}"]) from error
    if not isinstance(config, dict):
        raise SettingsError([f"--config {path} must hold one JSON object"])
    return config


def _read_prompts(path: Path) -> list[Any]:
    rows = json_text.values(json_text.read_bytes(path), str(path))
    if not rows:
        raise DataError(f"{path} holds no prompts: it should have one JSON object a line.")
    return rows


if __name__ == "__main__":
    sys.exit(main())
