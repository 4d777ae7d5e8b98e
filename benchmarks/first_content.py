"""``python -m benchmarks.first_content``: record what a new page shows before any slow import is done.

To be run again after a change to the bundled rows, the split, the template, the default model's tokenizer, or the best
example run. Tests compare the files with what the code computes.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from instruct_tune.compute.answer_work import BASE_RUN
from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.inspection.first_content import FILE, PRESET_NAMES, ROWS, FirstContent
from instruct_tune.lab import Lab
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.ui.compare import first_views
from instruct_tune.ui.compare.adapter_effect import effect_value
from instruct_tune.ui.compare.batch import FIRST_INSTRUCTIONS, TITLES, answer_rows
from instruct_tune.ui.compare.search import FIRST_TOKENS, search_value
from instruct_tune.ui.compare.token_losses import why_value


def main() -> None:
    """Compute the views of each preset and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            views = {name: computed(lab, PRESETS[name]).to_dict() for name in PRESET_NAMES}
            put_recorded(lab.store)
            write(FILE, views)
            write(first_views.FILE, compared(lab))
        finally:
            lab.close()


def write(file: Path, value: Any) -> None:
    """Write an asset."""
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{file.name}: {file.stat().st_size:,} bytes")


def computed(lab: Lab, config: RunConfig) -> FirstContent:
    """The views of ``config``, by the services that compute them for a page."""
    return FirstContent(
        lab.datasets.summary(HOST, config),
        lab.datasets.page(HOST, config, size=ROWS),
        lab.datasets.token_view(HOST, config, 0),
    )


def compared(lab: Lab) -> dict[str, Any]:
    """What Compare's views show of the best example run, and of its first held-out row."""
    row = lab.answerers.held_out_row(HOST, BEST, 0)
    *_, searched = lab.inference.search(HOST, BEST, row.instruction, row.input, FIRST_TOKENS)
    generation = {"max_new_tokens": 96, "max_length": None, "num_beams": 1, "do_sample": False}
    answerers = [{"run_id": BASE_RUN}, {"run_id": BEST}]
    pairs = [(instruction, "") for instruction in FIRST_INSTRUCTIONS]
    *_, answers = lab.inference.compare_rows(HOST, answerers, pairs, generation)
    rows = answer_rows(FIRST_INSTRUCTIONS, TITLES, answers)
    views = first_views.FirstViews(
        why=why_value(lab.inference.token_losses(HOST, BEST, row)),
        search=search_value(searched, row.instruction, row.input, FIRST_TOKENS),
        effect=effect_value(lab.inference.adapter_effect(HOST, BEST)),
        many={"generation": generation, "rows": rows},
    )
    return dataclasses.asdict(views)


if __name__ == "__main__":
    main()
