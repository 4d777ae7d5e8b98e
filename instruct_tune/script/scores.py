"""The Evaluate tab as code: BLEU of base and tuned, rows known by heart, and the lab's numbers beside the script's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..config.run_config import RunConfig
from ..text.python_literal import literal
from .code import Line, Section, assign, code, note
from .record import Record


def evaluate_sections(config: RunConfig, record: Record | None, tokenize: str) -> list[Section]:
    """Sections from the answers to the last comparison."""
    sections = [Section("evaluate", "BLEU", tuple(_bleu(record, tokenize)))]
    if config.train.recite_rows:
        sections.append(Section("evaluate", "Rows known by heart", tuple(_memorization(config.train.recite_rows))))
    if record:
        sections.append(Section("evaluate", "The lab's numbers beside these", tuple(_comparison(config, record))))
    return sections


def _bleu(record: Record | None, tokenize: str) -> Iterator[Line]:
    yield Line("from sacrebleu.metrics import BLEU")
    yield Line("")
    if record and record.evaluation and (baselines := record.evaluation.get("baselines")):
        yield from note(
            f"Only in the lab: the baselines {', '.join(baselines)}, which answered the same rows untrained."
        )
    yield from code("""
        references = [row["output"] for row in answered_rows]
        scores = {}
        for side, answered in (("base", base_answers), ("tuned", tuned_answers)):
    """)
    yield Line(f"    bleu = BLEU(tokenize={literal(tokenize)})", ("tokenize",))
    yield from code("""
        #
            score = bleu.corpus_score([text for text, _ in answered], [references])
            scores[side] = score.score
            ended = sum(ended for _, ended in answered)
            print(f"BLEU of {side}: {score.score:.4f} on {len(references)} rows ({score})")
            print(f"{ended} answers of {side} ended by themselves, the others at the limit of tokens")
        print("signature:", bleu.get_signature())
    """)[1:]


def _memorization(rows: int) -> Iterator[Line]:
    yield from note("A pipeline that cannot learn a few rows by heart is broken somewhere.", "train.recite_rows")
    yield Line(f"by_heart = train_rows[:{rows}]", ("train.recite_rows",))
    yield from code("""
        questions = [row["input_ids"][: row["labels"].count(IGNORED)] for row in by_heart]
        targets = [[label for label in row["labels"] if label != IGNORED] for row in by_heart]
        longest = max(len(target) for target in targets)
        greedy = {"num_beams": 1, "do_sample": False}
        recited = answers(questions, greedy, lambda prompt: min(longest, CONTEXT - len(prompt)), stops=[])
        exact = 0
        for (text, ended), target in zip(recited, targets, strict=True):
            expected = text_of(target)
            # A row that was cut has no EOS to learn: the answer only has to begin with its text.
            whole = target[-1] == tokenizer.eos_token_id
            exact += ended and text == expected if whole else text.startswith(expected)
        print(f"{exact} of {len(by_heart)} training rows are known by heart")
    """)


def _comparison(config: RunConfig, record: Record) -> Iterator[Line]:
    yield from note("What the lab measured, and in the same lines what this run did.")
    yield from assign("LAB_LOSSES", dict(record.losses), why="training loss by step, nats a supervised token")
    yield from assign("LAB_HELD_OUT_LOSSES", dict(record.evaluations))
    yield from assign("LAB_BLEU", _bleu_of(record.evaluation))
    yield from code("""
        for name, lab, here in (
            ("loss", LAB_LOSSES, losses),
            ("held-out loss", LAB_HELD_OUT_LOSSES, held_out_losses),
            ("BLEU", LAB_BLEU, scores),
        ):
            both = [key for key in lab if key in here]
            if both:
                far = max(abs(lab[key] - here[key]) for key in both)
                last = both[-1]
                print(f"{name}, {last}: {lab[last]:.6f} in the lab, {here[last]:.6f} here; at most {far:.6f} apart")
    """)
    for sentence in differences(config, record):
        yield from note(sentence)
        yield Line(f"print({literal(sentence)})")


def _bleu_of(evaluation: Mapping[str, Any] | None) -> dict[str, float]:
    return {side: evaluation[side]["bleu"] for side in ("base", "tuned")} if evaluation else {}


def differences(config: RunConfig, record: Record) -> Iterator[str]:
    """Sentences on what may differ from the lab's numbers, and why."""
    provenance = record.provenance
    machine = ", ".join(
        value for name in ("device", "dtype", "matrix_products") if isinstance(value := provenance.get(name), str)
    )
    here = f" The lab's machine: {machine}." if machine else ""
    yield (
        "Sums may differ in their last digits: the lab packs rows without padding and this pads them; another machine, "
        f"or another number of threads or processes, adds in another order.{here}"
    )
    if config.lora.lora_dropout:
        yield (
            f"lora_dropout is {config.lora.lora_dropout:g}: the lab and the library draw other random numbers for it, "
            "so the losses differ by more than rounding, and the answers and BLEU with them. With 0 they do not."
        )
    if config.generation.do_sample:
        yield (
            "Answers are sampled: one other digit in a chance may give another text, and where prompts are long or "
            "memory is short, the lab answers them in other batches, which draw other numbers."
        )
    if not record.is_finished:
        yield f"The lab's run is {record.ended}, and this trains to the end."
    if provenance.get("parent"):
        yield "The lab's run went on from another run's adapter, and this begins at base."
    if record.imported:
        yield f"In the lab {record.imported}"
    if "4-bit" in str(provenance.get("weights_source")):
        yield "The lab's weights were a 4-bit copy, dequantised: those of the Hub give other numbers."
    if provenance.get("recorded"):
        yield "The lab's numbers were recorded on another machine."
    if record.evaluation is None:
        yield "The lab has not evaluated this run, so there is no BLEU of its own to compare with."
