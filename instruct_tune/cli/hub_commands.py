"""Commands that write to the Hub with the login of this machine: a push, and jobs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..config.run_config import RunConfig
from ..config.viewer import HOST
from ..errors import LabError
from ..lab import Lab
from ..pretrained.hub_token import of_this_machine
from ..services.hub_jobs import JobView
from ..store.hub_jobs import SENDING, STARTING

Outcome = tuple[dict[str, Any], int]


def push(lab: Lab, args: argparse.Namespace) -> Outcome:
    """Push a run, and report its phases."""
    for notice in lab.push.notices(HOST, args.run_id):
        _report(notice)
    job = lab.push.start(
        HOST,
        args.run_id,
        args.to,
        of_this_machine(),
        private=args.private,
        rows=args.rows,
        replace=args.replace,
        follow=_report,
    )
    phase = None
    try:
        for update in lab.push.follow(job):
            if update.get("phase") not in (None, "", phase):
                phase = update["phase"]
                _report(phase)
    except KeyboardInterrupt:
        _report("what has arrived is not sent again: the same command goes on from there")
        raise
    result = lab.push.result(job)
    _report(result["message"])
    return dict(result), 0


def machines(lab: Lab, args: argparse.Namespace) -> Outcome:
    """The Hub's machines with their prices."""
    prices = lab.hub_jobs.prices(of_this_machine())
    return {"machines": [{"name": m.name, "words": m.words, "usd_an_hour": m.price(60)} for m in prices]}, 0


def start_job(lab: Lab, args: argparse.Namespace, config: RunConfig | None) -> Outcome:
    """Start a job once its price is agreed to, and wait until the Hub has it; without ``--pay`` report the price."""
    own = of_this_machine()
    if args.pay is None:
        price = lab.hub_jobs.quote(own, args.flavor, args.minutes)
        _report(f"at most ${price:,.2f}: add --pay {price:.2f} to start it")
        return {"flavor": args.flavor, "minutes": args.minutes, "at_most_usd": price, "started": False}, 0
    begun = lab.hub_jobs.start(HOST, args.run_id, args.flavor, args.minutes, args.pay, own, config)
    for job in lab.hub_jobs.stream(HOST, begun["job_id"]):
        if job["status"] not in (STARTING, SENDING):
            break
    if job["status"] == "not started" or job["fault"]:
        raise LabError(job["fault"] or job["message"])
    _report(f"follow it with: jobs follow {job['job_id']}")
    return {**job, "started": True}, 0


def list_jobs(lab: Lab, args: argparse.Namespace) -> Outcome:
    """The jobs of this data folder."""
    return {"jobs": lab.hub_jobs.jobs(HOST)}, 0


def follow_job(lab: Lab, args: argparse.Namespace) -> Outcome:
    """Follow a job with its log until its run is back."""
    lab.hub_jobs.go_on(HOST, args.job_id, of_this_machine())
    try:
        return _followed(lab, args.job_id)
    except KeyboardInterrupt:
        _report("the job goes on: the same command finds it again")
        raise


def cancel_job(lab: Lab, args: argparse.Namespace) -> Outcome:
    """End a job on the Hub, and wait until it has ended."""
    lab.hub_jobs.cancel(HOST, args.job_id, of_this_machine())
    return _followed(lab, args.job_id)


def _followed(lab: Lab, job_id: str) -> Outcome:
    printed: list[str] = []
    message = ""
    for job in lab.hub_jobs.stream(HOST, job_id):
        for line in _new(printed, job["log"]):
            _report(line)
        printed = job["log"] or printed
        if message != (message := job["fault"] or job["message"]):
            _report(message)
    return _outcome(job)


def _outcome(job: JobView) -> Outcome:
    return dict(job), 0 if job["status"] in ("done", "cancelled") else 1


def _new(before: list[str], now: list[str]) -> list[str]:
    """The lines of a log's end that were not there at the last look."""
    for kept in range(min(len(before), len(now)), 0, -1):
        if before[-kept:] == now[:kept]:
            return now[kept:]
    return now


def _report(text: str) -> None:
    print(text, file=sys.stderr)
