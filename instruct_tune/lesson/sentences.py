"""What the panel notices under a step, as one or two sentences with numbers. Pure functions, no gradio, no torch.

Each takes what a service returns as JSON. ``own``: whether the run is the
visitor's; else it is the recorded one, as an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..text.plain_text import counted, shortened

NOTHING_TRAINED = "You have not trained anything yet: press Start on Train."
NOTHING_EVALUATED = "You have not evaluated a run yet: press Evaluate."


def data(summary: Mapping[str, Any]) -> str:
    """The rows of the form's settings. ``summary``: of ``services.datasets``."""
    filters = [
        f"{entry['step'].replace('_', ' ')} keeps {entry['kept']:,} and drops {entry['dropped']:,}"
        for entry in summary["ledger"]
    ]
    kept = f": {'; '.join(filters)}" if filters else ""
    split = f"{summary['train_rows']:,} are trained on and {summary['test_rows']:,} are held out"
    return f"Of {counted(summary['rows_loaded'], 'row')}{kept}. Of those left, {split}."


def template(name: str, prompt: str, usual: str, usual_name: str = "lesson") -> str:
    """The length of row 1's prompt in the form's template, beside that in ``usual_name``."""
    text = f"With the template {shortened(name, 60)} the prompt of row 1 has {counted(len(prompt), 'character')}"
    return f"{text}." if name == usual_name else f"{text}; with {usual_name} it has {len(usual):,}."


def chat_template(prompt: int, usual: int, usual_name: str = "lesson") -> str:
    """The length of row 1's prompt in the tokenizer's own chat template, in tokens."""
    return (
        f"With the model's own chat template the prompt of row 1 has {counted(prompt, 'token')}; with {usual_name} it "
        f"has {usual:,}."
    )


def loss(row: int, supervised: int, length: int, fault: str = "", broken: int = 0, broken_length: int = 0) -> str:
    """How many tokens of a row carry loss; with ``fault``, how many of the broken one do."""
    text = f"In row {row:,}, {supervised:,} of {counted(length, 'token')} carry loss"
    return f"{text}; broken ({fault}), {broken:,} of {broken_length:,} do." if fault else f"{text}."


def adapter(r: int, trainable: int, base: int) -> str:
    """The size of the adapter. ``trainable``: its parameters; ``base``: those of the base model."""
    total = base + trainable
    return f"With rank {r:,} the adapter has {trainable:,} parameters, {trainable / total:.2%} of all {total:,}."


def steps(rows: int, batch: int, epochs: float, number: int) -> str:
    """How many steps a run has."""
    return (
        f"{counted(rows, 'row')} in batches of {batch:,}, {epochs:g} {'epoch' if epochs == 1 else 'epochs'}: "
        f"{counted(number, 'step')}."
    )


def trained(own: bool, rows: int | None, losses: Sequence[float], step: int, status: str) -> str:
    """What a run did. ``losses``: the held-out losses so far; ``status``: as in the store."""
    what = f" {counted(rows, 'row')}" if rows else ""
    moved = ""
    if len(losses) > 1:
        first, last = f"{losses[0]:.2f}", f"{losses[-1]:.2f}"
        verb = "stayed at" if first == last else f"{'fell' if losses[-1] < losses[0] else 'rose'} from {first} to"
        moved = f"held-out loss {verb} {last}"
    if status not in ("finished", "stopped", "failed", "interrupted"):
        return f"{_whose(own).capitalize()} is {status}, at step {step:,}{f': {moved} so far' if moved else ''}."
    number = counted(step, "step") + (f": {moved}" if moved else "")
    if status != "finished":
        return f"{_whose(own).capitalize()} ended early ({status}) after {number}."
    return f"{'You' if own else 'The recorded run'} trained{what} in {number}."


def answers(own: bool, steps: Sequence[Mapping[str, Any]]) -> str | None:
    """How many answers to the fixed prompts ended by themselves, first and last. ``steps``: of ``runs.scrub``."""
    answered = [step for step in steps if step["answers"]]
    if len(answered) < 2:
        return None
    first, last = answered[0], answered[-1]
    ended = [sum(answer["ended"] for answer in step["answers"]) for step in (first, last)]
    most = [len(step["answers"]) for step in (first, last)]
    return (
        f"In {_whose(own)}, {ended[0]} of {counted(most[0], 'answer')} to the fixed prompts ended with EOS at step "
        f"{first['step']:,}, and {ended[1]} of {most[1]} at step {last['step']:,}."
    )


def evaluated(own: bool, evaluation: Mapping[str, Any]) -> str:
    """BLEU of both, and what it is made of: how many answers ended, and how many words were expected."""
    base, tuned, rows = evaluation["base"], evaluation["tuned"], evaluation["rows"]
    held_out = f"{'' if own else 'its own '}{counted(rows, 'held-out row')}"
    scores = f"BLEU {base['bleu']:.1f} for base and {tuned['bleu']:.1f} tuned, on {held_out}"
    text = (
        f"{_whose(own).capitalize()}: {scores}. "
        f"{evaluation['base_ended']:,} answers of base ended by themselves, {evaluation['tuned_ended']:,} tuned; "
        f"{base['precisions'][0]:.0f}% of base's words were expected, {tuned['precisions'][0]:.0f}% of the tuned ones."
    )
    cut = evaluation.get("base_cut_bleu")
    if cut is None:
        return text
    # Of the rounded scores, so that the sentence's own numbers add up.
    before, between, after = (round(score, 1) for score in (base["bleu"], cut, tuned["bleu"]))
    return (
        f"{text} Cut to the length of the tuned answers, base would have {between:.1f}: where answers end makes "
        f"{between - before:+.1f} of the difference, what they say {after - between:+.1f}."
    )


def rows(own: bool, predictions: Sequence[Mapping[str, Any]]) -> str | None:
    """On how many rows the tuned answer is nearer to the expected one, and on how many it is further away."""
    if not predictions:
        return None
    better = sum(row["tuned_chrf"] > row["base_chrf"] for row in predictions)
    worse = sum(row["tuned_chrf"] < row["base_chrf"] for row in predictions)
    return (
        f"In {_whose(own)} the tuned answer is nearer to the expected one on {better:,} of "
        f"{counted(len(predictions), 'row')}, and further away on {worse:,} "
        "(by chrF, which compares runs of characters)."
    )


def _whose(own: bool) -> str:
    return "your run" if own else "the recorded run"
