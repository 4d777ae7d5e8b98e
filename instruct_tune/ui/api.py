"""The typed endpoints: for gradio_client and REST. Agents have tools of their own, in ``agent_tools.py``.

gradio does not check posted values against the type hints; the lab does. The header ``x-lab-visitor`` holds
the caller's secret of 16 to 200 characters. Without it a script sees only what everyone sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..config.viewer import Viewer
from ..errors import DataError
from ..lab import Lab
from ..pretrained.hub_token import for_jobs, for_writing
from .context import viewer
from .run_page.page import run_page as one_page


def expose(lab: Lab) -> None:
    """Add the endpoints to the page that is being built."""
    endpoints = Endpoints(lab)
    for name in vars(Endpoints):
        if not name.startswith("_"):
            gr.api(getattr(endpoints, name), api_name=name)


class Endpoints:
    """A method for each endpoint, which has its name, its parameters and its docstring."""

    def __init__(self, lab: Lab):
        self._lab = lab

    def _viewer(self) -> Viewer:
        return viewer(self._lab.access)

    def dataset_preview(self, config: dict, rows: int = 10, offset: int = 0) -> dict:
        """Load, filter and split a dataset; its counts and a page of its training rows."""
        return self._lab.datasets.preview(self._viewer(), _object(config), rows, offset)

    def mask(self, config: dict, instruction: str, input: str, output: str) -> dict:
        """One row as the trainer gets it: ids, tokens, labels, what carries loss."""
        return self._lab.datasets.mask(self._viewer(), _object(config), instruction, input, output)

    def start_run(self, config: dict, name: str = "") -> dict:
        """Start a training run; answers at once with its ``run_id``."""
        return {"run_id": self._lab.training.start(self._viewer(), _object(config), name)}

    # Later features have endpoints of their own: a plain POST has to send every parameter of an endpoint.
    def continue_run(self, parent: str, config: dict, name: str = "") -> dict:
        """Start a run that goes on from the adapter of ``parent``; answers at once with its ``run_id``."""
        return {"run_id": self._lab.training.start(self._viewer(), _object(config), name, parent)}

    def run_status(self, run_id: str) -> dict:
        """Where a run stands."""
        return dict(self._lab.training.status(self._viewer(), run_id))

    def run_metrics(self, run_id: str, after: int = 0) -> dict:
        """The run's metrics with a ``seq`` greater than ``after``."""
        return {"metrics": self._lab.runs.metrics(self._viewer(), run_id, after)}

    def stop_run(self, run_id: str, keep: bool = True) -> dict:
        """Stop a run within one step and keep its adapter, or discard the run."""
        return {"status": self._lab.training.stop(self._viewer(), run_id, bool(keep))}

    def compare(self, run_id: str, instruction: str, input: str = "", generation: dict | None = None) -> Iterator[dict]:
        """Base and tuned answers to one instruction, as they grow."""
        for texts in self._lab.inference.compare(self._viewer(), run_id, instruction, input, generation or None):
            yield {name: texts[name] for name in ("base", "tuned", "done")}

    def compare_many(
        self, speakers: list, instruction: str, input: str = "", generation: dict | None = None
    ) -> Iterator[dict]:
        """Two or three answers to one instruction, as they grow: ``texts`` in the order of ``speakers``, and ``done``.

        Each speaker is ``{"run_id": "base" or a run's}``, with ``"step"`` (a kept checkpoint) or ``"strength"``
        (0 to 1.5) if wanted. At the end ``tokens`` and ``ended`` (by itself) of each are there too.
        """
        for update in self._lab.inference.compare_many(
            self._viewer(), speakers, instruction, input, generation or None
        ):
            numbers = [str(at) for at in range(len(speakers))]
            answers: dict[str, Any] = {"texts": [update[at] for at in numbers], "done": update["done"]}
            if update["done"]:
                answers |= {fact: [update[f"{at}_{fact}"] for at in numbers] for fact in ("tokens", "ended")}
            yield answers

    def evaluate(self, run_id: str, limit: int | None = None) -> Iterator[dict]:
        """Base and tuned on the run's held-out rows: progress, then the evaluation."""
        yield from self._lab.evaluations.stream(self._viewer(), run_id, limit)

    def evaluate_with(
        self, run_id: str, limit: int | None, generation: dict | None, baselines: list[str], tokenize: str
    ) -> Iterator[dict]:
        """``evaluate`` with other generation settings, baselines beside base, and how BLEU cuts texts into words."""
        yield from self._lab.evaluations.stream(
            self._viewer(), run_id, limit, generation or None, baselines or [], tokenize
        )

    def list_runs(self) -> dict:
        """All runs, newest first."""
        return {"runs": self._lab.runs.summaries(self._viewer())}

    def script(self, run_id: str, config: dict, form: str) -> dict:
        """A stored run, or without a ``run_id`` a configuration, as plain Python: the text of a ``py`` or ``ipynb``."""
        person = self._viewer()
        if run_id:
            return {"text": self._lab.scripts.of_run(person, run_id, form)}
        return {"text": self._lab.scripts.of_config(person, _object(config), form)}

    def push_run(
        self,
        run_id: str,
        to: str,
        private: bool = False,
        rows: bool | None = None,
        replace: bool = False,
        token: str = "",
    ) -> Iterator[dict]:
        """Push a run to the repository ``to`` (OWNER/NAME) on the Hub: progress, then what arrived.

        ``rows``: whether those of the last evaluation go along; null: where the data's licence allows. ``replace``: in
        place of other content. ``token``: your own, with write access; it is never stored.
        """
        person = self._viewer()
        options: dict[str, Any] = {"private": bool(private), "rows": rows, "replace": bool(replace)}
        yield from self._lab.push.follow(self._lab.push.start(person, run_id, to, for_writing(token), **options))

    def run_page(self, run_id: str, with_rows: bool) -> dict:
        """A run as one HTML file that needs no network. Texts of private rows are in it only ``with_rows``."""
        return {"html": one_page(self._lab.run_pages, self._viewer(), run_id, bool(with_rows))}

    def job_prices(self, token: str) -> dict:
        """The Hub's machines with their prices: ``machines`` of ``{name, words, usd_an_hour}``."""
        machines = self._lab.hub_jobs.prices(for_jobs(token))
        return {"machines": [{"name": m.name, "words": m.words, "usd_an_hour": m.price(60)} for m in machines]}

    def start_job(self, run_id: str, config: dict, flavor: str, minutes: int, at_most_usd: float, token: str) -> dict:
        """Train a run anew, or without a ``run_id`` a configuration, as a job on the Hub; answers at once.

        ``at_most_usd``: the price that you agree to; a lower one than the Hub's starts nothing, and the error tells it.
        """
        person, own = self._viewer(), for_jobs(token)
        trained = None if run_id else _object(config)
        return dict(self._lab.hub_jobs.start(person, run_id or None, flavor, minutes, at_most_usd, own, trained))

    def follow_job(self, job_id: str, token: str) -> Iterator[dict]:
        """A job as it changes, until its run is back; it is followed again where the lab was closed meanwhile."""
        person = self._viewer()
        job = self._lab.hub_jobs.get(person, job_id)
        if not (job["followed"] or job["ended"]):
            self._lab.hub_jobs.go_on(person, job_id, for_jobs(token))
        yield from (dict(each) for each in self._lab.hub_jobs.stream(person, job_id))

    def cancel_job(self, job_id: str, token: str) -> dict:
        """End a job on the Hub. ``token``: needed where the lab does not follow it."""
        person = self._viewer()
        followed = self._lab.hub_jobs.get(person, job_id)["followed"]
        self._lab.hub_jobs.cancel(person, job_id, None if followed else for_jobs(token))
        return dict(self._lab.hub_jobs.get(person, job_id))

    def list_jobs(self) -> dict:
        """Your jobs on the Hub, newest first."""
        return {"jobs": [dict(each) for each in self._lab.hub_jobs.jobs(self._viewer())]}


def _object(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise DataError("config must be a JSON object.")
    return config
