"""Jobs on the Hub, in a person's name: prices, start, state, log, cancelling, and the files that a job left behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.environment import check_download
from ..errors import HubError, ModelError
from ..util.progress import Loading
from . import hub, hub_upload
from .hub_faults import HubFault, Wording, explained, no_access, patiently
from .hub_token import TOKENS_PAGE, HubToken

if TYPE_CHECKING:
    from huggingface_hub import HfApi

AGAIN = "try again"
LABEL = "instruction-tuning-lab"
"""The label of each job, by which it is found again; its value is the lab's own id of the job."""
IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"
SCRIPT = "run.py"
_MOUNT = "/lab"
# In a folder of its own, since the repository is mounted to be read alone.
COMMAND = ["sh", "-c", f"mkdir -p /work && cp {_MOUNT}/* /work && cd /work && uv run {SCRIPT}"]
TAIL, LONGEST_LINE = 200, 500
"""The last lines of a log that are read, and the characters of one."""
_UNITS = {"second": 1 / 60, "minute": 1, "hour": 60, "day": 1440}
BILLING_PAGE = "https://huggingface.co/settings/billing"


@dataclass(frozen=True)
class Flavor:
    """A machine that the Hub lends. ``usd``: the price of ``unit`` minutes."""

    name: str
    words: str
    usd: float
    unit: float

    def price(self, minutes: float) -> float:
        """US dollars for so many minutes, rounded up to a cent."""
        return math.ceil(round(self.usd / self.unit * minutes * 100, 6)) / 100


@dataclass(frozen=True)
class State:
    """What the Hub says of a job. ``stage``: SCHEDULING, RUNNING, COMPLETED, CANCELED, ERROR or DELETED."""

    stage: str
    message: str


def account(own: HubToken, loading: Loading) -> str:
    """The name of the token's account."""
    with _client(own) as api:
        return str(patiently(api.whoami, loading)["name"])


def flavors(own: HubToken) -> list[Flavor]:
    """The machines with their prices. Those whose price has a unit that the lab does not know are left out."""
    with _client(own) as api:
        known = [each for each in api.list_jobs_hardware() if each.unit_label in _UNITS]
    return [Flavor(each.name, _words(each), each.unit_cost_usd, _UNITS[each.unit_label]) for each in known]


def start(
    namespace: str, job_id: str, repo: str, commit: str, flavor: str, minutes: int, own: HubToken, loading: Loading
) -> str:
    """Start the script of ``repo`` at ``commit`` on a machine; returns the Hub's id of the job.

    The token goes along as a secret of the job, which puts its results into ``repo`` with it.
    """
    from huggingface_hub import Volume

    with _client(own) as api:
        job = patiently(
            lambda: api.run_job(
                image=IMAGE,
                command=COMMAND,
                env={"PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
                secrets={"HF_TOKEN": own.secret},
                flavor=flavor,
                timeout=60 * minutes,
                labels={LABEL: job_id, "name": f"instruction-tuning-{job_id}"},
                volumes=[Volume(type="model", source=repo, mount_path=_MOUNT, revision=commit, read_only=True)],
                namespace=namespace,
            ),
            loading,
        )
        return str(job.id)


def address(namespace: str, hub_id: str) -> str:
    """The job's page on the Hub."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/jobs/{namespace}/{hub_id}"


def find(namespace: str, job_id: str, own: HubToken) -> str | None:
    """The Hub's id of the lab's job, by its label; None where it was never started."""
    with _client(own) as api:
        return next((str(each.id) for each in api.list_jobs(labels={LABEL: job_id}, namespace=namespace)), None)


def state(namespace: str, hub_id: str, own: HubToken) -> State:
    """Where a job stands. Raises HubFault, with status 404 where the Hub knows it no more."""
    with _client(own) as api:
        status = api.inspect_job(job_id=hub_id, namespace=namespace).status
        return State(str(getattr(status.stage, "value", status.stage)), status.message or "")


def read_log(namespace: str, hub_id: str, own: HubToken, line: Callable[[str], None]) -> None:
    """Call ``line`` with each of the last lines of a job's log, without the token, should the job print it."""
    with _client(own) as api:
        for text in api.fetch_job_logs(job_id=hub_id, namespace=namespace, tail=TAIL):
            line(text.replace(own.secret, "…")[:LONGEST_LINE])


def cancel(namespace: str, hub_id: str, own: HubToken) -> None:
    """Ask the Hub to end a job."""
    with _client(own) as api:
        api.cancel_job(job_id=hub_id, namespace=namespace)


def fetch_results(repo: str, names: tuple[str, ...], own: HubToken, to: Path, loading: Loading) -> Path:
    """Download those of the files ``names`` that ``repo`` has into a cache below ``to``; returns their folder.

    Raises ModelError beyond the limit of downloads, HubFault and Stopped.
    """
    with _client(own) as api:
        info = api.model_info(repo, files_metadata=True, timeout=hub_upload.INFO_SECONDS)
    sizes = {each.rfilename: each.size or 0 for each in info.siblings or [] if each.rfilename in names}
    if not sizes or not info.sha:
        raise HubError(f"{repo} has no adapter: the job's log says what went wrong.")
    check_download(repo, sum(sizes.values()), ModelError)
    return hub_upload.fetch_back(repo, list(sizes), info.sha, own, to, loading, AGAIN)


def _words(machine: Any) -> str:
    gpu = machine.accelerator
    return f"{machine.pretty_name}, {gpu.vram}" if gpu else f"{machine.pretty_name}, {machine.cpu}, {machine.ram}"


@contextmanager
def _client(own: HubToken) -> Iterator[HfApi]:
    """The Hub's client with this token. Raises HubFault, and HubError where a sign-in has expired."""
    from huggingface_hub import HfApi

    own.require_valid()
    if not hub.hub_reachable():
        raise HubFault(f"The Hub cannot be reached: go online, and {AGAIN}.", passes=True)
    credit = f"This account has no credit for the job: add some at {BILLING_PAGE}, and {AGAIN}."
    refused = no_access(
        own,
        "run jobs and write to the account's repositories",
        f"make one with the permissions of jobs and repositories at {TOKENS_PAGE}",
        "sign in again and let the lab run jobs, or paste a token that may",
    )
    gone = "The Hub does not know this job: it was removed there, or belongs to another account."
    with explained(own, Wording(AGAIN, "The Hub did not take the job", {402: credit, 403: refused, 404: gone})):
        yield HfApi(token=own.secret)
