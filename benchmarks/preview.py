"""The first rows of a large file, in a process that does nothing else: ``python -m benchmarks.preview FILE``.

It prints the seconds until they are there, and the most memory that the process has had.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from instruct_tune.config.run_config import RunConfig
from instruct_tune.data.preview import first_rows

from .measure import bytes_of_this_process, timed


def first(file: Path) -> dict[str, float]:
    """Seconds until the first rows of ``file`` are there, and the most memory (MB) this process has had."""
    settings = RunConfig.from_dict({"data": {"source": str(file), "filters": []}}).data
    seconds, found = timed(lambda: first_rows(settings))
    if found is None:
        raise RuntimeError(f"{file} has no first rows")
    return {
        "seconds": seconds,
        "MB": bytes_of_this_process() / 2**20,
        "rows": len(found.rows),
        "estimate": found.estimate,
    }


if __name__ == "__main__":
    print(json.dumps(first(Path(sys.argv[1]))))
