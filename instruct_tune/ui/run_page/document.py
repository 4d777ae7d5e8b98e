"""The file around a run's page: its scripts, styles and values, and the policy that lets nothing else run."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..charts import PLOTLY_JS
from ..scripted_html import Piece, static_text
from .markup import script_json, text


def document(title: str, body: str, values: Mapping[str, Any], pieces: Sequence[Piece], css: str, curve: bool) -> str:
    """The whole file. ``values``: JSON for ``static/run_page.js``. ``curve``: it draws one, with Plotly.

    The policy names the scripts by their hashes, and allows no request: whatever a text of ``body`` or ``values`` might
    become, it does not run.
    """
    script = _script(pieces)
    hashes = [_hash(script), *([_hash(_plotly())] if curve else [])]
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    styles = "".join(f".piece-{piece.name} {{\n{piece.css}}}\n" for piece in pieces)
    library = f'<script type="text/plain" id="plotly">{_packed_plotly()}</script>\n' if curve else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>\n{static_text('run_page.css')}{css}{styles}</style>\n</head>\n<body>\n"
        f'{body}\n<script type="application/json" id="values">{script_json(values)}</script>\n'
        f"{library}<script>{script}</script>\n</body>\n</html>\n"
    )


def _script(pieces: Sequence[Piece]) -> str:
    """One script: a function a piece, with the arguments that gradio gives it in the lab, and what calls them."""
    functions = "".join(
        f"{piece.name}: (element, props, watch, trigger) => {{\n{piece.script}}},\n" for piece in pieces
    )
    return f"'use strict';\n{{\nconst PIECES = {{\n{functions}}};\n{static_text('run_page.js')}}}\n"


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@functools.cache
def _plotly() -> str:
    # A parser of HTML reads every kind of line end as this one.
    return PLOTLY_JS.read_text(encoding="utf-8")


@functools.cache
def _packed_plotly() -> str:
    """Plotly, a third of its size: the page unpacks it. The same bytes each time."""
    return base64.b64encode(gzip.compress(_plotly().encode(), 9, mtime=0)).decode()
