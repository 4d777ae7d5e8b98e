"""Texts and table rows of the Data tab. Pure functions, no gradio.

Dataset text is untrusted. It is returned only as text (cells, text boxes), or escaped by ``plain`` inside markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config.run_config import Columns
from ...data.columns import beside_conversations, changes_meaning, conversations_in, propose
from ...data.paging import RowsPage
from ...data.preview import FirstRows
from ...data.splits import Example
from ...text.markdown import plain
from ..formatting import percent

LONGEST_CELL = 200
LONGEST_TEXT = 50_000
"""Characters of a text that is shown in full: a row can be a megabyte, which is too slow in a browser."""


def data_sentence(summary: Mapping[str, Any], name: str) -> str:
    """How many rows were loaded from the source called ``name``, and how they were split. Markdown."""
    return (
        f"**{plain(name)}**: {summary['rows_loaded']:,} rows loaded, **{summary['train_rows']:,} to train on**, "
        f"**{summary['test_rows']:,} held out**. Licence: {plain(summary['licence'])}. "
        f"Fingerprint `{summary['fingerprint']}`."
    )


def on_the_hub_sentence(source: str) -> str:
    """What stands in place of the rows of a dataset that has to be downloaded first. Markdown."""
    return f"**{plain(source)}** is on the Hugging Face Hub: *Load and split* downloads it."


def columns_sentence(summary: Mapping[str, Any], columns: Columns, proposed: bool) -> str:
    """How the source's columns were read where that needs a word: proposed names, conversations, an unused column."""
    columns_of_source = summary["columns"]
    used = {"instruction": columns.instruction, "input": columns.input, "output": columns.output}
    if columns.system:
        used["system prompt"] = columns.system
    if proposed and conversations_in(columns_of_source, columns):
        return (
            "Each conversation was read as one instruction and its output. "
            f"**Proposed: system prompt = {plain(columns.system or 'none')}.** If that is wrong, change the boxes "
            "under *Columns and split*."
        )
    if proposed:
        pairs = ", ".join(f"{part} = {plain(name) if name else 'none'}" for part, name in used.items())
        return (
            f"The columns of this dataset have other names. **Proposed: {pairs}.** If that is wrong, change the boxes "
            "under *Columns and split*."
        )
    if column := conversations_in(columns_of_source, columns):
        read = f"Each conversation in the column {plain(column)} was read as one instruction and its output."
        beside = beside_conversations(columns_of_source, columns)
        unused = f" The column {plain(beside)} is not used: if the conversations refer to it, they lack it."
        return read + (unused if beside else "")
    # In a loaded dataset the columns that change what a row means are empty, used or ignored.
    likely = propose([name for name in columns_of_source if name not in columns.ignore and not changes_meaning(name)])
    if likely and likely.input and columns.input not in columns_of_source and likely.input not in used.values():
        return (
            f"The column {plain(likely.input)} is not used. If the instructions refer to it, name it as the column of "
            "the input under *Columns and split*."
        )
    return ""


def notes_sentence(summary: Mapping[str, Any]) -> str:
    """The notes on unusual properties of the loaded rows."""
    return " ".join(plain(note, 1000) for note in summary["notes"])


def example_rows(page: RowsPage) -> list[list[Any]]:
    """A page of rows as table rows, long texts cut."""
    return [
        [number, *cells] for (number, _), cells in zip(page.rows, text_rows([row for _, row in page.rows]), strict=True)
    ]


def text_rows(rows: Sequence[Example]) -> list[list[str]]:
    """Instruction, input and output of each row, long texts cut."""
    return [[cut(text, LONGEST_CELL) for text in (row.instruction, row.input, row.output)] for row in rows]


def first_rows_sentence(preview: FirstRows) -> str:
    """The sentence above the preview of a large file while the rest is read."""
    return (
        f"**The first {len(preview.rows)} of about {preview.estimate:,} rows**, as they stand in the file: nothing is "
        "filtered or shuffled yet, and the rest is still being read."
    )


