"""The toy Hub's machine for jobs: it mounts the job's repository as a folder and runs the script there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from script_runs import ALONE
from toy_hub import ToyHub
from toy_jobs import ToyJob


class JobMachine:
    """Runs jobs with ``python``, which has the libraries and no lab; ``folder`` is for what they write."""

    def __init__(self, toy: ToyHub, address: str, python: Path, folder: Path):
        self._toy, self._address, self._python, self._folder = toy, address, python, folder

    def __call__(self, job: ToyJob) -> None:
        """Run a job to its end. uv is left out: the libraries are there."""
        here = self._folder / job.id
        here.mkdir()
        [volume] = job.spec["volumes"]  # type: ignore[misc]
        for name, content in self._toy.uploads.past[volume["revision"]].items():
            (here / name).write_bytes(content)
        environment = {
            **os.environ, **ALONE, **job.spec["environment"], **job.secrets, "HF_HUB_OFFLINE": "0",
            "HF_ENDPOINT": self._address, "HF_HOME": str(here / "hf"), "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        job.stage = "RUNNING"
        with subprocess.Popen(
            [str(self._python), "run.py"], cwd=here, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            job.lines.extend(line.rstrip("\n") for line in process.stdout or ())
        job.stage = "COMPLETED" if process.returncode == 0 else "ERROR"
