"""One run as a page: its contents laid out in sections, with the values that its scripts draw."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from ...config.viewer import Viewer
from ...errors import DataError
from ...services.run_pages import MAX_ANSWERS, RunContents, RunPages
from ...util.atomic_write import write_file
from ..charts import loss_figure
from ..compare import first_views
from ..compare.heat_map import PIECE as HEAT_MAP
from ..compare.token_losses import why_value
from ..format import batch_grid, token_grid
from ..scripted_html import unpacked
from ..train import scrubber
from . import sections
from .document import document
from .markup import text

MAX_BYTES = 3_000_000
ENDINGS = (".html", ".htm")
ANSWERS = (MAX_ANSWERS, 20, 5, 1)
"""How many rows the page shows at most; of long rows as many as fit."""


def run_page(pages: RunPages, viewer: Viewer, run_id: str, with_rows: bool = False) -> str:
    """The run as one HTML file that needs no network. ``with_rows``: with the texts of private rows.

    Raises NotFoundError, and DataError where the file would be larger than ``MAX_BYTES``.
    """
    recorded = first_views.of_run(run_id)
    contents = pages.contents(viewer, run_id, with_rows, losses=recorded is None)
    for most in ANSWERS:
        fewer = dataclasses.replace(contents, answers=contents.answers[:most], tokens=contents.tokens[:most])
        html = page_html(fewer, recorded.why if recorded else None)
        if len(html.encode("utf-8", "replace")) <= MAX_BYTES:
            return html
    raise DataError("The rows of this run are too long for a page of 3 MB.")


def write_run_page(pages: RunPages, viewer: Viewer, run_id: str, to: Path, with_rows: bool = False) -> Path:
    """Write ``run_page`` to a file ending in .html, whole or not at all.

    Raises DataError where it cannot be written.
    """
    if to.suffix.lower() not in ENDINGS:
        raise DataError(f"{to.name}: a page is saved as .html; give such a name.")
    html = run_page(pages, viewer, run_id, with_rows)
    try:
        write_file(to, html.encode("utf-8", "replace").decode())
    except OSError as error:
        with contextlib.suppress(OSError):
            to.with_name(f"{to.name}.partial").unlink()
        raise DataError(f"{to.name} cannot be written: {error.strerror or error}.") from error
    return to


def page_html(contents: RunContents, recorded_why: dict[str, Any] | None = None) -> str:
    """The whole file. ``recorded_why``: the token losses, where they need no model."""
    why = why_value(contents.losses) if contents.losses else recorded_why if contents.has_texts else None
    parts = {
        "curve": ("How it learned", sections.curve(contents)),
        "answers": ("Base and tuned", sections.answers(contents)),
        "numbers": ("BLEU", sections.numbers(contents)),
        "losses": ("Token losses", sections.losses(contents, why)),
        "tokens": ("What carries loss", sections.tokens(contents)),
        "batch": ("The first batch", sections.step(contents)),
        "ledger": ("Ledger of the data", sections.ledger(contents)),
        "settings": ("Settings", sections.settings(contents)),
        "script": ("As plain Python", sections.script(contents)),
    }
    drawn = (sections.LOSS_CHART, scrubber.PIECE, HEAT_MAP, token_grid.PIECE, batch_grid.PIECE)
    pieces = [piece for piece in drawn if any(f'data-piece="{piece.name}"' in html for _, html in parts.values())]
    return document(
        contents.run.name,
        _body(contents, parts),
        _values(contents, why),
        pieces,
        sections.SCORES_LOOK,
        curve=sections.LOSS_CHART in pieces,
    )


def _body(contents: RunContents, parts: dict[str, tuple[str, str]]) -> str:
    links = "".join(f'<li><a href="#{name}">{text(title)}</a></li>' for name, (title, _) in parts.items())
    main = "".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{text(title)}</h2>{html}</section>'
        for name, (title, html) in parts.items()
    )
    return (
        '<a class="skip" href="#main">Skip to the run</a>'
        '<noscript><p class="missing">Without JavaScript this page shows its texts and tables, and neither curve nor '
        "tokens.</p></noscript>"
        f'<nav aria-label="Sections"><ul>{links}</ul><button type="button" id="theme" hidden>Dark</button></nav>'
        f'<main id="main">{sections.head(contents)}{main}'
        '<footer class="quiet">Written by the Instruction-Tuning Lab. This file holds everything that it shows: it '
        "needs no network and sends nothing.</footer></main>"
    )


def _values(contents: RunContents, why: dict[str, Any] | None) -> dict[str, Any]:
    """The JSON in the page: the run's numbers as the endpoints give them, and what each piece draws."""
    run, status = contents.run, contents.status
    figure = loss_figure(contents.metrics, run.id, False, status["findings"], run.provenance, 0)
    scrubbed = scrubber.scrubber_value(
        run.id, False, status["total_steps"], bool(run.config["train"].get("probes", True)), contents.scrub
    )
    pieces: dict[str, Any] = {sections.CHART_ID: figure, sections.SCRUBBER_ID: unpacked(scrubbed)}
    for at, view in enumerate(contents.tokens):
        pieces[sections.TOKENS_ID.format(at)] = unpacked(token_grid.grid_value(view))
    if contents.step:
        pieces[sections.STEP_ID] = unpacked(batch_grid.grid_value(contents.step))
    if why:
        pieces[sections.LOSSES_ID] = why["tokens"]
    return {
        "run": {"id": run.id, "name": run.name, "config": run.config, **status},
        "evaluation": contents.evaluation,
        "verdict": contents.verdict,
        "ledger": run.provenance.get("ledger"),
        "pieces": pieces,
    }
