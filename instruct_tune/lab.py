"""The lab: everything that the page, the command line and the endpoints may call.

Arguments from outside (JSON configurations, run ids) are validated here, whoever sends them; what
comes back is plain JSON types. Libraries that are slow to import are imported when first needed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset import Example, Splits, examples, load_splits, take_evaluation_rows
from .engine import Engine
from .errors import BusyError, DataError, LabError, ModelError, Stopped
from .prompt import template_from
from .settings import DataSettings, GenerationSettings, RunConfig
from .store import DataLock, Run, RunStore, default_data_dir

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .model import LoadedModel
    from .runner import Runner

BASE_RUN = "base"
"""The run id that stands for the base model without any adapter."""

Config = RunConfig | Mapping[str, Any]
DATASETS_REMEMBERED = 4
UPLOAD_SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")


class Lab:
    """One lab on one data folder.

    ``writing`` takes the folder's lock and marks what a former process left as interrupted; without
    it the lab only reads. ``local_paths`` says whether a configuration may name files and folders of
    this machine (not on a Space, where the page's visitors are not the machine's owners).
    """

    def __init__(self, data_dir: Path | None = None, *, writing: bool = True, local_paths: bool | None = None):
        self.data_dir = data_dir or default_data_dir()
        self._lock = DataLock(self.data_dir) if writing else None
        self.store = RunStore(self.data_dir)
        self.engine = Engine()
        self.local_paths = "SPACE_ID" not in os.environ if local_paths is None else local_paths
        self._bench: Any = None
        self._runner: Runner | None = None
        self._training: Future[None] | None = None
        self._stop_requested: set[str] = set()
        self._discard: set[str] = set()
        self._stop_evaluation = threading.Event()
        self.evaluating: dict[str, Any] | None = None
        """Where the last evaluation is: ``run_id`` and ``done``, ``total`` | ``message`` | ``error`` | ``finished``."""
        self._datasets: dict[Any, Splits] = {}
        self._tokenizers: dict[str, PreTrainedTokenizerBase] = {}
        self._caches = threading.Lock()
        # Encoding switches a tokenizer between reading special tokens and spelling them out.
        self._encoding = threading.Lock()
        if writing:
            self.store.interrupt_orphans()

    def close(self, timeout: float = 60.0) -> None:
        """Stop what is running, keep its adapter, and let go of the data folder."""
        if self._runner:
            self._runner.stop.set()
        self.engine.close()
        self.engine.join(timeout)
        self.store.close()
        if self._lock:
            self._lock.release()

    # Data and format

    def config(self, given: Config) -> RunConfig:
        """Validate a configuration (over ``quick``). Raises SettingsError naming every problem."""
        config = given if isinstance(given, RunConfig) else RunConfig.from_dict(given)
        template_from(config.template)
        if not self.local_paths:
            source = config.data.source
            named = source in ("bundled", "codealpaca-20k") or source.startswith("hub:")
            if not named and Path(source).resolve().parent != self.uploads.resolve():
                raise DataError(
                    "This lab is hosted: choose a dataset of the catalog, a Hub id (hub:OWNER/NAME), or upload a file."
                )
            if Path(config.model).exists():
                raise ModelError("This lab is hosted: choose a model of the catalog or a Hub id.")
        return config

    def splits(self, settings: DataSettings) -> Splits:
        """The dataset, filtered and split; remembered while its file does not change."""
        path = Path(settings.source)
        key = (settings, path.stat().st_mtime_ns if path.is_file() else None)
        with self._caches:
            known = self._datasets.get(key)
        if known is None:
            known = load_splits(settings)
            with self._caches:
                self._datasets[key] = known
                while len(self._datasets) > DATASETS_REMEMBERED:
                    self._datasets.pop(next(iter(self._datasets)))
        return known

    def data(self, config: Config, rows: int = 0, model: str | None = None) -> dict[str, Any]:
        """Counts, ledger and fingerprint; with ``rows`` the first rows, with ``model`` token lengths."""
        config = self.config(config)
        splits = self.splits(config.data)
        told: dict[str, Any] = {
            "source": splits.source,
            "rows_loaded": splits.rows_loaded,
            "ledger": [dataclasses.asdict(entry) for entry in splits.ledger],
            "train_rows": len(splits.train),
            "test_rows": len(splits.test),
            "train_rows_before_limit": splits.train_rows_before_limit,
            "fingerprint": splits.fingerprint,
            "licence": splits.licence,
        }
        if rows:
            told["train"] = [dataclasses.asdict(e) for e in examples(splits.train, 0, rows)]
            told["test"] = [dataclasses.asdict(e) for e in examples(splits.test, 0, rows)]
        if model:
            told["token_lengths"] = self._token_lengths(dataclasses.replace(config, model=model), splits)
        return told

    def _token_lengths(self, config: RunConfig, splits: Splits) -> dict[str, Any]:
        """Tokens a training row has with this model and template: how many rows, and how long."""
        from .tokenization import tokenize_examples

        tokenizer, template = self.tokenizer(config.model), template_from(config.template)
        with self._encoding:
            rows = tokenize_examples(tokenizer, template, examples(splits.train), max_length=2**31)
        lengths = sorted(len(row.input_ids) for row in rows)
        return {
            "model": config.model,
            "total": sum(lengths),
            "mean": sum(lengths) / len(lengths),
            "median": lengths[len(lengths) // 2],
            "max": lengths[-1],
            "prompt_mean": sum(row.prompt_length for row in rows) / len(rows),
            "over_max_length": sum(length > config.train.max_length for length in lengths),
        }

    def preview(self, config: Config, rows: int = 10, offset: int = 0, part: str = "train") -> dict[str, Any]:
        """``data`` plus ``rows``: a page of the training (or ``test``) rows."""
        config = self.config(config)
        if not (isinstance(rows, int) and isinstance(offset, int) and 0 <= rows <= 200 and offset >= 0):
            raise DataError("rows must be a whole number from 0 to 200, and offset one from 0 on.")
        splits = self.splits(config.data)
        page = examples(splits.test if part == "test" else splits.train, offset, rows)
        return {**self.data(config), "rows": [dataclasses.asdict(e) for e in page]}

    def held_out(self, config: Config) -> list[Example]:
        """The rows that evaluation takes, in their order."""
        config = self.config(config)
        return examples(take_evaluation_rows(self.splits(config.data).test, config.evaluation_rows))

    def held_out_row(self, config: Config, index: int) -> Example:
        """The held-out row at ``index``, from 0. Raises DataError beyond the last."""
        rows = self.splits(self.config(config).data).test
        if not 0 <= index < len(rows):
            raise DataError(f"There is no held-out row {index + 1}: they go from 1 to {len(rows)}.")
        return examples(rows, index, 1)[0]

    def tokenizer(self, model: str) -> PreTrainedTokenizerBase:
        """A tokenizer of its own for views, beside the one that trains."""
        from transformers import AutoTokenizer

        from .weights import locate

        with self._caches:
            if model not in self._tokenizers:
                folder = locate(model, lambda text: None).path
                self._tokenizers[model] = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            return self._tokenizers[model]

    def mask(self, config: Config, instruction: str, input: str = "", output: str = "") -> dict[str, Any]:
        """One row as the trainer gets it."""
        from .tokenization import mask_view

        config = self.config(config)
        _check_texts(instruction=instruction, input=input, output=output)
        tokenizer = self.tokenizer(config.model)
        example = Example(instruction, input, output)
        with self._encoding:
            return mask_view(tokenizer, template_from(config.template), example, config.train.max_length)

    def training_row(self, config: Config, index: int) -> Example:
        """The training row at ``index``, from 0. Raises DataError beyond the last."""
        train = self.splits(self.config(config).data).train
        if not 0 <= index < len(train):
            raise DataError(f"There is no training row {index + 1}: they go from 1 to {len(train)}.")
        return examples(train, index, 1)[0]

    def token_texts(self, config: Config, ids: Sequence[int]) -> tuple[list[str], int]:
        """Each token's own text, and the id of EOS."""
        from .tokenization import token_pieces

        tokenizer = self.tokenizer(self.config(config).model)
        return token_pieces(tokenizer, ids), tokenizer.eos_token_id

    def keep_upload(self, file: Path) -> Path:
        """Copy an uploaded file into the data folder, under a name nobody can guess; returns its new path."""
        suffix = file.suffix.lower()
        if suffix not in UPLOAD_SUFFIXES:
            raise DataError(
                f"A {suffix or 'nameless'} file cannot be read: upload one of {', '.join(UPLOAD_SUFFIXES)}."
            )
        kept = self.uploads / (secrets.token_urlsafe(12) + suffix)
        self.uploads.mkdir(exist_ok=True)
        shutil.copyfile(file, kept)
        return kept

    @property
    def uploads(self) -> Path:
        return self.data_dir / "uploads"

    # Runs

    def start_run(self, config: Config, name: str = "") -> str:
        """Accept a run and start it. Raises BusyError while another long job is at work."""
        config = self.config(config)
        _check_name(name)
        self._refuse_if_busy()
        run = self.store.create(name.strip(), config.to_dict())
        self._launch(run, resume=False)
        return run.id

    def rename_run(self, run_id: str, name: str) -> None:
        """Give a run another name; an empty one leaves it as it is."""
        _check_name(name)
        run = self.store.get(run_id)
        self.store.update(run.id, name=name.strip() or run.name)

    def resume_run(self, run_id: str) -> str:
        """Go on with a run that was stopped, interrupted or failed, from its last checkpoint."""
        run = self.store.get(run_id)
        if run.live or run.status == "finished":
            raise BusyError(f"Run {run.name} is {run.status}: only one that ended early can be resumed.")
        self._launch(run, resume=True)
        return run.id

    def _refuse_if_busy(self) -> None:
        if self.engine.busy_with:
            raise BusyError(f"The lab is busy with {self.engine.busy_with}: wait until it is done, or stop it.")

    def _launch(self, run: Run, resume: bool) -> None:
        def job() -> None:
            from .runner import Runner

            runner = Runner(run, self.store, self.bench, self.engine)
            self._runner = runner
            if run.id in self._stop_requested:
                runner.stop.set()
            try:
                runner.execute(resume)
            finally:
                self._runner = None
                self._stop_requested.discard(run.id)
            if run.id in self._discard:
                self._discard.discard(run.id)
                self.store.delete(run.id)

        try:
            self._training = self.engine.long(f"run {run.name}", job)
        except BusyError:
            # Somebody was faster; a run that never began leaves no trace.
            if not resume:
                self.store.delete(run.id)
            raise

    @property
    def bench(self) -> Any:
        """The workbench; only touched on the engine's thread."""
        from .workbench import Workbench

        if self._bench is None:
            self._bench = Workbench()
        return self._bench

    def wait(self, run_id: str, timeout: float | None = None) -> Run:
        """Block until the run has ended (or ``timeout`` seconds are over)."""
        if self._training:
            self._training.exception(timeout)
        return self.store.get(run_id)

    def stop_run(self, run_id: str, keep: bool = True) -> str:
        """Ask a run to stop within one step; its adapter is kept, or the run discarded. Returns its status."""
        self._stop_requested.add(run_id)
        if not keep:
            self._discard.add(run_id)
        if not self.store.mark_stopping(run_id):
            # It ended by itself, now or long ago.
            self._stop_requested.discard(run_id)
            self._discard.discard(run_id)
            return self.store.get(run_id).status
        if self._runner and self._runner.run.id == run_id:
            self._runner.stop.set()
        return "stopping"

    def list_runs(self) -> list[dict[str, Any]]:
        """All runs, newest first, without their metrics."""
        return [self._told(run) for run in self.store.all()]

    def show_run(self, run_id: str) -> dict[str, Any]:
        """A run with its configuration, metrics, events and evaluations."""
        run = self.store.get(run_id)
        return {
            **self._told(run),
            "config": run.config,
            "facts": run.facts,
            "metrics": self.store.metrics(run_id),
            "events": self.store.events(run_id),
            "evaluations": self.store.evaluations(run_id),
        }

    def _told(self, run: Run) -> dict[str, Any]:
        return {
            "id": run.id,
            "name": run.name,
            "status": run.status,
            "phase": run.phase,
            "message": run.message,
            "step": run.step,
            "total_steps": run.total_steps,
            "created": run.created,
            "ended": run.ended,
            "model": run.config["model"],
            "source": run.config["data"]["source"],
            "error_kind": run.error_kind,
        }

    def run_status(self, run_id: str) -> dict[str, Any]:
        """Where a run stands: status, phase, step, the last metric of each kind, seconds left."""
        run = self.store.get(run_id)
        metrics = self.store.metrics(run_id)
        last = {metric["kind"]: metric for metric in metrics}
        return {
            "status": run.status,
            "phase": run.phase,
            "step": run.step,
            "total_steps": run.total_steps,
            "metrics": last,
            "eta_seconds": _seconds_left(run, metrics),
            "message": run.message,
        }

    def run_metrics(self, run_id: str, after: int = 0) -> list[dict[str, Any]]:
        """Metrics with a ``seq`` greater than ``after``."""
        self.store.get(run_id)
        if not isinstance(after, int):
            raise DataError("after must be a whole number: the last seq that was seen.")
        return self.store.metrics(run_id, after)

    def run_result(self, run_id: str) -> dict[str, Any]:
        """A run's outcome in numbers, computed from its stored metrics (so it covers resumed parts too)."""
        run = self.store.get(run_id)
        metrics = self.store.metrics(run_id)
        steps = [metric for metric in metrics if metric["kind"] == "train"]
        evals = [metric["eval_loss"] for metric in metrics if metric["kind"] == "eval"]
        tokens, seconds = sum(m["tokens"] for m in steps), sum(m["seconds"] for m in steps)
        folder = self.store.folder(run_id) / "adapter"
        return {
            "run_id": run_id,
            "status": run.status,
            "steps": run.step,
            "tokens": tokens,
            "train_loss": sum(m["loss"] for m in steps) / len(steps) if steps else None,
            "eval_loss": evals[-1] if evals else None,
            "tokens_per_second": tokens / seconds if seconds else None,
            "trainable_parameters": run.facts.get("trainable_parameters"),
            "adapter": str(folder) if folder.is_dir() else None,
            "model_path": run.facts.get("model_path"),
        }

    def delete_run(self, run_id: str) -> None:
        """Remove a run, its history and its files. Raises BusyError while it is at work."""
        self.store.delete(run_id)
        if self._bench is not None:
            self.engine.short(lambda: self.bench.forget(run_id))

    def export_run(self, run_id: str, to: Path) -> Path:
        """Write the run's adapter, card, configuration and loss plot as a zip."""
        from .export import export_zip

        return export_zip(self.store, run_id, to)

    # Answers

    def has_adapter(self, run_id: str) -> bool:
        """Whether the run can answer: it has a saved adapter, or one that is training."""
        run = self.store.get(run_id)
        training = run.live and run.phase in ("training", "evaluating", "saving")
        return training or (self.store.folder(run_id) / "adapter").is_dir()

    def ready_adapter(self, run_id: str) -> Run:
        """The run, if it has an adapter to speak with. Raises ModelError where it has none (yet)."""
        run = self.store.get(run_id)
        if not self.has_adapter(run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter yet: train it first, or choose another.")
        return run

    def _prepare(self, run_id: str, config: RunConfig, report: Callable[[str], None]) -> LoadedModel:
        """The run's base model with its adapter in place. On the engine's thread."""
        loaded = self.bench.model(config.model, config.train.bf16, report)
        if run_id != BASE_RUN:
            self.bench.with_adapter(loaded, run_id, self.store.folder(run_id) / "adapter")
        return loaded

    def generation(self, config: RunConfig, given: Mapping[str, Any] | None) -> GenerationSettings:
        """The run's generation settings with ``given`` laid over them."""
        if not given:
            return config.generation
        return RunConfig.from_dict({**config.to_dict(), "generation": _laid_over(config, given)}).generation

    def compare(
        self, run_id: str, instruction: str, input: str = "", generation: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Base and tuned answers to one instruction, as they grow: ``{base, tuned, done}``.

        Served between training steps where a run is at work. Closing the iterator stops the job.
        """
        _check_texts(instruction=instruction, input=input)
        if not instruction.strip():
            raise DataError("Type an instruction first.")
        run = self.ready_adapter(run_id)
        config = RunConfig.from_dict(run.config)
        settings = self.generation(config, generation)
        said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        stop = threading.Event()

        def job() -> None:
            from .adapter import BASE
            from .generation import Request, generate
            from .tokenization import encode_prompts

            loaded = self._prepare(run_id, config, lambda text: said.put({"message": text}))
            prompt = encode_prompts(loaded.tokenizer, template_from(config.template), [(instruction, input)])[0]
            requests = [Request(tuple(prompt), who) for who in (BASE, run_id)]

            def grown(texts: list[str]) -> None:
                said.put({"base": texts[0], "tuned": texts[1], "done": False})

            base, tuned = generate(loaded, requests, settings, on_tokens=grown, stopping=stop.is_set)
            said.put(
                {
                    "base": base.text,
                    "tuned": tuned.text,
                    "done": True,
                    "base_tokens": base.tokens,
                    "tuned_tokens": tuned.tokens,
                    "base_ended": base.ended,
                    "tuned_ended": tuned.ended,
                }
            )

        future = self.engine.short(job)
        future.add_done_callback(lambda _: said.put(None))
        try:
            texts = {"base": "", "tuned": "", "done": False}
            while (news := said.get()) is not None:
                texts = {**texts, **news}
                yield texts
        finally:
            stop.set()
        self._result(future)

    def generate(self, run_id: str, rows: Sequence[Mapping[str, str]], config: Config | None = None) -> list[str]:
        """One answer a row (``instruction``, optional ``input``) from a run, or from ``base``."""
        if run_id == BASE_RUN:
            settings = self.config(config or {})
        else:
            settings = RunConfig.from_dict(self.ready_adapter(run_id).config)
            if config:
                settings = dataclasses.replace(settings, generation=self.config(config).generation)
        pairs = [_prompt_pair(row, number) for number, row in enumerate(rows, 1)]

        def job() -> list[str]:
            from .adapter import BASE
            from .generation import Request, generate
            from .tokenization import encode_prompts

            loaded = self._prepare(run_id, settings, lambda text: None)
            prompts = encode_prompts(loaded.tokenizer, template_from(settings.template), pairs)
            speaker = BASE if run_id == BASE_RUN else run_id
            requests = [Request(tuple(prompt), speaker) for prompt in prompts]
            return [answer.text for answer in generate(loaded, requests, settings.generation)]

        return self._result(self.engine.short(job))

    def start_evaluation(
        self,
        run_id: str,
        limit: int | None = None,
        generation: Mapping[str, Any] | None = None,
        on_progress: Callable[[dict[str, Any]], None] = lambda news: None,
    ) -> Future[dict[str, Any]]:
        """Answer the run's held-out rows with base and tuned, and score both, on the engine's thread.

        It goes on whoever watches; ``evaluating`` tells where it is. Raises BusyError while a run or
        another evaluation is at work.
        """
        run = self.ready_adapter(run_id)
        config = RunConfig.from_dict({**run.config, "evaluation_rows": limit} if limit is not None else run.config)
        settings = self.generation(config, generation)
        stop = threading.Event()

        def tell(**news: Any) -> None:
            self.evaluating = {"run_id": run_id, **news}
            on_progress(news)

        def job() -> dict[str, Any]:
            self._stop_evaluation = stop
            try:
                return self._evaluate(run_id, config, settings, tell, stop.is_set)
            except LabError as error:
                tell(error=str(error))
                raise
            except Stopped:
                tell(error="The evaluation was stopped; nothing was scored.")
                raise

        return self.engine.long(f"the evaluation of {run.name}", job)

    def _evaluate(
        self,
        run_id: str,
        config: RunConfig,
        settings: GenerationSettings,
        tell: Callable[..., None],
        stopping: Callable[[], bool],
    ) -> dict[str, Any]:
        from .evaluation import evaluate

        splits = self.splits(config.data)
        rows = self.held_out(config)
        tell(done=0, total=2 * len(rows))
        loaded = self._prepare(run_id, config, lambda text: tell(message=text))

        def between(done: int, total: int) -> None:
            tell(done=done, total=total)
            self.engine.breathe()

        template = template_from(config.template)
        found = evaluate(loaded, run_id, template, rows, settings, between_batches=between, stopping=stopping)
        path = self.store.folder(run_id) / "predictions.jsonl"
        _write_lines(path, [dataclasses.asdict(prediction) for prediction in found.predictions])
        told = {**found.to_dict(), "predictions": str(path), "data_fingerprint": splits.fingerprint}
        self.store.add_evaluation(run_id, told)
        tell(finished=True)
        return told

    def stop_evaluation(self) -> None:
        """Ask the evaluation at work, if any, to stop within one token."""
        self._stop_evaluation.set()

    def evaluate(
        self, run_id: str, limit: int | None = None, generation: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """``start_evaluation`` as a stream: its progress, then the evaluation's JSON. Closing it stops it."""
        said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        future = self.start_evaluation(run_id, limit, generation, said.put)
        future.add_done_callback(lambda _: said.put(None))
        try:
            while (news := said.get()) is not None:
                yield news
        finally:
            if not future.done():
                self.stop_evaluation()
        yield self._result(future)

    def predictions(self, run_id: str) -> list[dict[str, Any]]:
        """The rows of the run's last evaluation; empty before the first."""
        path = self.store.folder(run_id) / "predictions.jsonl"
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except Stopped:
            raise LabError("Stopped.") from None


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or len(name) > 200:
        raise DataError("A run's name is a text of at most 200 characters.")


def _check_texts(**texts: Any) -> None:
    """Raise DataError for a value that is no text, or holds half a character, which no tokenizer reads."""
    for name, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"{name} must be a text.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"{name} holds half a character (a lone surrogate): remove it.")


def _laid_over(config: RunConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError("generation must be a JSON object.")
    return {**dataclasses.asdict(config.generation), **given}


def _prompt_pair(row: Any, number: int) -> tuple[str, str]:
    if isinstance(row, Mapping):
        instruction, input_text = row.get("instruction"), row.get("input") or ""
        if isinstance(instruction, str) and isinstance(input_text, str):
            _check_texts(instruction=instruction, input=input_text)
            return instruction, input_text
    raise DataError(f"Prompt {number} must be an object with a text in instruction (and in input, if any).")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(path)


def _seconds_left(run: Run, metrics: list[dict[str, Any]]) -> float | None:
    """Steps left times the mean time of the last ten; None before the first step and after the end."""
    steps = [metric for metric in metrics if metric["kind"] == "train"][-10:]
    if not run.live or not steps:
        return None
    return (run.total_steps - run.step) * sum(m["seconds"] for m in steps) / len(steps)
