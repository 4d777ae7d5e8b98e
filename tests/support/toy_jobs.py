"""The fake Hub's jobs: prices, start, list, state, log stream and cancelling, moved on by the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from toy_uploads import Account

GPU = {"type": "gpu", "model": "L4", "quantity": "1", "vram": "24 GB", "manufacturer": "Nvidia"}
HARDWARE = [
    {"name": "cpu-basic", "prettyName": "CPU Basic", "cpu": "2 vCPU", "ram": "16 GB", "accelerator": None,
     "unitCostMicroUSD": 167, "unitCostUSD": 0.000167, "unitLabel": "minute"},
    {"name": "l4x1", "prettyName": "1x Nvidia L4", "cpu": "8 vCPU", "ram": "30 GB", "accelerator": GPU,
     "unitCostMicroUSD": 13333, "unitCostUSD": 0.013333, "unitLabel": "minute"},
]  # fmt: skip


@dataclass
class ToyJob:
    """A job. ``spec``: what was posted; ``secrets`` are left out of its JSON, as on the Hub."""

    id: str
    namespace: str
    spec: Mapping[str, object]
    stage: str = "SCHEDULING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)

    @property
    def secrets(self) -> Mapping[str, str]:
        return self.spec.get("secrets", {})  # type: ignore[return-value]

    def as_json(self) -> dict[str, object]:
        hidden = {key: value for key, value in self.spec.items() if key != "secrets"}
        owner = {"id": "1", "name": self.namespace, "type": "user"}
        status = {"stage": self.stage, "message": self.message}
        return {**hidden, "id": self.id, "createdAt": "2026-01-01T00:00:00.000Z", "owner": owner, "status": status}


class Jobs:
    """The jobs of all accounts.

    ``run`` is called on a thread with each job that is started. So many of the next logs as ``cuts`` says break off in
    their middle.
    """

    def __init__(self) -> None:
        self.all: list[ToyJob] = []
        self.hardware: list[dict] = [dict(each) for each in HARDWARE]
        self.run: Callable[[ToyJob], None] | None = None
        self.cuts = 0

    def answer(
        self, method: str, path: str, query: Mapping[str, list[str]], account: Account | None, body: bytes
    ) -> tuple[int, object] | None:
        """The status and JSON of a request about jobs, or the lines of a log as bytes; None for other requests."""
        if not path.startswith("/api/jobs/"):
            return None
        if path == "/api/jobs/hardware":
            return 200, self.hardware
        if account is None:
            return 401, {"error": "Invalid user token."}
        namespace, *rest = path.removeprefix("/api/jobs/").split("/")
        if not account.owns(namespace) or account.role == "read":
            return 403, {"error": "Forbidden: missing permission job.write"}
        if not rest:
            return (200, self._start(namespace, json.loads(body))) if method == "POST" else (200, self._list(query))
        job = next((each for each in self.all if each.id == rest[0]), None)
        if job is None:
            return 404, {"error": "Job not found"}
        if rest[1:] == ["cancel"]:
            job.stage = "CANCELED"
        if rest[1:] == ["logs"]:
            events = [{"data": line, "timestamp": "2026-01-01T00:00:00.000Z"} for line in job.lines]
            tail = int(query["tail"][0]) if "tail" in query else len(events)
            return 200, "".join(f"data: {json.dumps(each)}\n\n" for each in events[-tail:]).encode()
        return 200, job.as_json()

    def _start(self, namespace: str, spec: Mapping[str, object]) -> dict[str, object]:
        job = ToyJob(f"{len(self.all) + 1:024x}", namespace, spec)
        self.all.append(job)
        if self.run:
            threading.Thread(target=self.run, args=[job], daemon=True).start()
        return job.as_json()

    def _list(self, query: Mapping[str, list[str]]) -> list[dict[str, object]]:
        wanted = dict(label.split("=", 1) for label in query.get("label", []))
        return [job.as_json() for job in self.all if wanted.items() <= job.spec.get("labels", {}).items()]  # type: ignore[attr-defined]
