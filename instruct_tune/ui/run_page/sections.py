"""The sections of a run's page as HTML, from the values that the lab's tabs show."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import DataError
from ...runs.differences import flat
from ...runs.examples import recorded_on
from ...runs.provenance import ended_as, rows_trained_on
from ...services.run_pages import RunContents
from ...text.plain_text import counted, shortened
from ...text.word_diff import Kind, Piece, word_diff
from .. import run_text
from ..charts import EMPTY_CHART
from ..charts import LOSS_CHART as LIVE_CHART
from ..compare.heat_map import PIECE as HEAT_MAP
from ..compare.text import recorded_details
from ..data.filter_text import read_step, words
from ..diff_panel import difference_summary
from ..evaluate import result
from ..evaluate import text as scores
from ..format.batch_grid import PIECE as BATCH_GRID
from ..format.text import sentence as step_sentence
from ..format.text import token_sentence
from ..format.token_grid import PIECE as TOKEN_GRID
from ..formatting import decoding
from ..scripted_html import Piece as DrawnPiece
from ..train.scrubber import PIECE as SCRUBBER
from .markup import filled, markdown, table, text

CHART_ID, SCRUBBER_ID, STEP_ID, LOSSES_ID, TOKENS_ID = (
    "train-chart",
    "train-scrubber",
    "batch-grid",
    "compare-why-map",
    "tokens-{}",
)
"""Where the pieces are drawn. The chart and the slider find each other by these ids, in the lab too."""
_NO_PLOT = "This browser cannot unpack the plot; its numbers stand below."
LOSS_CHART = replace(LIVE_CHART, template=LIVE_CHART.template.replace(EMPTY_CHART, _NO_PLOT))
SCORES_LOOK = ".scores-of {" + result.SCORES_CSS + "}\n"
AT_ONCE = 12
"""Rows of answers that are listed without opening a fold."""
QUESTION = 110
"""Characters of an instruction on its closed fold."""


def drawn(piece: DrawnPiece, elem_id: str) -> str:
    """The element that ``static/run_page.js`` draws a piece into."""
    return f'<div class="piece-{piece.name}" id="{elem_id}" data-piece="{piece.name}">{piece.template}</div>'


def head(contents: RunContents) -> str:
    """The run's name, what it is made of, how it ended, and its numbers at a glance."""
    run, provenance = contents.run, contents.run.provenance
    source = run.config["data"]["source"]
    made_of = [run.config["model"].split("/")[-1], "the lab’s own rows" if source == "bundled" else f"data {source}"]
    if recorded := recorded_on(provenance):
        made_of.append(recorded)
    else:
        made_of.append(time.strftime("%d %b %Y", time.localtime(run.created)))
    tags = f" · {', '.join(run.tags)}" if run.tags else ""
    state = run_text.failure_sentence({**vars(run), "message": contents.status["message"]})
    state = state or f"{ended_as(run).capitalize()} at step {run.step} of {run.total_steps}."
    if run.adapter_step != run.step:
        state += f" Its adapter is that of step {run.adapter_step}."
    return (
        f'<header><p class="quiet">A run of the Instruction-Tuning Lab</p><h1>{text(run.name)}</h1>'
        f'<p class="quiet">{text(" · ".join(made_of) + tags)}</p>{markdown(state)}{_tiles(contents)}</header>'
    )


def _tiles(contents: RunContents) -> str:
    """The numbers that say most, as a list of name and value."""
    tiles, evaluation = [], contents.evaluation
    if evaluation:
        base, tuned, rows = evaluation["base"], evaluation["tuned"], evaluation["rows"]
        interval = evaluation["delta_ci"]
        chance = f", 95% interval {interval[0]:+.1f} to {interval[1]:+.1f}" if interval else ""
        tiles += [
            ("BLEU, base → tuned", f"{base['bleu']:.1f} → {tuned['bleu']:.1f}", f"{evaluation['delta']:+.1f}{chance}"),
            (
                "Answers that end by themselves",
                f"{evaluation['base_ended']} → {evaluation['tuned_ended']}",
                f"of {rows} held-out rows",
            ),
        ]
    losses = [(step["step"], step["held_out_loss"]) for step in contents.scrub["steps"]]
    measured = [(step, loss) for step, loss in losses if loss is not None]
    if measured:
        lowest = min(measured, key=lambda each: each[1])
        tiles.append(
            (
                "Held-out loss",
                f"{measured[0][1]:.2f} → {measured[-1][1]:.2f}",
                f"nats a token; lowest {lowest[1]:.2f} at step {lowest[0]}",
            )
        )
    parameters = contents.run.provenance.get("trainable_parameters")
    if rows := rows_trained_on(contents.run):
        trained = f", {parameters:,} parameters trained" if isinstance(parameters, int) else ""
        tiles.append(("Trained on", rows, counted(contents.run.adapter_step, "step") + trained))
    each = "".join(
        f"<div><dt>{text(name)}</dt><dd><b>{text(value)}</b> <span>{text(note)}</span></dd></div>"
        for name, value, note in tiles
    )
    return f'<dl class="tiles">{each}</dl>' if tiles else ""


