"""The ledger's filters in words, and the editing of their list. Pure functions, no gradio."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...config.catalog import DATASETS
from ...config.filters import DROP_LEAKAGE, ByHand, Contains, Filter, Language, Length, Matches, NearDuplicates, Sample
from ...config.validation import read_filters
from ...errors import DataError, SettingsError

Steps = tuple[Filter, ...]

USUAL = Filter("without_input")
"""The lesson's filter, on by default for the datasets of the catalog."""

KINDS = {
    "length": ("Length", "Keeps rows whose text is neither too short nor too long."),
    "contains": ("Contains a text", "Keeps rows that hold this text; capitals do not matter."),
    "matches": ("Matches a regular expression", "Keeps rows in which it is found; given up after five seconds."),
    "language": ("Language of the answer", "Keeps rows whose answer looks like this language: a guess, no parser."),
    "without_input": ("Has no input", "Keeps rows that are asked without an input, as the lesson does."),
    "with_input": ("Has an input", "Keeps rows that are asked with an input."),
    "drop_empty": ("Drop empty rows", "Drops rows whose instruction or answer is empty."),
    "drop_exact_duplicates": ("Drop exact duplicates", "Drops rows that repeat an earlier one word for word."),
    "drop_near_duplicates": (
        "Drop near duplicates",
        "Drops rows that ask nearly what an earlier one asks, with the same numbers.",
    ),
    "sample": ("Take some at random", "Keeps this many rows, drawn at random; the same ones for the same seed."),
    "keep_rows": ("Keep rows by hand", "Keeps only the rows with these ids; a row shown in full tells its own."),
    "drop_rows": ("Drop rows by hand", "Drops the rows with these ids; a row shown in full tells its own."),
    "drop_leakage": (
        "Drop copies of held-out rows",
        "Drops training rows that are near copies of held-out ones; works after the split, wherever it stands.",
    ),
}
"""Step → (label, one sentence) in the dropdown of kinds."""


@dataclass(frozen=True)
class Loaded:
    """The result of the last load: (kept, dropped) rows for each of ``steps``, and a sentence on the whole."""

    steps: Steps
    counts: tuple[tuple[int, int], ...]
    sentence: str


def read_steps(text: str | None) -> Steps:
    """The steps in the page's JSON text. Raises SettingsError where the text is not a list of steps."""
    try:
        value = json.loads(text) if text and text.strip() else []
    except (ValueError, RecursionError):
        value = text
    return read_filters(value)


def write_steps(steps: Steps) -> str:
    """The JSON text that ``read_steps`` reads; empty for no steps."""
    return json.dumps([dataclasses.asdict(step) for step in steps], ensure_ascii=False) if steps else ""


def read_step(fields: Mapping[str, Any]) -> Filter:
    """One step. Raises DataError whose message names the step's own fields, without their path in the configuration."""
    try:
        return read_filters([fields])[0]
    except SettingsError as error:
        message = str(error).replace("data.filters[0].", "").replace("data.filters[0]", "it")
        raise DataError(f"The filter cannot be used: {message}") from error


def loaded(steps: Steps, summary: Mapping[str, Any]) -> Loaded:
    """The result of a load. ``summary`` is the public JSON summary of the rows that ``steps`` selected."""
    counts = iter((entry["kept"], entry["dropped"]) for entry in summary["ledger"])
    in_order = {at: next(counts) for at, step in enumerate(steps) if step != DROP_LEAKAGE}
    leaking = next(counts, (0, 0))
    before, after = summary["train_rows_before_limit"], summary["train_rows"]
    some = f", {after:,} of them taken (rows, on Train)" if after != before else ""
    sentence = (
        f"{summary['rows_loaded']:,} rows loaded → {before + summary['test_rows']:,} kept → {summary['test_rows']:,} "
        f"held out for measuring, {before:,} for training{some}."
    )
    return Loaded(steps, tuple(in_order.get(at, leaking) for at in range(len(steps))), sentence)


def lines(steps: Steps, last: Loaded | None) -> list[str]:
    """One line a step, with its counts where it and all steps before it are unchanged since the last load."""
    return [f"{at}. {words(step)}{_counts(steps, at, last)}" for at, step in enumerate(steps, start=1)]


