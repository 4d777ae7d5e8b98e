"""The fold "Run as a Hub job": the chosen run is trained anew on a machine of the Hub, and comes back as a run."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import DataError
from ...pretrained.hub_token import for_jobs
from ...services.access import Access
from ...services.hub_jobs import HubJobs, JobView
from ...services.runs import Runs
from ...text.markdown import plain
from ..context import QUIET, viewer
from .details import required

NOTHING_CHOSEN = "Choose a run first."
NO_JOB = (
    "Its script trains on a machine of the Hub, which your account pays by the minute. Adapter and numbers come back "
    "as a run; at the limit of time the Hub ends it, and nothing comes back."
)
SHOWN_LINES = 60


class HubJobPanel:
    """The fold; the page's timer updates it, so that a job is found again after a refresh or a restart."""

    def __init__(self, chosen: gr.State, *, hub_jobs: HubJobs, runs: Runs, access: Access):
        self.hub_jobs, self.runs, self.access, self.chosen = hub_jobs, runs, access, chosen
        self.seen, self.agreed = gr.State(None), gr.State(None)
        with gr.Accordion("Run as a Hub job", open=False, elem_id="runs-job"):
            self.token = gr.Textbox(
                type="password",
                label="Token for jobs and repositories",
                info=self._token_help(),
                elem_id="runs-job-token",
                html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
            )
            with gr.Row(elem_classes="buttons"):
                self.ask = gr.Button("Show machines and prices", size="sm", min_width=0, elem_id="runs-job-prices")
            self.flavor = gr.Dropdown(label="Machine", choices=[], visible=False, elem_id="runs-job-flavor")
            self.minutes = gr.Number(
                60, label="Minutes at most", precision=0, minimum=1, visible=False, elem_id="runs-job-minutes"
            )
            with gr.Row(elem_classes="buttons"):
                self.go = gr.Button("Start", size="sm", min_width=0, visible=False, elem_id="runs-job-go")
                self.on = gr.Button("Go on", size="sm", min_width=0, visible=False, elem_id="runs-job-on")
                self.end = gr.Button("Cancel the job", size="sm", min_width=0, visible=False, elem_id="runs-job-cancel")
            self.line = gr.Markdown(NOTHING_CHOSEN, elem_id="runs-job-line")
            self.log = gr.Textbox(
                label="The job's last lines", lines=6, max_lines=12, visible=False, elem_id="runs-job-log"
            )

    @property
    def inputs(self) -> list[Any]:
        return [self.chosen, self.seen]

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.line, self.log, self.on, self.end]

    def wire(self) -> None:
        """Connect the buttons."""
        choice = [self.flavor, self.minutes, self.token]
        quoted = [self.agreed, self.go]
        self.ask.click(self._prices, self.token, [self.flavor, self.minutes, *quoted], **QUIET)
        # The price is that of the last choice, also where the Hub has not answered about one before.
        gr.on([self.flavor.input, self.minutes.input], self._quote, choice, quoted, trigger_mode="always_last", **QUIET)
        started = [self.chosen, *choice, self.agreed]
        self.go.click(self._start, started, [self.token, *quoted, *self.outputs], **QUIET)
        self.on.click(self._go_on, [self.chosen, self.token], [self.token, *self.outputs], **QUIET)
        self.end.click(self._cancel, [self.chosen, self.token], self.outputs, **QUIET)
        self.chosen.change(self.show, self.inputs, self.outputs, **QUIET)

    def show(self, run_id: str | None, seen: Any) -> list[Any]:
        """Where the visitor's job of the chosen run stands, if that has changed."""
        user = viewer(self.access)
        if not run_id or not self.runs.is_visible(user, run_id):
            now: list[Any] = [NOTHING_CHOSEN, "", False, False]
        else:
            now = _state(self.hub_jobs.of(user, run_id))
        if seen == now:
            return [gr.skip()] * 5
        line, log, can_go_on, can_end = now
        shown = gr.Textbox(log, visible=bool(log))
        return [now, line, shown, gr.Button(visible=can_go_on), gr.Button(visible=can_end)]

    def _prices(self, token: str) -> list[Any]:
        flavors = self.hub_jobs.prices(for_jobs(token))
        choices = [(f"{each.words} · ${each.price(60):,.2f} an hour", each.name) for each in flavors]
        return [
            gr.Dropdown(choices=choices, value=None, visible=True),
            gr.Number(visible=True),
            None,
            gr.Button("Choose a machine", visible=True, interactive=False),
        ]

    def _quote(self, flavor: str | None, minutes: float | None, token: str) -> list[Any]:
        if not flavor or not minutes:
            return [None, gr.Button("Choose a machine", interactive=False)]
        price = self.hub_jobs.quote(for_jobs(token), flavor, int(minutes))
        return [price, gr.Button(f"Start for at most ${price:,.2f}", interactive=True)]

    def _start(self, run_id: str | None, flavor: str, minutes: float, token: str, agreed: float | None) -> list[Any]:
        chosen = required(run_id)
        if agreed is None:
            raise DataError("Choose a machine and minutes first: their price is shown before anything starts.")
        self.hub_jobs.start(viewer(self.access), chosen, flavor, int(minutes), agreed, for_jobs(token))
        return ["", None, gr.Button("Choose a machine", interactive=False), *self.show(chosen, None)]

    def _go_on(self, run_id: str | None, token: str) -> list[Any]:
        self.hub_jobs.go_on(viewer(self.access), self._job(run_id)["job_id"], for_jobs(token))
        return ["", *self.show(run_id, None)]

    def _cancel(self, run_id: str | None, token: str) -> list[Any]:
        user, job = viewer(self.access), self._job(run_id)
        self.hub_jobs.cancel(user, job["job_id"], None if job["followed"] else for_jobs(token))
        return self.show(run_id, None)

    def _job(self, run_id: str | None) -> JobView:
        job = self.hub_jobs.of(viewer(self.access), required(run_id))
        if job is None:
            raise DataError("This run has no job.")
        return job

    def _token_help(self) -> str:
        if self.access.multi_user:
            return "Your own, where your sign-in does not do. The job gets it as a secret; the lab never stores it"
        return "Empty: the login of this machine. The job gets it as a secret; the lab never stores it"


def _state(job: JobView | None) -> list[Any]:
    """The line, the log, and whether the job can be followed again and be cancelled."""
    if job is None:
        return [NO_JOB, "", False, False]
    machine = f"{job['flavor']}, {job['minutes']:,} minutes and ${job['at_most_usd']:,.2f} at most."
    texts = [plain(each, 600) for each in (job["message"], job["fault"], machine) if each]
    # The address is the Hub's own, with an account and an id from its reply; the name of a run is not in it.
    link = [f"[Open it on the Hub]({job['url']})"] if job["url"] else []
    is_live = not job["ended"]
    return [
        " ".join(texts + link),
        "\n".join(job["log"][-SHOWN_LINES:]),
        is_live and not job["followed"],
        is_live and job["status"] != "arriving",
    ]
