"""Texts and the chart's value for an adapter's effect. Pure functions, no gradio, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..formatting import percent

if TYPE_CHECKING:
    from ...evaluation.adapter_effect import AdapterEffect, LayerNorm

_GRADES = (
    (1e-6, "No: its predictions are base's."),
    (0.01, "Hardly anything: its predictions are nearly base's."),
    (0.1, "A little: its predictions are close to base's."),
    (1.0, "Yes: its predictions are clearly different from base's."),
)
"""(upper bound of the mean KL divergence in nats, verdict)."""

_MOST = "Yes, a great deal: read some answers, for a model that has collapsed looks like this too."


def sentence(effect: AdapterEffect) -> str:
    """The verdict and the numbers behind it. Markdown."""
    verdict = next((verdict_text for most, verdict_text in _GRADES if effect.kl < most), _MOST)
    rows = f"{effect.rows} held-out row{'s' * (effect.rows != 1)}"
    return (
        f"**{verdict}** On {rows} ({effect.tokens} places that carry loss) the KL divergence of tuned to base is "
        f"{effect.kl:.3g} nats a token, and at {percent(effect.changed) if effect.changed else 'none'} of them another "
        f"token is the likeliest."
    )


def evaluated_answers(evaluation: Mapping[str, Any] | None) -> str:
    """How many answers the adapter changed, and how many end by themselves, by the run's last evaluation, if any."""
    if evaluation is None:
        return "Evaluate tells how many answers change, and how many end by themselves."
    rows = evaluation["rows"]
    return (
        f"In its last evaluation {rows - evaluation['identical']} of {rows} answers changed, "
        f"{evaluation['tuned_ended']} of {rows} ended by themselves with EOS ({evaluation['base_ended']} of base)."
    )


def bars(layers: Sequence[LayerNorm]) -> dict[str, Any]:
    """The chart's value: bar heights in percent of the largest norm, tooltips and axis labels."""
    most = max((each.norm for each in layers), default=0.0)
    return {
        "bars": [
            {
                "height": round(100 * each.norm / most, 1) if most else 0,
                "description": f"{_layer(each)}: {each.norm:.3g}, {percent(each.share)} of its weights",
            }
            for each in layers
        ],
        "most": f"{most:.3g}",
        "first": _layer(layers[0]) if layers else "",
        "last": _layer(layers[-1]) if len(layers) > 1 else "",
        "description": norms_sentence(layers),
    }


def norms_sentence(layers: Sequence[LayerNorm]) -> str:
    """The chart in words."""
    if not layers:
        return "The adapter sits on no layer."
    small, large = (pick(layers, key=lambda each: each.norm) for pick in (min, max))
    return (
        f"Norm of what the adapter adds (scaled BA), by layer: from {small.norm:.3g} ({_layer(small)}) to "
        f"{large.norm:.3g} ({_layer(large)}), there {percent(large.share)} of the norm of the weights it is added to."
    )


def _layer(each: LayerNorm) -> str:
    return "outside the layers" if each.layer is None else f"layer {each.layer}"
