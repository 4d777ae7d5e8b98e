"""A run's model card in the Hub's format: base model, training data, numbers, how to load it, limits.

A YAML library writes the front matter. In the body, other people's texts are escaped by ``plain`` or are in a
fenced block with a fence longer than theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.catalog import MODELS
from ..data.sources import CODEALPACA_REPO, HUB_PREFIX
from ..pretrained.locate import LOCAL_FOLDER
from ..runs.examples import recorded_on
from ..runs.provenance import TRAINING, ended_as, not_imported, rows_trained_on
from ..store.run import Run
from ..text.markdown import code_span, plain
from ..text.python_literal import literal
from ..tokenization.prompt_template import PromptTemplate, template_of_run
from .adapter_config import KEPT

Found = Mapping[str, Any]

# The catalog's licences → the Hub's names; another model's licence is left out, not guessed.
_LICENCES = {
    "Apache-2.0": {"license": "apache-2.0"},
    "MIT": {"license": "mit"},
    "OPT-175B licence (research)": {"license": "other", "license_name": "opt-175b-license"},
}
_FOLDER = "path/to/this/folder"


def model_card(
    run: Run,
    evaluations: Sequence[Found],
    metrics: Sequence[Found] = (),
    *,
    merged: bool = False,
    repo: str = "",
    beside: str = "",
) -> str:
    """The card of ``run``, which must be without machine paths. ``evaluations``: the newest first.

    ``merged``: the card describes the whole model with the merged adapter, not the adapter alone. ``repo``: the Hub
    repository (OWNER/NAME) that it is the card of. ``beside``: a sentence on further files beside it.
    """
    parts = [
        _front_matter(run, evaluations, merged),
        f"# {plain(run.name)}",
        _opening(run, merged),
        "## How to load it",
        _loading(run, merged, repo or _FOLDER),
        "## What it was trained on",
        _data(run),
        "## Base weights",
        base_weights(run.provenance),
        "## Configuration",
        _configuration(run),
        *(("## Losses", _losses(metrics)) if metrics else ()),
        *(("## Evaluation", _evaluation(evaluations[0])) if evaluations else ()),
        *(("## Beside this card", beside) if beside else ()),
        "## Limits",
        _limits(run, evaluations),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(run: Run, evaluations: Sequence[Found], merged: bool) -> str:
    import yaml

    model = run.config["model"]
    dataset = None if not_imported(run.provenance) else _hub_dataset(run.config["data"]["source"])
    licence = next((_LICENCES.get(card.licence, {}) for card in MODELS if card.id == model), {})
    header: dict[str, Any] = {} if is_local(run) else {"base_model": model}
    header |= {"library_name": "transformers" if merged else "peft"}
    header |= {"pipeline_tag": "text-generation", **licence}
    if dataset:
        header["datasets"] = [dataset]
    header["tags"] = ["lora", "instruction-tuning"]
    if evaluations:
        header["model-index"] = [{"name": _line(run.name), "results": [_result(run, evaluations[0], dataset)]}]
    # One line for each value, however long: a line that begins with "---" would end the front matter.
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=10**6).rstrip()}\n---"


def is_local(run: Run) -> bool:
    """Whether the base model is a folder, or its name is no Hub id; the Hub accepts only ids."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if run.provenance.get("weights_source") == LOCAL_FOLDER:
        return True
    try:
        validate_repo_id(run.config["model"])
    except HFValidationError:
        return True
    return False


def _hub_dataset(source: str) -> str | None:
    if source == "codealpaca-20k":
        return CODEALPACA_REPO
    return source.removeprefix(HUB_PREFIX) if source.startswith(HUB_PREFIX) else None


def _result(run: Run, evaluation: Found, dataset: str | None) -> dict[str, Any]:
    """One entry of ``model-index``: sacreBLEU of the tuned model, with the details of its measurement."""
    measured = {
        "rows": evaluation["rows"],
        "signature": evaluation["tuned"]["signature"],
        "ci_95": evaluation["tuned"]["ci"],
        "base_value": evaluation["base"]["bleu"],
        "generation": dict(evaluation["generation"]),
    }
    source = _line(run.config["data"]["source"])
    return {
        "task": {"type": "text-generation", "name": "Text generation"},
        "dataset": {
            "name": f"{source}, {evaluation['rows']} held-out rows",
            "type": dataset or source,
            "args": {"fingerprint": None if not_imported(run.provenance) else run.provenance.get("data_fingerprint")},
        },
        "metrics": [{"type": "sacrebleu", "name": "sacreBLEU", "value": evaluation["tuned"]["bleu"], "args": measured}],
    }


