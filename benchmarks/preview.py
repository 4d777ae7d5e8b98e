"""The first rows of a large file, in a process of their own: ``python -m benchmarks.preview FILE``.

It prints JSON with the seconds until they are read, and the peak memory of the process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from instruct_tune.config.run_config import RunConfig
from instruct_tune.data.preview import first_rows

from .measure import bytes_of_this_process, timed


def first(file: Path) -> dict[str, float]:
    """Seconds until the first rows of ``file`` are read, their number, the estimate of all, and peak memory in MB."""
    settings = RunConfig.from_dict({"data": {"source": str(file), "filters": []}}).data
    seconds, preview = timed(lambda: first_rows(settings))
    if preview is None:
        raise RuntimeError(f"{file} has no first rows")
    return {
        "seconds": seconds,
        "MB": bytes_of_this_process() / 2**20,
        "rows": len(preview.rows),
        "estimate": preview.estimate,
    }


if __name__ == "__main__":
    print(json.dumps(first(Path(sys.argv[1]))))
