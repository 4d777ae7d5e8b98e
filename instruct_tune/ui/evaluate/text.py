"""Texts of the Evaluate tab: sentences, the score table, the rows of a page. Pure functions, no gradio."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...evaluation import bleu_tokenizers
from ...export.figures import SIDES
from ...text.markdown import plain
from ..formatting import decoding, duration
from ..run_text import line_sentence

PAGE = 25
CELL = 160
"""Characters of a text in a table cell; the selected row shows its texts in full."""

LANGUAGES = {"python": "Python", "json": "JSON", "sql": "SQL", "html": "HTML"}

BASELINES = {
    "chat": "base, its own chat template",
    "examples": "base, shown three examples",
    "nearest": "the nearest training row",
}
"""Baseline → label. Baselines are measured beside base and tuned."""

ALL, DIFFER, WORSE, BETTER = "All rows", "Answers differ", "Got worse", "Got better"
UNENDED, BASE_UNENDED = "Tuned hit the limit", "Base hit the limit"
SHOWS = (ALL, DIFFER, WORSE, BETTER, UNENDED, BASE_UNENDED)
CHANGED, BEST, WORST, SPLIT = "What changed most", "Gain, best first", "Gain, worst first", "As in the split"
SORTS = (CHANGED, BEST, WORST, SPLIT)
HEADERS = ["row", "gain", "instruction", "expected", "base", "tuned"]


# One evaluation as a whole


def sentence(evaluation: Mapping[str, Any]) -> str:
    """The result in one paragraph, with its uncertainty and warnings. Markdown."""
    base, tuned, rows = evaluation["base"], evaluation["tuned"], evaluation["rows"]
    chance = (
        f"paired bootstrap p = {evaluation['p_value']:.3f}"
        if evaluation["p_value"] is not None
        else "too few rows for a test"
    )
    if interval := evaluation["delta_ci"]:
        chance = f"95% interval {interval[0]:+.1f} to {interval[1]:+.1f}, {chance}"
    warnings = [evaluation["other_weights"], *evaluation["warnings"]]
    warned = "".join(f"\n\n**Note:** {plain(warning, 500)}" for warning in warnings if warning)
    return (
        f"**Tuned {tuned['bleu']:.1f} vs base {base['bleu']:.1f} BLEU** on {_rows(evaluation)}, "
        f"difference **{evaluation['delta']:+.1f}** ({chance}). "
        f"{evaluation['tuned_ended']} of {rows} tuned answers end by themselves, {evaluation['base_ended']} of base."
        f"{_baselines(evaluation)}{warned}"
    )


def _rows(evaluation: Mapping[str, Any]) -> str:
    """The rows of an evaluation; where more were requested than are held out, both numbers."""
    rows = evaluation["rows"]
    words = f"{rows:,} held-out row{'s' * (rows != 1)}"
    # An evaluation from before this was stored has none.
    requested = evaluation.get("rows_requested")
    more = requested is not None and requested > rows
    return f"{'all ' * (rows != 1)}{words} ({requested:,} were asked for)" if more else words


def origin(evaluation: Mapping[str, Any], recorded: str | None, held_out: float) -> str:
    """Where, when and how it was measured, in one line of markdown.

    ``recorded``: as ``recorded_on`` gives it. ``held_out``: the share of the rows that the run's split holds out, which
    may be another one than the form's.
    """
    begin = f"{recorded[:1].upper()}{recorded[1:]}, evaluated" if recorded else "Evaluated"
    return plain(f"{begin} {measured_when(evaluation)} · the run's own split, {100 * held_out:g}% held out", 400)


def _baselines(evaluation: Mapping[str, Any]) -> str:
    """The baselines' scores: how far each gets without training."""
    scores = [f"{BASELINES[name]}, **{report['bleu']:.1f}**" for name, report in baselines_of(evaluation).items()]
    return f" Without any training: {'; '.join(scores)}." if scores else ""


