"""Two visitors, Ann and Bob, their uploads, and a hosted lab."""

from __future__ import annotations

import json
from contextlib import contextmanager

from labs import opened, smoke

from instruct_tune.config.viewer import known_by

ANN, BOB = known_by("ann's own secret"), known_by("bob's own secret")


def upload(lab, viewer, rows: int = 40) -> str:
    file = lab.data_dir.parent / "mine.json"
    file.write_text(json.dumps([{"instruction": f"Say {n}", "input": "", "output": str(n)} for n in range(rows)]))
    return str(lab.uploads.keep(viewer, file))


def of(source: str):
    return smoke(data={"source": source})


@contextmanager
def hosted_lab(data_dir, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    with opened(data_dir) as lab:
        yield lab