def curve(contents: RunContents) -> str:
    """The losses, the slider over the steps, and what the numbers say."""
    findings = run_text.findings_text(contents.status["findings"])
    if not (findings or contents.evaluation):
        findings = run_text.verdict_text(contents.verdict)
    found = f'<div class="findings">{markdown(findings)}</div>' if findings else ""
    if not contents.metrics:
        return f"<p>No loss was measured.</p>{found}"
    parts = [
        drawn(LOSS_CHART, CHART_ID),
        f'<p class="quiet">{text(run_text.loss_sentence(contents.metrics))}</p>',
        drawn(SCRUBBER, SCRUBBER_ID),
        found,
    ]
    if kept := run_text.checkpoint_sentence(contents.status["checkpoints"]):
        parts.append(f'<p class="quiet">{text(kept)}</p>')
    if not contents.has_texts:
        parts.append(missing(contents, "tokens"))
    return "".join(parts)


def answers(contents: RunContents) -> str:
    """Base and tuned side by side, row by row, with the words that differ from the expected answer."""
    evaluation = contents.evaluation
    if evaluation is None or not contents.answers:
        return missing(contents, "answers")
    changed = sorted(contents.answers, key=lambda each: -abs(scores.gain(each[1])))
    shown, rows = len(changed), evaluation["rows"]
    rest = "".join(_answer(number, row, False) for number, row in changed[AT_ONCE:])
    which = f"The first {shown} of {rows} held-out rows" if shown < rows else f"All {shown} held-out rows"
    if shown == 1:
        which = "One held-out row"
    return (
        f'<p class="quiet">{text(which)}; what changed most comes first. {text(decoding(evaluation["generation"]))} '
        "Gain is the difference of the two answers’ chrF to the expected one, in points.</p>"
        '<p class="choice"><label><input type="checkbox" id="differences" checked> Mark the difference to the expected '
        "answer: <ins>only in this answer</ins> <del>only in the expected one</del></label></p>"
        + "".join(_answer(number, row, at == 0) for at, (number, row) in enumerate(changed[:AT_ONCE]))
        + (_fold(f"{shown - AT_ONCE} more rows", rest) if rest else "")
    )


def _answer(number: int, row: Mapping[str, Any], opened: bool) -> str:
    gain = scores.gain(row)
    look = "up" if gain > 0 else "down" if gain < 0 else ""
    sides = "".join(
        f'<div class="answer {side}"><h4>{name}</h4><pre tabindex="0">{_marked(row["reference"], row[side])}</pre>'
        f'<p class="quiet">{_difference(row["reference"], row[side])}</p>{markdown(recorded_details(row, side))}</div>'
        for side, name in (("base", "Base"), ("tuned", "Tuned"))
    )
    instruction = row["instruction"]
    title = shortened(" ".join(instruction.split()), QUESTION)
    whole = instruction + (f"\n{row['input']}" if row["input"] else "")
    question = f'<p class="question">{text(whole)}</p>' if whole != title else ""
    return (
        f'<details class="row"{" open" if opened else ""}><summary><span class="gain {look}">{gain:+.1f}</span> '
        f'<span class="quiet">Row {number}</span> <bdi>{text(title)}</bdi></summary>'
        f'{question}<div class="sides">'
        f'<div class="answer expected"><h4>Expected</h4><pre tabindex="0">{text(row["reference"])}</pre></div>{sides}'
        "</div></details>"
    )


def _marked(expected: str, answer: str) -> str:
    """The answer with its differences; without where it is too long for them. "(no text)" where it is empty."""
    if not answer.strip():
        return '<span class="quiet">(no text)</span>'
    pieces = word_diff(expected, answer)
    if "".join(piece.text for piece in pieces if piece.kind is not Kind.MISSING) != answer:
        return text(answer)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: Piece) -> str:
    tag = {Kind.ADDED: "ins", Kind.MISSING: "del"}.get(piece.kind)
    return f"<{tag}>{text(piece.text)}</{tag}>" if tag else text(piece.text)


def _difference(expected: str, answer: str) -> str:
    if not expected or not answer:
        return ""
    return text(difference_summary(expected, answer, word_diff(expected, answer)))


def tokens(contents: RunContents) -> str:
    """The first training rows token by token."""
    if not contents.tokens:
        return missing(contents, "tokens")
    rows = "".join(
        f'<details class="row"{"" if at else " open"}><summary><span class="quiet">Training row {at + 1}</span> '
        f"<b>{view.supervised} of {view.length}</b> tokens carry loss</summary>"
        f"{markdown(token_sentence(view))}{drawn(TOKEN_GRID, TOKENS_ID.format(at))}</details>"
        for at, view in enumerate(contents.tokens)
    )
    return f"<p>The rows as the trainer gets them. Only tokens in blue carry loss.</p>{rows}"


def step(contents: RunContents) -> str:
    """How the rows of the first optimizer step lie in its passes."""
    if contents.step is None:
        return missing(contents, "step")
    return f"{markdown(step_sentence(contents.step))}{drawn(BATCH_GRID, STEP_ID)}"


