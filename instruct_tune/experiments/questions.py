"""The experiments: a question, the arms that answer it, one measure, and why the effect is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .arms import ARMS, BASELINE, Arm
from .paired import Direction

HIGHER, LOWER = Direction.HIGHER, Direction.LOWER
OVER_STEPS, OVER_ARMS = "steps", "arms"


@dataclass(frozen=True)
class Measure:
    """What an experiment measures. ``name`` begins a sentence; ``digits`` are those after the point."""

    name: str
    unit: str
    digits: int


MEASURES: dict[str, Measure] = {
    "held_out_loss": Measure("The held-out loss", "nats a token", 3),
    "leaked_loss": Measure("The loss on the leaked rows", "nats a token", 3),
    "general_loss": Measure("The general loss", "nats a token", 3),
    "bleu": Measure("BLEU", "points", 1),
    "stopped": Measure("The share of answers that stop by themselves", "%", 0),
    "tokens": Measure("The length of an answer", "tokens", 0),
}


@dataclass(frozen=True)
class Experiment:
    """One question. Its effect is the measure of ``arm`` minus that of ``against``.

    Args:
        title: A few words for the list.
        question: One sentence.
        changed: What differs, in the configuration's words.
        measure: A name in ``MEASURES``.
        arm: The arm with the change.
        arms: All arms in the plot, in its order.
        because: Why, for the directions that the authors can explain.
        try_it: One thing to try.
        against: The arm that it is compared with.
        drawn: The guess is a curve over the steps of ``arm`` or over all arms; None: one of three directions.
    """

    title: str
    question: str
    changed: str
    measure: str
    arm: str
    arms: tuple[str, ...]
    because: Mapping[Direction, str]
    try_it: str
    against: str = BASELINE
    drawn: str | None = None
    ticks: tuple[str, ...] = field(default=())

    @property
    def configured_arm(self) -> Arm | None:
        """The arm with the change, where a run's configuration can express it."""
        arm = ARMS[self.arm]
        return arm if arm.configurable else None

    @property
    def pair(self) -> tuple[str, str] | None:
        """(against, arm) where both are runs of their own, so that they can be trained on other rows."""
        names = (self.against, self.arm)
        both = [ARMS[name] for name in names]
        return names if all(arm.configurable and not arm.answers_only for arm in both) else None