def _opening(run: Run, merged: bool) -> str:
    provenance, parent = run.provenance, run.provenance.get("parent")
    began = f" It goes on from the adapter of {plain(parent['name'])}, step {parent['step']}." if parent else ""
    what = "A LoRA adapter merged into" if merged else "A LoRA adapter for"
    local = f" (a local folder, weights sha256 {code_span(provenance.get('weights_sha256'))})" if is_local(run) else ""
    missing = not_imported(provenance)
    if missing == TRAINING:
        return (
            f"{what} {plain(run.config['model'])}{local}. It was trained elsewhere and imported into "
            "Instruction-Tuning Lab, which knows neither its rows nor its settings."
        )
    source = "a dataset that did not come along" if missing else plain(run.config["data"]["source"])
    return (
        f"{what} {plain(run.config['model'])}{local}, trained with Instruction-Tuning Lab on "
        f"{rows_trained_on(run) or 'rows'} of {source}. {_ending(run)}{began}"
    )


def _ending(run: Run) -> str:
    """How the training ended, and which step's adapter this is where it is not the last one's."""
    steps = f", step {run.step} of {run.total_steps}" if run.total_steps else ""
    kept = "" if run.adapter_step == run.step else f"; the adapter is that of step {run.adapter_step}"
    return f"Status: {recorded_on(run.provenance) or ended_as(run)}{steps}{kept}."


