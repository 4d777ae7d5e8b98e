"""``python -m benchmarks.first_content``: record what a new page shows before any slow import is done.

To be run again after a change to the bundled rows, the split, the template or the default model's tokenizer. Tests
compare the file with what the code computes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.inspection.first_content import FILE, PRESET_NAMES, ROWS, FirstContent
from instruct_tune.lab import Lab


def main() -> None:
    """Compute the views of each preset and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            views = {name: computed(lab, PRESETS[name]).to_dict() for name in PRESET_NAMES}
        finally:
            lab.close()
    FILE.write_text(json.dumps(views, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")


def computed(lab: Lab, config: RunConfig) -> FirstContent:
    """The views of ``config``, by the services that compute them for a page."""
    return FirstContent(
        lab.datasets.summary(HOST, config),
        lab.datasets.page(HOST, config, size=ROWS),
        lab.datasets.token_view(HOST, config, 0),
    )


if __name__ == "__main__":
    main()