EXPERIMENTS: dict[str, Experiment] = {
    "no-eos": Experiment(
        title="Rows without EOS",
        question="No training row ends with EOS. Do the tuned model's answers still stop by themselves?",
        changed="The last token of each row, EOS, is left out.",
        measure="stopped",
        arm="no-eos",
        arms=(BASELINE, "no-eos"),
        because={
            LOWER: "EOS is how an answer ends, and these rows give no example of it.",
        },
        try_it="Format, Broken on purpose, no EOS: see which token is missing.",
    ),
    "eos-masked": Experiment(
        title="EOS taken for padding",
        question="EOS ends each row, but is masked as if it were padding. How long do the answers get?",
        changed="The label of EOS is ignored, as where padding is masked by its token id and pad equals EOS.",
        measure="tokens",
        arm="eos-masked",
        arms=(BASELINE, "eos-masked"),
        because={
            HIGHER: "EOS is in the rows, but carries no loss: no step is taken towards predicting it.",
        },
        try_it="Format, Broken on purpose, EOS taken for padding: the last token loses its colour.",
    ),
    "prompt-loss": Experiment(
        title="Loss on the prompt too",
        question="The prompt's tokens carry loss like the answer's. What happens to the loss on held-out answers?",
        changed="Labels: every token of a row, not its answer alone.",
        measure="held_out_loss",
        arm="prompt-loss",
        arms=(BASELINE, "prompt-loss"),
        because={
            HIGHER: "Each step fits the prompts too, and the held-out loss counts answers alone.",
            LOWER: "Each step fits the prompts too, and here the answers gained by it.",
        },
        try_it="Format, Broken on purpose, loss on the prompt too: count the tokens that are added.",
    ),
    "rank": Experiment(
        title="Rank 1 against rank 64",
        question="Rank 64 has 64 times the weights of rank 1. Is the held-out loss lower with it, after 48 rows?",
        changed="lora.r 1, 16 and 64; lora_alpha is twice the rank each time, so that the update's scale is the same.",
        measure="held_out_loss",
        arm="rank-64",
        arms=("rank-1", BASELINE, "rank-64"),
        against="rank-1",
        because={
            LOWER: "Scale, rows and steps are the same: more directions for the update came further in them.",
            HIGHER: "Scale, rows and steps are the same: more directions for the update did not help here.",
        },
        try_it="Train with rank 64, and look at what the cost line says about memory.",
        ticks=("1", "16", "64"),
    ),
    "rate-high": Experiment(
        title="Learning rate × 10",
        question="The learning rate is 2e-2 instead of 2e-3. How does the held-out loss run over the twelve steps?",
        changed="train.learning_rate 2e-3 → 2e-2.",
        measure="held_out_loss",
        arm="rate-high",
        arms=(BASELINE, "rate-high"),
        because={
            HIGHER: "Rows and number of steps are the same: longer steps ended higher on rows that none was taken for.",
            LOWER: "Rows and number of steps are the same: longer steps came further in twelve of them.",
        },
        try_it="Train with 2e-2, and lay its held-out loss over the good run's: Runs, Side by side.",
        drawn=OVER_STEPS,
    ),
    "rate-low": Experiment(
        title="Learning rate ÷ 10",
        question="The learning rate is 2e-4 instead of 2e-3. How does the held-out loss run over the twelve steps?",
        changed="train.learning_rate 2e-3 → 2e-4.",
        measure="held_out_loss",
        arm="rate-low",
        arms=(BASELINE, "rate-low"),
        because={
            HIGHER: "Twelve steps a tenth as long did not come as far; whether more of them would, this does not tell.",
        },
        try_it="Train with 2e-4 and more epochs: does it catch up?",
        drawn=OVER_STEPS,
    ),
    "rows": Experiment(
        title="8, 48, 200, 800 rows",
        question="One epoch over more rows: where does the held-out loss end?",
        changed="data.limit 8, 48, 200 and 800; one epoch each, so more rows are more steps too.",
        measure="held_out_loss",
        arm="rows-800",
        arms=("rows-8", BASELINE, "rows-200", "rows-800"),
        because={
            LOWER: "More rows, and with them more steps: which of the two it is, this does not tell.",
        },
        try_it="Train on 200 rows, and compare the answers with those of the preset minute.",
        drawn=OVER_ARMS,
        ticks=("8", "48", "200", "800"),
    ),
    "leaked": Experiment(
        title="Held-out rows in the training set",
        question="20 of the 48 training rows are held-out rows. What happens to the loss on those 20?",
        changed="20 training rows are replaced by the first 20 held-out rows.",
        measure="leaked_loss",
        arm="leaked",
        arms=(BASELINE, "leaked"),
        because={
            LOWER: "The model was trained on these 20 answers, so their loss says little about other rows.",
        },
        try_it="Data, Report: does your dataset have near copies across the split? A checkbox removes them.",
    ),
    "template": Experiment(
        title="Another template when asking",
        question="Trained with the lesson's template, asked with the model's chat template. What happens to BLEU?",
        changed="The prompt of the question; alpaca, which shares its last line with the lesson's, stands beside it.",
        measure="bleu",
        arm="asked-chat",
        arms=(BASELINE, "asked-alpaca", "asked-chat"),
        because={
            LOWER: "The adapter was trained on answers after one prompt, and here another one stands before them.",
        },
        try_it="Format, Template: see how far the three prompts of one row are apart.",
    ),
    "strength": Experiment(
        title="Adapter strength 0, 1, 2",
        question="The adapter's update is added twice. Is BLEU higher than with the update added once?",
        changed="The adapter's scale when it answers: 0 is base, 1 is as trained, 2 is twice that.",
        measure="bleu",
        arm="strength-2",
        arms=("strength-0", BASELINE, "strength-2"),
        because={
            LOWER: "The adapter was trained at strength 1: no step was taken for twice that update.",
            HIGHER: "On these rows, after so short a training, twice the update was still better than the update.",
        },
        try_it="Compare, third answer: the run itself at half its strength.",
        ticks=("0", "1", "2"),
    ),
    "beams": Experiment(
        title="Five beams against greedy",
        question="The same adapters answer with five beams instead of greedily. What happens to BLEU?",
        changed="generation.num_beams 1 → 5, with early stopping.",
        measure="bleu",
        arm="beams-5",
        arms=(BASELINE, "beams-5"),
        because={
            HIGHER: "Beams find answers that are likelier as a whole; here they were closer to the references.",
            LOWER: "Beams find answers that are likelier as a whole; here they were further from the references.",
        },
        try_it="Compare, Search: see where the beams leave the greedy answer.",
    ),
    "max-length": Experiment(
        title="max_length 50",
        question="max_length is 50, as in the lesson's call, instead of 96 new tokens. What happens to BLEU?",
        changed="generation.max_new_tokens 96 → none, max_length none → 50; the prompt counts.",
        measure="bleu",
        arm="max-length-50",
        arms=(BASELINE, "max-length-50"),
        because={
            LOWER: "The limit counts the prompt too, so answers are cut, and BLEU has a penalty for short ones.",
        },
        try_it="Evaluate, Why 0.4?: what the same limit does to another run.",
    ),
    "forgetting": Experiment(
        title="One epoch against ten",
        question="Ten epochs over 48 rows: how does the loss on plain text, which is no instruction data, run?",
        changed="train.num_train_epochs 1 → 10.",
        measure="general_loss",
        arm="ten-epochs",
        arms=(BASELINE, "ten-epochs"),
        because={
            HIGHER: "Every step is taken for the 48 rows, and none for plain text.",
            LOWER: "Every step is taken for the 48 rows; plain text did not pay for it here.",
        },
        try_it="Train ten epochs, and show general loss in the plot's legend.",
        drawn=OVER_STEPS,
    ),
}