def cut(text: str, most: int) -> str:
    """``text``, cut to ``most`` characters with "…" at the end where it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"


def cut_note(row: Example) -> str:
    """The note on a row that is too long to be shown whole; empty for others."""
    longest = max(len(row.instruction), len(row.input), len(row.output))
    return f" (its first {LONGEST_TEXT:,} of {longest:,} characters)" if longest > LONGEST_TEXT else ""


def page_sentence(page: RowsPage, search: str, size: int) -> str:
    """Which rows of how many are on the page."""
    if not page.rows:
        return f"No row contains “{plain(search, 40)}”: search for something else, or clear the search."
    first = (page.page - 1) * size + 1
    rows = "1 row" if page.matches == 1 else f"{page.matches:,} rows"
    of = f"{rows} with what is searched for" if search else rows
    return f"Page **{page.page:,} of {page.pages:,}** · {first:,} to {first + len(page.rows) - 1:,} of {of}"


Report = Mapping[str, Any]

FINE = "Nothing here would spoil a training."
LEAK_HEADERS = ["alike", "held-out row", "it asks", "training row", "it asks"]
TWIN_HEADERS = ["alike", "training row", "it asks", "training row", "it asks", "answers"]
LEAK_WIDTHS = ["70px", "90px", "42%", "90px", "42%"]
TWIN_WIDTHS = ["70px", "90px", "38%", "90px", "38%", "100px"]
MAX_SHOWN = 100
"""Pairs in a table; no more are sent to the browser."""
_CHARTS = {
    "row_tokens": "Whole row, in tokens",
    "prompt_tokens": "Prompt, in tokens",
    "answer_tokens": "Answer and its EOS, in tokens",
    "prompt_characters": "Instruction and input, in characters",
    "answer_characters": "Answer, in characters",
}


def findings(report: Report, overlong: str) -> list[str]:
    """Problems for training or evaluation, one sentence each, the worst first; empty where there are none."""
    train, test = report["reported"]["train"], report["reported"]["test"]
    leaks, long = report["leakage"]["rows"], report["dropped_by_max_length"]
    empty, twice = report["empty_answers"], report["duplicates"]["conflicting"]
    sentences = []
    if leaks:
        verb, whose = ("has", "its") if leaks == 1 else ("have", "their")
        sentences.append(
            f"{leaks:,} of {test:,} held-out rows {verb} a near copy among the training rows: {whose} score flatters."
        )
    if long:
        fate = "dropped" if overlong == "drop" else "cut, and a cut answer does not learn to end"
        verb = "is" if long == 1 else "are"
        sentences.append(
            f"{long:,} of {train:,} training rows {verb} longer than the longest row allowed "
            f"({report['max_length']:,} tokens): {'it is' if long == 1 else 'they are'} {fate}."
        )
    if empty:
        sentences.append(
            f"{_counted(empty, 'row')} {_has(empty)} an empty answer: to these the model learns to say nothing."
        )
    if twice:
        sentences.append(
            f"{_counted(twice, 'question')} {'is' if twice == 1 else 'are'} asked more than once in training, "
            "with different answers: the model cannot learn them all."
        )
    if exact := report["duplicates"]["exact"]:
        sentences.append(
            f"{_counted(exact, 'training row')} {'repeats' if exact == 1 else 'repeat'} another one word for word."
        )
    return sentences


def report_sentences(report: Report, overlong: str) -> str:
    """The report in markdown: the worst problem in bold, the other ones, then what was examined."""
    lead, *others = findings(report, overlong) or [FINE]
    return "\n".join((f"**{lead}**", "", *(f"- {each}" for each in (*others, *_examined_sentences(report)))))


def _examined_sentences(report: Report) -> list[str]:
    examined, all_rows, near = report["reported"], report["rows"], report["duplicates"]["near"]
    rows = f"Looked at {examined['train']:,} training and {examined['test']:,} held-out rows"
    some = f", the first of {all_rows['train']:,} and {all_rows['test']:,}" if examined != all_rows else ""
    inputs = percent(report["with_input"]) if report["with_input"] else "None"
    sentences = [f"{rows}{some}. {inputs} of the training rows have an input."]
    threshold = report["duplicates"]["threshold"]
    sentences.append(
        f"Near copies are questions that are alike by {threshold:g} or more (1: the same but for case and spacing) "
        "and have the same numbers. "
        f"Among the training rows {'is 1 such pair' if near == 1 else f'are {near:,} such pairs'}."
    )
    if "row_tokens" not in report["lengths"]:
        counted = "Lengths in tokens are counted once the model is on this machine (Format loads its tokenizer)."
        sentences.append(counted)
    return sentences


def charts(report: Report) -> list[dict[str, Any]]:
    """The histograms, each with its ``title``, ``bars`` (height in percent, and a tooltip), ``ticks`` along the axis,
    ``limit`` (position of max_length in percent; None where it lies beyond) and ``description``, the chart in words."""
    return [
        _chart(title, report["lengths"][name], report, name)
        for name, title in _CHARTS.items()
        if name in report["lengths"]
    ]


def _chart(title: str, lengths: Mapping[str, Any], report: Report, name: str) -> dict[str, Any]:
    edges, counts = lengths["edges"], lengths["counts"]
    unit, most = name.partition("_")[2], max(lengths["counts"])
    width, longest = edges[1] - edges[0], report["max_length"]
    axis = width * len(counts)
    words = f"median {lengths['median']:,}, 95% up to {lengths['p95']:,}, longest {lengths['max']:,}"
    within = unit == "tokens" and longest < max(axis, lengths["max"])
    if name == "row_tokens":
        over = report["dropped_by_max_length"]
        words += f"; {over:,} over max_length {longest:,}" if over else f"; none over max_length {longest:,}"
    return {
        "title": title,
        "description": words,
        "bars": [
            {
                "height": round(100 * count / most, 1),
                "description": f"{low:,} to {high - 1:,} {unit}: {_counted(count, 'row')}",
            }
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
        "ticks": ["0", f"{axis // 2:,}", f"{axis:,}" + (" and more" if lengths["max"] >= axis else "")],
        "limit": round(min(100, 100 * longest / axis), 2) if within else None,
        "limit_label": f"max_length {longest:,}" if within else "",
    }


def leak_rows(report: Report) -> list[list[Any]]:
    """Held-out rows and their near copies, as table rows; long texts cut."""
    return [
        [
            _alike(pair), pair["test_row"] + 1, cut(pair["test_text"], LONGEST_CELL),
            pair["train_row"] + 1, cut(pair["train_text"], LONGEST_CELL),
        ]
        for pair in report["leakage"]["pairs"][:MAX_SHOWN]
    ]  # fmt: skip


def twin_rows(report: Report) -> list[list[Any]]:
    """Pairs of training rows with nearly the same question, those with different answers first, as table rows."""
    pairs = sorted(report["duplicates"]["pairs"], key=lambda pair: (pair["same_answer"], -pair["similarity"]))
    return [
        [
            _alike(pair), pair["first"] + 1, cut(pair["first_text"], LONGEST_CELL),
            pair["second"] + 1, cut(pair["second_text"], LONGEST_CELL),
            "the same" if pair["same_answer"] else "different",
        ]
        for pair in pairs[:MAX_SHOWN]
    ]  # fmt: skip


def pairs_title(what: str, shown: Sequence[Any], all_of_them: int) -> str:
    """A fold's title: how many pairs there are, and how many are shown if not all."""
    return f"{what}: {all_of_them:,}" + (f" (the first {len(shown):,} shown)" if len(shown) < all_of_them else "")


def whole(row: Example) -> str:
    """A row as one text, question and answer, to be read beside another row."""
    return cut(f"{row.question}\n\n→ {row.output}", LONGEST_TEXT)


def _alike(pair: Mapping[str, Any]) -> str:
    return f"{pair['similarity']:.2f}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _has(number: int) -> str:
    return "has" if number == 1 else "have"