def baselines_of(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The reports of the measured baselines, in the order of ``BASELINES``."""
    measured = evaluation["baselines"]
    return {name: measured[name] for name in BASELINES if name in measured}


def score_headers(evaluation: Mapping[str, Any]) -> list[str]:
    return ["measure", "base", "tuned", *(SIDES[name] for name in baselines_of(evaluation))]


def measured_when(entry: Mapping[str, Any]) -> str:
    """An evaluation's label: ``24 Nov 2026, 21:53 · 40 rows · Greedy decoding, at most 96 new tokens``.

    It names the tokenisation where that is not the default.
    """
    when = time.strftime("%d %b %Y, %H:%M", time.localtime(entry["time"]))
    return f"{when} · {entry['rows']} rows · {decoding(entry['generation']).rstrip('.')}{_tokenisation(entry)}"


def _tokenisation(evaluation: Mapping[str, Any]) -> str:
    named = evaluation["tokenize"]
    return "" if named == bleu_tokenizers.DEFAULT else f" · tokenisation {named}"


def tokenisations() -> list[tuple[str, str]]:
    """(label, name) of the tokenisations that are installed."""
    return [(f"{name}: {bleu_tokenizers.DESCRIPTIONS[name]}", name) for name in bleu_tokenizers.offered()]


def choices(evaluations: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """(label, seq) for a dropdown, newest first."""
    return [(f"{measured_when(entry)} · {entry['delta']:+.1f} BLEU", entry["seq"]) for entry in evaluations]


def score_rows(evaluation: Mapping[str, Any]) -> list[list[Any]]:
    """All sides side by side, one measure a row. ``—``: not measured."""
    others = baselines_of(evaluation).values()

    def line(name: str, value_of: Any) -> list[Any]:
        return [name, *(value_of(report) for report in (evaluation["base"], evaluation["tuned"], *others))]

    def side(name: str, field: str, format_spec: str) -> list[Any]:
        values = [evaluation.get(f"{key}_{field}") for key in ("base", "tuned")] + [
            other.get(field) for other in others
        ]
        return [name, *("—" if value is None else format_spec.format(value) for value in values)]

    return [
        line("BLEU", lambda report: f"{report['bleu']:.2f}"),
        line("95% interval", lambda report: "{:.1f} to {:.1f}".format(*report["ci"]) if report["ci"] else "—"),
        line("chrF2", lambda report: f"{report['chrf']:.1f}"),
        *(line(f"{n}-gram precision", lambda report, n=n: f"{report['precisions'][n - 1]:.1f}") for n in (1, 2, 3, 4)),
        line("brevity penalty", lambda report: f"{report['bp']:.3f}"),
        line("words, answer / reference", _lengths),
        side("the reference, word for word", "exact", "{:,}"),
        *_parsed_row(evaluation),
        side("ended by themselves", "ended", "{:,}"),
        side("hit the token limit", "hit_limit", "{:,}"),
        *([side("prompt left no room", "no_room", "{:,}")] if _no_room(evaluation) else []),
        side("empty answers", "empty", "{:,}"),
        side("tokens an answer, mean", "mean_tokens", "{:.1f}"),
        side("decoding, seconds", "seconds", "{:.1f}"),
        side("answers known from an earlier evaluation", "remembered", "{:,}"),
    ]


def _no_room(evaluation: Mapping[str, Any]) -> int:
    """How many answers of both sides are empty because of their prompts."""
    return sum(evaluation.get(f"{side}_no_room", 0) for side in ("base", "tuned"))


def _lengths(report: Mapping[str, Any]) -> str:
    ratio = f" ({report['sys_len'] / report['ref_len']:.2f})" if report["ref_len"] else ""
    return f"{report['sys_len']:,} / {report['ref_len']:,}{ratio}"


def _parsed_row(evaluation: Mapping[str, Any]) -> list[list[Any]]:
    """The table row of answers that parse, among rows of code; none where there are no such rows."""
    parsed = evaluation["parsed"]
    if not parsed["rows"]:
        return []
    names = ", ".join(LANGUAGES[name] for name in parsed["languages"])
    cells = (f"{parsed[key]:,} of {parsed['rows']:,}" for key in ("base", "tuned"))
    return [[f"code that parses ({names})", *cells, *("—" for _ in baselines_of(evaluation))]]


def measured_with(
    evaluation: Mapping[str, Any], provenance: Mapping[str, Any], verdict: Mapping[str, Any] | None
) -> str:
    """The settings, data and versions to quote with the numbers, as JSON text to copy."""
    quoted = {
        "rows": evaluation["rows"],
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(evaluation["time"])),
        "signature": evaluation["tuned"]["signature"],
        "generation": evaluation["generation"],
        "data_fingerprint": evaluation["data_fingerprint"],
        **{name: evaluation[name] for name in ("weights_source", "weights_sha256", "other_weights")},
        **{name: provenance.get(name) for name in ("device", "versions")},
        "evidence": verdict["evidence"] if verdict else None,
    }
    return json.dumps(quoted, indent=2, ensure_ascii=False)


def progress(work: Mapping[str, Any]) -> str:
    """The progress of an evaluation. Markdown."""
    if work.get("place"):
        return line_sentence(work)
    if "error" in work:
        return f"**{plain(work['error'], 400)}**" + _estimate(work)
    if "message" in work:
        return f"{plain(work['message'])}…"
    if "done" not in work:
        return ""
    parts = [f"**Answering**: {work['done']} of {work['total']} answers ({_sides(work.get('baselines', 0))})"]
    if work.get("answers_per_second"):
        parts.append(f"{work['answers_per_second']:.1f} answers/s")
    if work.get("seconds_left") is not None:
        parts.append(f"at most {duration(work['seconds_left'])} left")
    return " · ".join(parts) + _estimate(work)


def _sides(baselines: int) -> str:
    if not baselines:
        return "base and tuned"
    return f"base, tuned and {baselines} baseline{'s' * (baselines != 1)}"


def _estimate(work: Mapping[str, Any]) -> str:
    estimate = work.get("estimate")
    if not estimate:
        return ""
    interval = estimate.get("delta_ci")
    chance = f" (95% interval {interval[0]:+.1f} to {interval[1]:+.1f})" if interval else ""
    return (
        f"<br>So far, on {estimate['rows']} rows: tuned {estimate['tuned']:.1f}, base {estimate['base']:.1f} BLEU, "
        f"difference {estimate['tuned'] - estimate['base']:+.1f}{chance}. This is no result yet."
    )


def left_behind(unfinished: Mapping[str, Any]) -> str:
    """The sentence on an unfinished evaluation; it must not read like a result. Markdown."""
    when = time.strftime("%d %b %Y, %H:%M", time.localtime(unfinished["time"]))
    how = f"{decoding(unfinished['generation']).rstrip('.')}{_tokenisation(unfinished)}{_with_baselines(unfinished)}"
    return (
        f"**Unfinished: {unfinished['answered']} of {unfinished['rows']} rows.** Begun {when}. {how}. "
        "What was answered is kept and counts nowhere until the rest is."
    )


def _with_baselines(unfinished: Mapping[str, Any]) -> str:
    names = [SIDES[name] for name in unfinished["baselines"]]
    return f" · with baselines: {', '.join(names)}" if names else ""


# The rows


@dataclass(frozen=True)
class Wanted:
    """A query for rows: search text, filter, order, and page counted from 1."""

    search: str = ""
    show: str = ALL
    sort: str = CHANGED
    page: int = 1


@dataclass(frozen=True)
class Page:
    """One page of matching rows: table cells, page number from 1, number of pages, and ``found`` matches in all."""

    cells: list[list[Any]]
    number: int
    pages: int
    found: int

    @property
    def sentence(self) -> str:
        if not self.found:
            return "No such row."
        return f"{self.found} row{'s' * (self.found != 1)} · page {self.number} of {self.pages}"


def gain(row: Mapping[str, Any]) -> float:
    """Sentence chrF2 of tuned minus base, in points."""
    return row["tuned_chrf"] - row["base_chrf"]


def page_of(rows: Sequence[Mapping[str, Any]], query: Wanted) -> Page:
    """Filter, sort and cut out one page; the last page where ``query.page`` is beyond it."""
    matches = [(number, row) for number, row in enumerate(rows, 1) if _shown(row, query)]
    if query.sort != SPLIT:
        matches.sort(key=lambda match: _order(match[1], query.sort))
    pages = max(1, -(-len(matches) // PAGE))
    number = min(max(1, query.page), pages)
    cells = [_cells(*match) for match in matches[(number - 1) * PAGE : number * PAGE]]
    return Page(cells, number, pages, len(matches))


def _shown(row: Mapping[str, Any], query: Wanted) -> bool:
    if query.show == WORSE and gain(row) >= 0:
        return False
    if query.show == BETTER and gain(row) <= 0:
        return False
    if query.show == DIFFER and row["base"] == row["tuned"]:
        return False
    if (query.show == UNENDED and row["tuned_ended"]) or (query.show == BASE_UNENDED and row["base_ended"]):
        return False
    text = query.search.strip().casefold()
    return not text or any(
        text in row[name].casefold() for name in ("instruction", "input", "reference", "base", "tuned")
    )


def _order(row: Mapping[str, Any], sort: str) -> float:
    return {CHANGED: -abs(gain(row)), BEST: -gain(row), WORST: gain(row)}[sort]


def _cells(number: int, row: Mapping[str, Any]) -> list[Any]:
    texts = (row[name] for name in ("instruction", "reference", "base", "tuned"))
    return [number, f"{gain(row):+.1f}", *(cut(text) for text in texts)]


def cut(text: str, most: int = CELL) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def row_sentence(number: int, row: Mapping[str, Any]) -> str:
    """The measures of one row. Markdown."""
    parts = [
        f"**Row {number}** · gain {gain(row):+.1f} chrF (tuned {row['tuned_chrf']:.1f}, base {row['base_chrf']:.1f})"
    ]
    for side in ("base", "tuned"):
        length = f"{row[f'{side}_tokens']} tokens, " if f"{side}_tokens" in row else ""
        parts.append(f"{side}: {length}{'ended by itself' if row[f'{side}_ended'] else 'cut at the token limit'}")
    return " · ".join(parts)
