"""The typed endpoints: for gradio_client and REST. Agents have tools of their own, in ``agent_tools.py``.

gradio does not check posted values against the type hints; the lab does. The header ``x-lab-visitor`` holds
the caller's secret of 16 to 200 characters. Without it a script sees only what everyone sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ..errors import DataError
from ..lab import Lab
from ..pretrained.hub_token import for_jobs, for_writing
from .context import viewer
from .run_page.page import run_page as one_page


def expose(lab: Lab) -> None:
    """Add the endpoints to the page that is being built."""

    @_endpoint
    def dataset_preview(config: dict, rows: int = 10, offset: int = 0) -> dict:
        """Load, filter and split a dataset; its counts and a page of its training rows."""
        return lab.datasets.preview(viewer(lab.access), _object(config), rows, offset)

    @_endpoint
    def mask(config: dict, instruction: str, input: str, output: str) -> dict:
        """One row as the trainer gets it: ids, tokens, labels, what carries loss."""
        return lab.datasets.mask(viewer(lab.access), _object(config), instruction, input, output)

    @_endpoint
    def start_run(config: dict, name: str = "") -> dict:
        """Start a training run; answers at once with its ``run_id``."""
        return {"run_id": lab.training.start(viewer(lab.access), _object(config), name)}

    # Later features have endpoints of their own: a plain POST has to send every parameter of an endpoint.
    @_endpoint
    def continue_run(parent: str, config: dict, name: str = "") -> dict:
        """Start a run that goes on from the adapter of ``parent``; answers at once with its ``run_id``."""
        return {"run_id": lab.training.start(viewer(lab.access), _object(config), name, parent)}

    @_endpoint
    def run_status(run_id: str) -> dict:
        """Where a run stands."""
        return dict(lab.training.status(viewer(lab.access), run_id))

    @_endpoint
    def run_metrics(run_id: str, after: int = 0) -> dict:
        """The run's metrics with a ``seq`` greater than ``after``."""
        return {"metrics": lab.runs.metrics(viewer(lab.access), run_id, after)}

    @_endpoint
    def stop_run(run_id: str, keep: bool = True) -> dict:
        """Stop a run within one step and keep its adapter, or discard the run."""
        return {"status": lab.training.stop(viewer(lab.access), run_id, bool(keep))}

    @_endpoint
    def compare(run_id: str, instruction: str, input: str = "", generation: dict | None = None) -> Iterator[dict]:
        """Base and tuned answers to one instruction, as they grow."""
        for texts in lab.inference.compare(viewer(lab.access), run_id, instruction, input, generation or None):
            yield {name: texts[name] for name in ("base", "tuned", "done")}

    @_endpoint
    def compare_many(
        speakers: list, instruction: str, input: str = "", generation: dict | None = None
    ) -> Iterator[dict]:
        """Two or three answers to one instruction, as they grow: ``texts`` in the order of ``speakers``, and ``done``.

        Each speaker is ``{"run_id": "base" or a run's}``, with ``"step"`` (a kept checkpoint) or ``"strength"``
        (0 to 1.5) if wanted. At the end ``tokens`` and ``ended`` (by itself) of each are there too.
        """
        for update in lab.inference.compare_many(viewer(lab.access), speakers, instruction, input, generation or None):
            numbers = [str(at) for at in range(len(speakers))]
            answers: dict[str, Any] = {"texts": [update[at] for at in numbers], "done": update["done"]}
            if update["done"]:
                answers |= {fact: [update[f"{at}_{fact}"] for at in numbers] for fact in ("tokens", "ended")}
            yield answers

    @_endpoint
    def evaluate(run_id: str, limit: int | None = None) -> Iterator[dict]:
        """Base and tuned on the run's held-out rows: progress, then the evaluation."""
        yield from lab.evaluations.stream(viewer(lab.access), run_id, limit)

    @_endpoint
    def evaluate_with(
        run_id: str, limit: int | None, generation: dict | None, baselines: list[str], tokenize: str
    ) -> Iterator[dict]:
        """``evaluate`` with other generation settings, baselines beside base, and how BLEU cuts texts into words."""
        yield from lab.evaluations.stream(
            viewer(lab.access), run_id, limit, generation or None, baselines or [], tokenize
        )

    @_endpoint
    def list_runs() -> dict:
        """All runs, newest first."""
        return {"runs": lab.runs.summaries(viewer(lab.access))}

    @_endpoint
    def script(run_id: str, config: dict, form: str) -> dict:
        """A stored run, or without a ``run_id`` a configuration, as plain Python: the text of a ``py`` or ``ipynb``."""
        person = viewer(lab.access)
        if run_id:
            return {"text": lab.scripts.of_run(person, run_id, form)}
        return {"text": lab.scripts.of_config(person, _object(config), form)}

    @_endpoint
    def push_run(
        run_id: str, to: str, private: bool = False, rows: bool | None = None, replace: bool = False, token: str = ""
    ) -> Iterator[dict]:
        """Push a run to the repository ``to`` (OWNER/NAME) on the Hub: progress, then what arrived.

        ``rows``: whether those of the last evaluation go along; null: where the data's licence allows. ``replace``: in
        place of other content. ``token``: your own, with write access; it is never stored.
        """
        person = viewer(lab.access)
        options: dict[str, Any] = {"private": bool(private), "rows": rows, "replace": bool(replace)}
        yield from lab.push.follow(lab.push.start(person, run_id, to, for_writing(token), **options))

    @_endpoint
    def run_page(run_id: str, with_rows: bool) -> dict:
        """A run as one HTML file that needs no network. Texts of private rows are in it only ``with_rows``."""
        return {"html": one_page(lab.run_pages, viewer(lab.access), run_id, bool(with_rows))}

    @_endpoint
    def job_prices(token: str) -> dict:
        """The Hub's machines with their prices: ``machines`` of ``{name, words, usd_an_hour}``."""
        machines = lab.hub_jobs.prices(for_jobs(token))
        return {"machines": [{"name": m.name, "words": m.words, "usd_an_hour": m.price(60)} for m in machines]}

    @_endpoint
    def start_job(run_id: str, config: dict, flavor: str, minutes: int, at_most_usd: float, token: str) -> dict:
        """Train a run anew, or without a ``run_id`` a configuration, as a job on the Hub; answers at once.

        ``at_most_usd``: the price that you agree to; a lower one than the Hub's starts nothing, and the error tells it.
        """
        person, own = viewer(lab.access), for_jobs(token)
        trained = None if run_id else _object(config)
        return dict(lab.hub_jobs.start(person, run_id or None, flavor, minutes, at_most_usd, own, trained))

    @_endpoint
    def follow_job(job_id: str, token: str) -> Iterator[dict]:
        """A job as it changes, until its run is back; it is followed again where the lab was closed meanwhile."""
        person = viewer(lab.access)
        job = lab.hub_jobs.get(person, job_id)
        if not (job["followed"] or job["ended"]):
            lab.hub_jobs.go_on(person, job_id, for_jobs(token))
        yield from (dict(each) for each in lab.hub_jobs.stream(person, job_id))

    @_endpoint
    def cancel_job(job_id: str, token: str) -> dict:
        """End a job on the Hub. ``token``: needed where the lab does not follow it."""
        person = viewer(lab.access)
        followed = lab.hub_jobs.get(person, job_id)["followed"]
        lab.hub_jobs.cancel(person, job_id, None if followed else for_jobs(token))
        return dict(lab.hub_jobs.get(person, job_id))

    @_endpoint
    def list_jobs() -> dict:
        """Your jobs on the Hub, newest first."""
        return {"jobs": [dict(each) for each in lab.hub_jobs.jobs(viewer(lab.access))]}


def _endpoint(handler: Callable[..., Any]) -> None:
    """Add a handler under its own name."""
    gr.api(handler, api_name=handler.__name__)


def _object(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise DataError("config must be a JSON object.")
    return config
