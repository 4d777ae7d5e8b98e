"""The inner tab "Why 0.4?": the lesson's two printed BLEU numbers beside those measured here, and their causes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...evaluation.lesson_scores import PRINTED, by_name, measured
from ..formatting import decoding

HEADERS = ["how it was asked", "base", "tuned", "tuned: brevity penalty", "tuned: tokens an answer", "from"]
WIDTHS = ["230px", "80px", "80px", "130px", "130px", "220px"]
NOT_HERE = "printed in the lesson, not reproduced here"
LESSON_LINE = "The lesson: opt-350m, ten epochs. Beam search with 5 beams, at most 50 tokens with the prompt."


def build() -> None:
    """Build the contents. Its numbers come from the asset file and do not change at run time."""
    results = measured()
    gr.Markdown(introduction(results), elem_id="why-04-words")
    gr.Dataframe(
        lines(results),
        headers=HEADERS,
        column_widths=WIDTHS,
        interactive=False,
        show_label=False,
        wrap=True,
        elem_id="why-04-table",
    )
    gr.Markdown(causes(results), elem_id="why-04-causes")


def introduction(results: Mapping[str, Any]) -> str:
    """What is compared, and on which machine and date it was measured."""
    base, tuned = PRINTED
    return (
        f"The lesson ends with **{base}** BLEU for base and **{tuned}** for tuned. A BLEU hangs on how the model was "
        f"asked as much as on the model. So one run ({results['model'].rpartition('/')[2]}, {results['train_rows']} "
        f"Code Alpaca rows) was asked as the lesson asks, and then with one thing changed at a time; measured on "
        f"{results['date']} ({results['machine']}) by `python -m benchmarks.why_04`."
    )


def lines(results: Mapping[str, Any]) -> list[list[str]]:
    """The table: the printed numbers, then one row for each measured setting."""
    printed = [LESSON_LINE, *(f"{score:.1f}" for score in PRINTED), "—", "—", NOT_HERE]
    return [printed, *(_line(result) for result in results["measured"])]


def _line(result: Mapping[str, Any]) -> list[str]:
    base, tuned = result["base"], result["tuned"]
    return [
        decoding(result["generation"]),
        f"{base['bleu']:.1f}",
        f"{tuned['bleu']:.1f}",
        f"{tuned['bp']:.2f}",
        f"{tuned['mean_tokens']:.1f}",
        f"measured here, {result['rows']} rows",
    ]


def causes(results: Mapping[str, Any]) -> str:
    """The effect of each change in words, with nothing claimed from a difference that could be chance. Markdown."""
    runs = by_name(results)
    call, room, few = runs["lesson_call"], runs["room"], runs["three_rows"]
    low, high = few["tuned"]["ci"]
    return "\n".join(
        (
            f"- **The limit.** `max_length=50` counts the prompt: a tuned answer gets "
            f"{call['tuned']['mean_tokens']:.0f} tokens on average and {call['tuned']['ended']} of {call['rows']} end "
            f"by themselves. With room for whole answers base goes from {call['base']['bleu']:.1f} to "
            f"{room['base']['bleu']:.1f}, tuned from {call['tuned']['bleu']:.1f} to {room['tuned']['bleu']:.1f}.",
            f"- **Beams.** Greedy instead of five beams, all else the same: tuned "
            f"{_tuned_change(room, runs['room_no_beams'])} with room, "
            f"{_tuned_change(call, runs['no_beams'])} under the lesson's limit.",
            f"- **The model.** By the lesson's own call base scores {call['base']['bleu']:.1f} here, where the lesson "
            f"prints {PRINTED[0]}. {results['model'].rpartition('/')[2]} was tuned on instructions before, opt-350m "
            "was not; how much of the distance is the model and how much the rows was not measured here.",
            f"- **The rows.** The lesson's code answers its first three rows, and does not say of how many its numbers "
            f"are. On {few['rows']} rows tuned scores {few['tuned']['bleu']:.1f} with a 95% interval from {low:.1f} to "
            f"{high:.1f}; on {call['rows']} it scores {call['tuned']['bleu']:.1f}.",
        )
    )


def _tuned_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return f"{before['tuned']['bleu']:.1f} → {after['tuned']['bleu']:.1f}"
