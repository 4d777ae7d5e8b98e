"""Interprets a run's numbers: the likely cause of its result in one sentence, and one thing to try.

Rules of thumb over measured values only: every verdict contains the numbers behind it, and where they explain
nothing, it states that. Pure functions of plain data, so that the page, the command line and the tests get the
same verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config.learning_rate import higher_rate_advice, is_warming_up, used_rate, warmup_sentence

SIGNIFICANT = 0.05
"""p-values below this count as more than chance."""
MOVED = 0.01
"""A relative change of a loss below this counts as none: another order of the rows changes as much."""
ROSE_AGAIN = 0.03
"""A held-out loss has risen again when it ends this much, relatively, above its lowest point."""
FAR = 0.2
"""Above this relative rise of the held-out loss, the learning rate is far too high; with a change either way this
large, training changed something, whatever the answers."""
SAME_ANSWERS = 0.9
"""Above this share of rows with identical answers, the adapter does next to nothing."""
SHORT = 0.7
"""Below this brevity penalty, missing length decides the score."""
MANY = 0.5
MOSTLY = 0.75
"""From this share of a gain on, stopping in time counts as most of it."""


@dataclass(frozen=True)
class Verdict:
    """``kind`` names the rule, ``sentence`` the likely cause, ``advice`` one thing to try.

    ``evidence``: the numbers behind both, by name.
    """

    kind: str
    sentence: str
    advice: str
    evidence: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Losses:
    """A loss over a run: its first, lowest and last value, and the step of the lowest."""

    first: float
    lowest: float
    lowest_step: int
    last: float

    @property
    def change(self) -> float:
        """Relative change from first to last."""
        return self.last / self.first - 1

    @property
    def rose(self) -> bool:
        return self.change > MOVED

    @property
    def fell_then_rose(self) -> bool:
        return self.lowest < (1 - MOVED) * self.first and self.last > (1 + ROSE_AGAIN) * self.lowest


@dataclass(frozen=True)
class Trained:
    """A run's actual training, from its recorded steps; from its configuration where none are recorded.

    ``rate``: the highest learning rate; ``warmup``: why that is below the configured one, None where it is not;
    ``max_steps``: the limit that decided the number of epochs, None where there was none.
    """

    rate: float
    epochs: float
    warmup: str | None
    max_steps: int | None

    @staticmethod
    def of(train: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> Trained:
        steps = [metric for metric in metrics if metric["kind"] == "train"]
        rate, last = used_rate(train, metrics), max((metric["step"] for metric in steps), default=0)
        return Trained(
            rate,
            max((metric["epoch"] for metric in steps if "epoch" in metric), default=train["num_train_epochs"]),
            warmup_sentence(train, rate, last) if is_warming_up(train, rate) else None,
            train["max_steps"] if train["max_steps"] > 0 else None,
        )


def judge(
    config: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any] | None = None
) -> Verdict | None:
    """The verdict on a finished run: on its evaluation where there is one, else on its losses alone.

    ``config`` is the run's configuration JSON, ``metrics`` its stored metrics, ``evaluation`` the
    evaluation's JSON. None without an evaluation where no held-out loss was measured twice, and
    for a memorization run, whose result ``training.memorization.verdict`` describes.
    """
    held_out, own = held_out_losses(metrics), own_losses(metrics)
    trained = Trained.of(config["train"], metrics)
    evidence = _evidence(trained, held_out, own, evaluation)
    if evaluation:
        return _of_evaluation(trained, held_out, own, evaluation, evidence)
    memorizes = config["train"].get("recite_rows", 0) > 0
    return _of_losses(trained, held_out, own, evidence) if held_out and not memorizes else None


def held_out_losses(metrics: Sequence[Mapping[str, Any]]) -> Losses | None:
    """The losses of the probe rows, which are measured from step 0 on; without those, of the evaluation rows."""
    for kind in ("probe", "eval"):
        points = [(m["step"], m[f"{kind}_loss"]) for m in metrics if m["kind"] == kind]
        if len(points) > 1:
            lowest_step, lowest = min(points, key=lambda point: point[1])
            return Losses(points[0][1], lowest, lowest_step, points[-1][1])
    return None


def own_losses(metrics: Sequence[Mapping[str, Any]]) -> Losses | None:
    """The training losses: means of the first and the last quarter, since single batches vary."""
    points = [(m["step"], m["loss"]) for m in metrics if m["kind"] == "train"]
    if len(points) < 4:
        return None
    quarter = len(points) // 4
    first, last = (sum(loss for _, loss in part) / quarter for part in (points[:quarter], points[-quarter:]))
    lowest_step, lowest = min(points, key=lambda point: point[1])
    return Losses(first, lowest, lowest_step, last)


def _evidence(
    trained: Trained, held_out: Losses | None, own: Losses | None, evaluation: Mapping[str, Any] | None
) -> dict[str, Any]:
    evidence: dict[str, Any] = {"learning_rate": trained.rate, "epochs": trained.epochs}
    if held_out:
        evidence |= {
            "held_out_loss": [held_out.first, held_out.lowest, held_out.last],
            "lowest_step": held_out.lowest_step,
        }
    if own:
        evidence |= {"own_loss": [own.first, own.last]}
    if evaluation:
        names = ("rows", "delta", "p_value", "base_ended", "tuned_ended", "identical", "base_cut_bleu")
        evidence |= {name: evaluation[name] for name in names if evaluation[name] is not None}
        evidence |= {"base_bleu": evaluation["base"]["bleu"], "tuned_bleu": evaluation["tuned"]["bleu"]}
        evidence |= {"tuned_bp": evaluation["tuned"]["bp"]}
    return evidence


# An evaluation


def _of_evaluation(
    trained: Trained,
    held_out: Losses | None,
    own: Losses | None,
    evaluation: Mapping[str, Any],
    evidence: dict[str, Any],
) -> Verdict:
    delta, p_value = evaluation["delta"], evaluation["p_value"]
    chance = p_value is None or p_value > SIGNIFICANT
    if evaluation.get("tuned_no_room", 0) >= MANY * evaluation["rows"]:
        return _no_room(evaluation, evidence)
    if _cut(evaluation):
        return _answers_cut(evaluation, evidence)
    if _unmoved(held_out, evaluation, chance):
        return _no_change(trained, held_out, evaluation, evidence)
    if delta < 0 and held_out and (held_out.rose or held_out.fell_then_rose):
        return _of_losses(trained, held_out, own, evidence, f"BLEU fell by {-delta:.1f}{_p(p_value)}; ")
    if chance:
        return Verdict(
            "chance",
            f"On {evaluation['rows']} rows a difference of {delta:+.1f} BLEU could be chance{_p(p_value)}.",
            "Evaluate more rows.",
            evidence,
        )
    if delta < 0:
        return _worse(held_out, evaluation, evidence)
    return _better(evaluation, evidence)


def _no_room(evaluation: Mapping[str, Any], evidence: dict[str, Any]) -> Verdict:
    limit = evaluation["generation"].get("max_length")
    fills = f"with max_length {limit}, which counts the prompt too" if limit else "because it fills the model's context"
    return Verdict(
        "no_room",
        f"{evaluation['tuned_no_room']} of {evaluation['rows']} tuned answers are empty: their prompt leaves no room "
        f"for one {fills}.",
        "Evaluate without max_length." if limit else "Shorten the rows, or choose a model with a longer context.",
        evidence,
    )


def _cut(evaluation: Mapping[str, Any]) -> bool:
    return evaluation["tuned"]["bp"] < SHORT and evaluation["tuned_hit_limit"] >= MANY * evaluation["rows"]


def _answers_cut(evaluation: Mapping[str, Any], evidence: dict[str, Any]) -> Verdict:
    hit, settings = evaluation["tuned_hit_limit"], evaluation["generation"]
    if settings.get("max_length"):
        limit = f"max_length {settings['max_length']}, which counts the prompt too"
    else:
        limit = f"max_new_tokens {settings['max_new_tokens']}"
    return Verdict(
        "cut",
        f"The limit cuts the answers: {hit} of {evaluation['rows']} tuned answers reached {limit}, and the brevity "
        f"penalty of {evaluation['tuned']['bp']:.2f} takes most of the score.",
        "Evaluate with room for longer answers: more max_new_tokens, and no max_length.",
        evidence,
    )


def _unmoved(held_out: Losses | None, evaluation: Mapping[str, Any], chance: bool) -> bool:
    same_answers = evaluation["identical"] >= SAME_ANSWERS * evaluation["rows"]
    # A few rows can be all that was left to gain.
    if same_answers and chance and not (held_out and abs(held_out.change) >= FAR):
        return True
    return held_out is not None and abs(held_out.change) < MOVED and abs(evaluation["delta"]) < 1


def _worse(held_out: Losses | None, evaluation: Mapping[str, Any], evidence: dict[str, Any]) -> Verdict:
    loss = f"the held-out loss fell from {held_out.first:.2f} to {held_out.last:.2f}" if held_out else ""
    cause = (
        f"though {loss}, so the losses do not say why" if held_out else "and no held-out loss was measured to say why"
    )
    return Verdict(
        "worse",
        f"BLEU fell by {-evaluation['delta']:.1f} {cause}.",
        "Read the rows that got worse: sort by gain, worst first.",
        evidence,
    )


def _better(evaluation: Mapping[str, Any], evidence: dict[str, Any]) -> Verdict:
    delta, rows = evaluation["delta"], evaluation["rows"]
    ended = f"{evaluation['tuned_ended']} of {rows} tuned answers end by themselves, {evaluation['base_ended']} of base"
    cut = evaluation["base_cut_bleu"]
    stopping = min(delta, max(0.0, cut - evaluation["base"]["bleu"]))
    if stopping >= MOSTLY * delta:
        return Verdict(
            "only_stopping",
            f"Most of the gain is stopping in time: base's answers, cut to the length of the tuned ones, would score "
            f"{cut:.1f}, which is {stopping:.1f} of the {delta:.1f} points; {ended}.",
            "Train on more rows: what to say is learned later than when to stop.",
            evidence,
        )
    part = ""
    if stopping >= 0.1 * delta:
        part = f"; {stopping:.1f} points of it are stopping in time (base cut to the tuned length scores {cut:.1f})"
    return Verdict(
        "better",
        f"A gain of {delta:.1f} BLEU that is more than chance{_p(evaluation['p_value'])}{part}.",
        _after_a_gain(evaluation),
        evidence,
    )


def _after_a_gain(evaluation: Mapping[str, Any]) -> str:
    penalty = evaluation["tuned"]["bp"]
    if penalty < SHORT:
        return (
            f"Read the rows before you trust it: the answers are short (brevity penalty {penalty:.2f}); more rows or "
            "another epoch are what to try next."
        )
    return "Read some of the answers; more rows or another epoch are what to try next."


# Losses alone


def _of_losses(
    trained: Trained, held_out: Losses, own: Losses | None, evidence: dict[str, Any], before: str = ""
) -> Verdict:
    rate, epochs = trained.rate, round(trained.epochs, 1)
    course = f"the held-out loss went from {held_out.first:.2f} to {held_out.last:.2f}"
    if held_out.fell_then_rose and epochs > 1:
        return Verdict(
            "too_many_epochs",
            f"{before}the held-out loss was lowest at step {held_out.lowest_step} ({held_out.lowest:.2f}) and rose to "
            f"{held_out.last:.2f} after: the rows were repeated too often.",
            f"Lower train.max_steps (it repeats the rows {epochs:g} times), or train on more rows."
            if trained.max_steps
            else f"Train fewer epochs than {epochs:g}, or on more rows.",
            evidence,
        )
    if held_out.rose or held_out.fell_then_rose:
        far = "far " if held_out.change > FAR else ""
        beside = ""
        if own:
            direction = "fell" if own.change < -MOVED else "rose" if own.change > MOVED else "stayed"
            beside = f" while the loss on its own batches {direction} ({own.first:.2f} to {own.last:.2f})"
        return Verdict(
            "learning_rate",
            f"{before}{course}{beside}: the learning rate of {rate:g} is most likely {far}too high.",
            f"Try a learning rate of {rate / 10:g}{' and no warm-up' if trained.warmup else ''}.",
            evidence,
        )
    if abs(held_out.change) < MOVED:
        return _no_change(trained, held_out, None, evidence)
    return Verdict(
        "learned",
        f"{before}{course}: it learned.",
        "Evaluate it to see what that does to the answers.",
        evidence,
    )


def _no_change(
    trained: Trained, held_out: Losses | None, evaluation: Mapping[str, Any] | None, evidence: dict[str, Any]
) -> Verdict:
    signs = []
    if held_out:
        signs.append(f"the held-out loss went from {held_out.first:.3f} to {held_out.last:.3f}")
    if evaluation:
        signs.append(f"{evaluation['identical']} of {evaluation['rows']} answers are the same as base's")
    return Verdict(
        "no_change",
        f"Training changed next to nothing: {' and '.join(signs)}." + (f" {trained.warmup}" if trained.warmup else ""),
        "Lower train.warmup_steps." if trained.warmup else higher_rate_advice(trained.rate),
        evidence,
    )


def _p(p_value: float | None) -> str:
    return "" if p_value is None else f" (p = {p_value:.3f})"