def losses(contents: RunContents, why: Mapping[str, Any] | None) -> str:
    """How likely base and tuned find each token of the first held-out row's answer. ``why``: of ``why_value``."""
    if why is None:
        return missing(contents, "losses")
    return (
        "<p>How likely base and tuned find each token of the expected answer to the first held-out row, given all "
        f"before it.</p>{markdown(why['sentence'])}{drawn(HEAT_MAP, LOSSES_ID)}"
    )


def numbers(contents: RunContents) -> str:
    """The sentence, the bars, the table, the signature and what it was measured with."""
    evaluation = contents.evaluation
    if evaluation is None:
        return missing(contents, "answers")
    bars = filled(result.SCORES, result.scores(evaluation))
    held_out = contents.run.config["data"]["test_size"]
    origin = scores.origin(evaluation, recorded_on(contents.run.provenance), held_out)
    measured = scores.measured_with(evaluation, contents.run.provenance, contents.verdict)
    return (
        f"{markdown(scores.sentence(evaluation))}"
        f'<div class="quiet">{markdown(origin)}</div>'
        f'<div class="scores-of">{bars}</div>{markdown(run_text.verdict_text(contents.verdict))}'
        f"{table(scores.score_headers(evaluation), scores.score_rows(evaluation), numbers=True)}"
        f"<p>sacreBLEU signature, to quote with the numbers: <code>{text(evaluation['tuned']['signature'])}</code></p>"
        f"{_fold('Settings, data and versions it was measured with', _code(measured, 'Measured with'))}"
    )


def ledger(contents: RunContents) -> str:
    """Where the rows come from, and what each step kept and dropped."""
    config, provenance = contents.run.config["data"], contents.run.provenance
    licence = f", licence {provenance['data_licence']}" if provenance.get("data_licence") else ""
    source = "The lab’s own rows" if config["source"] == "bundled" else config["source"]
    parts = [f"<p>{text(source + licence)}. Fingerprint of the rows: "]
    parts.append(f"<code>{text(provenance.get('data_fingerprint', 'not recorded'))}</code></p>")
    entries = provenance.get("ledger")
    if isinstance(entries, list):
        rows = [["rows loaded", f"{provenance['rows_loaded']:,}", ""]] if "rows_loaded" in provenance else []
        rows += [[_step_words(each), f"{each['kept']:,}", f"{each['dropped']:,}"] for each in entries]
        parts.append(table(["step", "kept", "dropped"], rows, numbers=True))
    else:
        parts.append("<p>How many rows each step kept was not recorded.</p>")
    counts = {
        "training rows": provenance.get("train_rows"),
        "rows left out as too long": provenance.get("rows_dropped"),
        "rows cut": provenance.get("rows_truncated"),
        "held-out rows for the evaluation loss": provenance.get("evaluation_rows"),
        "held-out rows for the probes": provenance.get("probe_rows"),
    }
    known = [[name, f"{count:,}"] for name, count in counts.items() if isinstance(count, int)]
    share = f"{100 * config['test_size']:g}% of the rows are held out, drawn with seed {config['seed']}."
    return "".join(parts) + f"<p>{text(share)}</p>" + (table(["", "rows"], known, numbers=True) if known else "")


def _step_words(entry: Mapping[str, Any]) -> str:
    try:
        return words(read_step({"step": entry["step"], **entry.get("parameters", {})}))
    except DataError:
        return str(entry["step"])


def settings(contents: RunContents) -> str:
    """The configuration, first as what differs from a preset, then in full."""
    config = contents.run.config
    rows = [[name, json.dumps(value, ensure_ascii=False)] for name, value in flat(config).items()]
    machine = {name: contents.run.provenance.get(name) for name in ("device", "dtype", "packing", "versions")}
    where = [
        [name, json.dumps(value, ensure_ascii=False)] for name, value in flat(machine).items() if value is not None
    ]
    return (
        f"{markdown(run_text.configuration_sentence(config))}"
        f"{_fold('All settings', table(['setting', 'value'], rows))}"
        f"{_fold('Machine and versions', table(['', ''], where)) if where else ''}"
    )


def script(contents: RunContents) -> str:
    """The run as plain Python, to read, copy and save."""
    lines = contents.script.count("\n")
    return (
        "<p>The same run with today’s libraries and without the lab: rows, prompt, ids and labels, LoRA, training, "
        'answers, BLEU.</p><p class="buttons"><button type="button" id="save-script">Save as run.py</button> '
        '<button type="button" id="copy-script">Copy</button> <span id="copied" role="status"></span></p>'
        f"{_fold(f'Read it: {lines:,} lines', _code(contents.script, 'The script', 'script-text'))}"
    )


def missing(contents: RunContents, name: str) -> str:
    """Why a section is empty."""
    return f'<p class="missing">{text(contents.missing.get(name, ""))}</p>'


def _fold(title: str, inside: str) -> str:
    return f"<details><summary>{text(title)}</summary>{inside}</details>"


def _code(source: str, label: str, elem_id: str = "") -> str:
    name = f' id="{elem_id}"' if elem_id else ""
    return f'<pre class="code"{name} tabindex="0" role="region" aria-label="{text(label)}">{text(source)}</pre>'