def _loading(run: Run, merged: bool, adapter: str) -> str:
    config = run.config
    template = template_of_run(config["template"], run.provenance)
    limit = config["generation"].get("max_new_tokens") or 96
    name = adapter if merged else f"path/to/{config['model']}" if is_local(run) else config["model"]
    model = "AutoModelForCausalLM.from_pretrained(name)"
    return fenced("\n".join((
        *(() if merged else ("from peft import PeftModel",)),
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"name = {literal(name)}",
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        f"model = {model}" if merged else f'model = PeftModel.from_pretrained({model}, {literal(adapter)})',
        "",
        *_prompt_lines(template),
        f"options = dict(max_new_tokens={limit}, do_sample=False, repetition_penalty=1.0, no_repeat_ngram_size=0)",
        "own = model.generation_config.eos_token_id",
        "ends = [tokenizer.eos_token_id, *(own if isinstance(own, list) else [own] if own is not None else [])]",
        "answer = model.generate(**inputs, eos_token_id=ends, **options)",
        'print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    )), "python")  # fmt: skip


def _prompt_lines(template: PromptTemplate) -> list[str]:
    """Python code that turns an instruction into ``inputs``, in the format of the training rows."""
    if template.markup:
        prompt = literal(template.markup.around("Reverse a string in Python."))
        return [f"prompt = {prompt}", 'inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")']
    if template.chat:
        return [
            'messages = [{"role": "user", "content": "Reverse a string in Python."}]',
            "inputs = tokenizer.apply_chat_template(",
            '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
        ]
    prompt = literal(template.render("Reverse a string in Python."))
    return [f"prompt = {prompt}", 'inputs = tokenizer(prompt, return_tensors="pt")']


def _data(run: Run) -> str:
    config, provenance = run.config["data"], run.provenance
    template = template_of_run(run.config["template"], provenance)
    missing, fingerprint = not_imported(provenance), provenance.get("data_fingerprint")
    if missing == TRAINING:
        return f"Not known. The lab asks it with this prompt:\n\n{fenced(template.without_input)}"
    if missing:
        known = f" Fingerprint of its rows: {code_span(fingerprint)}." if fingerprint else ""
        return f"The dataset did not come along when the run was imported.{known}\n\n{_template(template)}"
    licence = f", licence: {plain(provenance['data_licence'])}" if provenance.get("data_licence") else ""
    lines = [
        f"- Source: {plain(config['source'])}{licence}",
        f"- Fingerprint of the rows: {code_span(fingerprint) if fingerprint else 'not recorded'}",
        f"- Trained on {rows_trained_on(run) or 'rows whose number was not recorded'}; "
        f"{config['test_size']} of all held out, seed {config['seed']}",
    ]
    if "ledger" in provenance:
        lines.append(f"- {provenance['rows_loaded']:,} rows loaded, then these steps in order:")
        for step in provenance["ledger"]:
            parameters = (
                f" {plain(json.dumps(step['parameters'], ensure_ascii=False))}" if step.get("parameters") else ""
            )
            lines.append(f"    - {plain(step['step'])}{parameters}: {step['kept']:,} kept, {step['dropped']:,} dropped")
    else:
        steps = ", ".join(plain(json.dumps(step, ensure_ascii=False)) for step in config["filters"])
        lines.append(f"- Filters: {steps or 'none'}; how many rows each kept was not recorded")
    return "\n".join(lines) + "\n\n" + _template(template)


def _template(template: PromptTemplate) -> str:
    if template.markup:
        return (
            "The prompt is the tokenizer's own chat template, rendered when the run began; only the answer and its "
            f"EOS carried loss:\n\n{fenced(template.markup.around('{message}'))}"
        )
    if template.chat:
        return "The prompt is the tokenizer's own chat template. Only the answer and its EOS carried loss."
    return (
        f"The prompt (template {plain(template.name)}), up to the first token of the answer; only the answer and its "
        f"EOS carried loss:\n\n{fenced(template.without_input)}\n\nand where the row has an input:\n\n"
        f"{fenced(template.with_input)}"
    )


def base_weights(provenance: Found) -> str:
    if "weights_sha256" not in provenance:
        return "Which weights of this name it was trained on is not known."
    text = (
        f"Trained on the weights from {plain(provenance.get('weights_source'))}, "
        f"sha256 {code_span(provenance.get('weights_sha256'))}. "
        "Weights of the same name with another sha256 may answer differently."
    )
    if "4-bit" in str(provenance.get("weights_source")):
        text += (
            "\n\n**These were a 4-bit copy, dequantised, and not the weights that the Hub has under this name.** "
            "Measure again before quoting the numbers below for the Hub's."
        )
    return text


def _configuration(run: Run) -> str:
    lora, train = run.config["lora"], run.config["train"]
    rows = [(f"lora.{name}", value) for name, value in lora.items()]
    names = (
        "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
        "lr_scheduler_type", "warmup_steps", "weight_decay", "optim", "max_length", "seed",
    )  # fmt: skip
    if not_imported(run.provenance) == TRAINING:
        rows = [(f"lora.{name}", lora[name]) for name in KEPT]
        return f"{_table(rows)}\n\nOf its training nothing is known."
    rows += [(f"train.{name}", train[name]) for name in names]
    installed = run.provenance.get("versions", {})
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in installed.items())
    text = f"{_table(rows)}\n\nAll of it is in `run_config.json`."
    return f"{text} Versions: {versions}." if versions else text


def _table(rows: Sequence[tuple[str, Any]]) -> str:
    lines = "\n".join(f"| {plain(name)} | {plain(json.dumps(value))} |" for name, value in rows)
    return f"| setting | value |\n|---|---|\n{lines}"


def _losses(metrics: Sequence[Found]) -> str:
    lines = []
    for kind, key, name in (
        ("probe", "probe_loss", "Held-out loss, probe rows"),
        ("eval", "eval_loss", "Held-out loss, evaluation rows"),
        ("train", "loss", "Training loss, single batches"),
    ):
        points = [(m[key], m["step"]) for m in metrics if m["kind"] == kind]
        if points:
            lowest = min(points)
            lines.append(
                f"- {name}: {points[0][0]:.3f} at step {points[0][1]}, lowest {lowest[0]:.3f} at step {lowest[1]}, "
                f"last {points[-1][0]:.3f} at step {points[-1][1]}"
            )
    return "\n".join(["In nats a token:", "", *lines, "", "![Loss over steps](loss.png)"])


def _evaluation(evaluation: Found) -> str:
    def line(name: str, *values: str) -> str:
        return f"| {name} | {' | '.join(values)} |"

    sides = [evaluation["base"], evaluation["tuned"]]
    table = [
        line("", "base", "tuned"),
        "|---|---|---|",
        line("BLEU", *(f"{side['bleu']:.2f}" for side in sides)),
        line("95% interval", *("{:.1f} to {:.1f}".format(*side["ci"]) if side["ci"] else "—" for side in sides)),
        line("chrF2", *(f"{side['chrf']:.1f}" for side in sides)),
        line("brevity penalty", *(f"{side['bp']:.3f}" for side in sides)),
        line("words, answer / reference", *(f"{side['sys_len']:,} / {side['ref_len']:,}" for side in sides)),
        line("ended by themselves", *(str(evaluation[f"{name}_ended"]) for name in ("base", "tuned"))),
    ]
    interval = evaluation["delta_ci"]
    spread = f", 95% interval {interval[0]:+.1f} to {interval[1]:+.1f}" if interval else ""
    chance = f", paired bootstrap p = {evaluation['p_value']:.3f}" if evaluation["p_value"] is not None else ""
    return "\n".join(table) + (
        f"\n\nOn {evaluation['rows']} held-out rows: tuned {evaluation['tuned']['bleu']:.1f} BLEU, base "
        f"{evaluation['base']['bleu']:.1f}, difference {evaluation['delta']:+.1f}{spread}{chance}. Signature "
        f"{code_span(evaluation['tuned']['signature'])}, generation {code_span(json.dumps(evaluation['generation']))}."
    )


def _limits(run: Run, evaluations: Sequence[Found]) -> str:
    rows = rows_trained_on(run)
    earlier = ", and before them those of the run that it goes on from" if run.provenance.get("parent") else ""
    lines = [
        f"- It has seen {rows}{earlier}: what they do not show, it has not learned."
        if rows
        else "- What it was trained on is not known.",
        "- BLEU counts words in common with one reference answer. It does not say whether an answer is right.",
        "- Nobody has tested it for safety, bias or facts; base's own limits and licence hold for it too.",
    ]
    if not evaluations:
        lines.insert(1, "- It has not been evaluated.")
    return "\n".join(lines)


def _line(text: str) -> str:
    return " ".join(text.split())


def fenced(text: str, language: str = "text") -> str:
    """A code block that no content of ``text`` can close."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
