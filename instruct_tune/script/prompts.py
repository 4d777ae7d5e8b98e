"""The Format tab as code: the model's tokenizer, the prompt template, and rows as ids and labels."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.catalog import MODELS, TINY_MODEL
from ..config.run_config import RunConfig
from ..runs.provenance import TRAINING
from ..tokenization.prompt_template import PromptTemplate, template_of_run
from .code import Line, Section, assign, code, note
from .record import Record
from .spelled_out import SPELLED_OUT


def format_sections(config: RunConfig, record: Record | None) -> list[Section]:
    """Sections from the tokenizer to the rows that a trainer gets."""
    template = template_of_run(config.template, record.provenance if record else {})
    return [
        Section("format", "The tokenizer", tuple(_tokenizer(config))),
        Section(
            "format", "The prompt", (*_stand_in(record), *(_chat(template) if template.chat else _texts(template)))
        ),
        Section("format", "Rows as ids and labels", tuple(_rows(config))),
    ]


def _tokenizer(config: RunConfig) -> Iterator[Line]:
    yield Line("import re")
    yield Line("")
    yield Line("from transformers import AutoConfig, AutoTokenizer")
    yield Line("")
    if config.model == TINY_MODEL:
        yield from note(
            "A model with random weights that the lab makes for trying things out: put its folder, from the lab's "
            "cache, beside this file, or name any causal language model.",
            "model",
        )
    elif not any(config.model == card.id for card in MODELS) and "/" not in config.model:
        yield from note("A model's name on the Hub, or its folder, to be put beside this file.", "model")
    yield from assign("MODEL", config.model, "model")
    yield from code("""
        tokenizer = AutoTokenizer.from_pretrained(MODEL)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token  # never trained on: padding is masked by its place, not its id
        architecture = AutoConfig.from_pretrained(MODEL).get_text_config(decoder=True)
        positions = getattr(architecture, "max_position_embeddings", 0) or getattr(architecture, "max_seq_len", 0)
        CONTEXT = positions if positions > 0 else 2**31  # tokens, prompt and answer together
        rope = getattr(architecture, "rope_parameters", None) or {}
        if rope.get("rope_type") == "longrope":  # one longer row would change the positions of all others in its batch
            CONTEXT = min(CONTEXT, rope["original_max_position_embeddings"])


    """)
    yield from SPELLED_OUT
    yield from code('''
        def plain(text):
            return spelled_out(tokenizer, text)


        def continued(text, encode=plain):
            """Ids of a text that continues a prompt, encoded after a lead where the tokenizer needs one."""
            for lead in LEADS:
                front, ids = encode(lead), encode(lead + text)
                if ids[: len(front)] == front:  # else the lead merges with the text
                    return ids[len(front) :]
            return encode(text)


        def text_of(ids):
            """The text that ids add to a prompt."""
            front = plain("a") if LEADS and ids else []
            lead, text = (
                tokenizer.decode(part, skip_special_tokens=True, clean_up_tokenization_spaces=False)
                for part in (front, front + ids)
            )
            return text.removeprefix(lead)


        def kept_beginnings():
            return sum(text_of(continued(text)) == text for text in ("x", " x", "  x", "    x = 1", "\\n x", "\\tx"))


        # Some tokenizers, such as Llama's, change the white space at the beginning of a text, which an answer is not.
        LEADS = ""
        alone = kept_beginnings()
        LEADS = "\\n.:a1"
        if kept_beginnings() <= alone:
            LEADS = ""
    ''')


def _stand_in(record: Record | None) -> Iterator[Line]:
    if record and record.missing == TRAINING:
        yield from note("Which prompt the imported adapter was trained with is not known: the lab asks it with this.")


def _texts(template: PromptTemplate) -> Iterator[Line]:
    yield from note(f"Template: {template.name}.", "template")
    yield from assign("WITHOUT_INPUT", template.without_input, "template")
    yield from assign("WITH_INPUT", template.with_input, "template")
    yield from code(r'''
        alone, whole = plain("a"), tokenizer("a")["input_ids"]
        FRONT = whole[: whole.index(alone[0])]  # what this tokenizer puts before every text, such as BOS


        def prompt_ids(row):
            """Everything up to the first token of the answer, the same for training and for asking."""
            template = WITH_INPUT if row["input"].strip() else WITHOUT_INPUT
            # In one pass: a row that holds the text "{input}" itself is not filled a second time.
            return FRONT + plain(re.sub(r"\{(instruction|input)\}", lambda found: row[found[1]], template))
    ''')


def _chat(template: PromptTemplate) -> Iterator[Line]:
    if template.markup:
        yield from note("The tokenizer's chat template, as it was written when the run began.", "template")
        yield from assign("BEFORE", template.markup.before, "template")
        yield from assign("AFTER", template.markup.after, "template")
    else:
        yield from note(
            "The tokenizer's own chat template: what it writes before and after a user's message.", "template"
        )
        yield from code("""
            SAMPLE = "\\ue000 sample \\ue001"
            messages = [{"role": "user", "content": SAMPLE}]
            rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            BEFORE, AFTER = rendered.split(SAMPLE)
        """)
    yield from code('''
        MARKUP = [
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            if token.special or (token.content.strip() and token.content in BEFORE + AFTER)
        ]


        def marked(text):
            """Ids of a text whose special tokens are meant."""
            return tokenizer(text, add_special_tokens=False)["input_ids"]


        def prompt_ids(row):
            """Everything up to the first token of the answer, the same for training and for asking."""
            message = f"{row['instruction']}\\n\\n{row['input']}" if row["input"].strip() else row["instruction"]
            whole = BEFORE + message + AFTER
            if all(whole.count(token) == BEFORE.count(token) + AFTER.count(token) for token in MARKUP):
                return marked(whole)
            # Markup that is spelled in a row is no markup.
            asked = continued(message, lambda text: spelled_out(tokenizer, text, MARKUP))
            return marked(BEFORE) + asked + continued(AFTER, marked)
    ''')


def _rows(config: RunConfig) -> Iterator[Line]:
    drops = config.train.overlong == "drop"
    yield from assign("MAX_LENGTH", config.train.max_length, "train.max_length", why="tokens of a row")
    yield from code('''
        LONGEST = min(MAX_LENGTH, CONTEXT)
        IGNORED = -100  # PyTorch's cross entropy skips this label


        def training_rows(part):
            """Ids, and as labels the same ids, where only the answer and the EOS after it carry loss."""
            made = []
            for row in part:
                prompt, answer = prompt_ids(row), continued(row["output"]) + [tokenizer.eos_token_id]
    ''')
    if drops:
        test, why = (
            "len(prompt + answer) > LONGEST",
            "drop a long row: cut, it would teach answers without an end",
        )
    else:
        test, why = "len(prompt) >= LONGEST", "a long row is cut, and dropped only where no answer is left"
    yield Line(f"        if {test}:", ("train.overlong",))
    yield Line(f"            continue  # {why}", ("train.overlong",))
    yield from code("""
        #
                ids, labels = prompt + answer, [IGNORED] * len(prompt) + answer
                made.append({"input_ids": ids[:LONGEST], "labels": labels[:LONGEST]})
            return made


    """)[1:]
    yield from _evaluation_rows(config)
    yield from code("""
        train_rows, held_out_rows = training_rows(train), training_rows(measured)
        print(len(train_rows), "rows to train on,", sum(len(row["input_ids"]) for row in train_rows), "tokens")
        changed = sum(text_of(continued(row["output"])) != row["output"] for row in train)
        if changed:
            print(f"This tokenizer cannot write {changed} answers as they are: they are trained on as it writes them.")
    """)


def _evaluation_rows(config: RunConfig) -> Iterator[Line]:
    if config.evaluation_rows is None:
        yield Line("measured = held_out  # all held-out rows give the held-out loss and BLEU", ("evaluation_rows",))
        return
    yield from assign(
        "EVALUATION_ROWS", config.evaluation_rows, "evaluation_rows", why="the first held-out rows: for loss and BLEU"
    )
    yield Line("measured = held_out.select(range(min(EVALUATION_ROWS, len(held_out))))")