def _counts(steps: Steps, number: int, last: Loaded | None) -> str:
    if last is None:
        return ""
    after_the_split = steps[number - 1] == DROP_LEAKAGE
    same = steps == last.steps if after_the_split else steps[:number] == last.steps[:number]
    if not same:
        return " · not applied yet"
    kept, dropped = last.counts[number - 1]
    return f" · kept {kept:,}, dropped {dropped:,}"


def words(step: Filter) -> str:
    """A step in words: ``answer of 5 to 200 characters``. The text may contain untrusted text of a person."""
    match step:
        case Length():
            unit = f"tokens of {step.tokenizer or 'the model'}" if step.unit == "tokens" else "characters"
            return f"{_part(step.of)} of {_range(step.min, step.max)} {unit}"
        case Contains():
            return f"{_part(step.of)} {'without' if step.exclude else 'with'} the text {_quoted(step.text)}"
        case Matches():
            verb = "does not match" if step.exclude else "matches"
            return f"{_part(step.of)} {verb} {_quoted(step.pattern)}"
        case Language():
            verb = "does not look" if step.exclude else "looks"
            return f"answer {verb} like {'no known language' if step.language == 'none' else step.language}"
        case NearDuplicates():
            return f"no near duplicates (alike by {step.threshold:g} or more)"
        case Sample():
            return f"{step.n:,} rows at random (seed {step.seed})"
        case ByHand():
            rows = f"{len(step.rows):,} row{'' if len(step.rows) == 1 else 's'} chosen by hand"
            return f"only {rows}" if step.step == "keep_rows" else f"without {rows}"
    return _PLAIN[step.step]


_PLAIN = {
    "without_input": "only rows without an input",
    "with_input": "only rows with an input",
    "drop_empty": "no empty instruction or answer",
    "drop_exact_duplicates": "no exact duplicates",
    "drop_leakage": "no training row that is a near copy of a held-out row",
}


def _part(of: str) -> str:
    return {"output": "answer", "row": "row"}.get(of, of)


def _range(low: int | None, high: int | None) -> str:
    if low is None:
        return f"at most {high or 0:,}"
    return f"at least {low:,}" if high is None else f"{low:,} to {high:,}"


def _quoted(text: str) -> str:
    return f"“{text if len(text) <= 60 else text[:59] + '…'}”"


# Editing: each returns the new steps and the index of the step to select.


def moved(steps: Steps, at: int, by: int) -> tuple[Steps, int]:
    """Move the step at ``at`` one place up (``by`` -1) or down (1); at the end of the list it stays."""
    to = min(max(0, at + by), len(steps) - 1)
    others = steps[:at] + steps[at + 1 :]
    return (*others[:to], steps[at], *others[to:]), to


def removed(steps: Steps, at: int) -> tuple[Steps, int]:
    """Remove the step at ``at``."""
    rest = steps[:at] + steps[at + 1 :]
    return rest, max(0, min(at, len(rest) - 1))


def replaced(steps: Steps, at: int, step: Filter) -> tuple[Steps, int]:
    """Replace the step at ``at`` with ``step``."""
    return (*steps[:at], step, *steps[at + 1 :]), at


def added(steps: Steps, step: Filter) -> tuple[Steps, int]:
    """Append ``step``. Rows dropped by hand are merged into a last step that also drops rows by hand."""
    if step.step == "drop_rows" and steps and steps[-1].step == "drop_rows":
        both = dict.fromkeys((*_ids(steps[-1]), *_ids(step)))
        return replaced(steps, len(steps) - 1, ByHand("drop_rows", tuple(both)))
    return (*steps, step), len(steps)


def _ids(step: Filter) -> Sequence[str]:
    return step.rows if isinstance(step, ByHand) else ()


def with_leakage_step(steps: Steps, present: bool) -> Steps:
    """``steps`` with the step that drops copies of held-out rows at the end, or without that step."""
    others = tuple(step for step in steps if step != DROP_LEAKAGE)
    return (*others, DROP_LEAKAGE) if present else others


def usual_for(source: str, steps: Steps) -> Steps:
    """``steps`` for another dataset: the lesson's filter comes first for a catalog dataset, and goes for others."""
    others = steps[1:] if steps[:1] == (USUAL,) else steps
    return (USUAL, *others) if source in {card.source for card in DATASETS} else others
