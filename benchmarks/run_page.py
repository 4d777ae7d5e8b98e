"""``python -m benchmarks.run_page``: write the best recorded run as one page, ``assets/run.html``.

To be run again after a change to the page or to that run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from instruct_tune.config.viewer import HOST
from instruct_tune.lab import Lab
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.ui.run_page.page import write_run_page
from instruct_tune.util.assets import asset

FILE = asset("run.html")


def main() -> None:
    """Write the page of a new lab's recorded run."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            put_recorded(lab.store)
            write_run_page(lab.run_pages, HOST, BEST, FILE)
        finally:
            lab.close()
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
