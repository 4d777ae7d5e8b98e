"""The Compare tab as code: base and the tuned model answer prompts, with the configured way of decoding."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.run_config import GenerationSettings
from .code import Line, Section, argument, assign, code, note


def compare_sections(generation: GenerationSettings, rows: int | None) -> list[Section]:
    """Sections that answer prompts. ``rows``: how many held-out ones; None for those of the held-out loss."""
    together = Section("compare", "How many prompts are answered together", tuple(_together(generation)))
    lines = (*_settings(generation), *_answering(generation), *_base_and_tuned(rows))
    return [together, Section("compare", "Answer prompts", lines)]


def _together(generation: GenerationSettings) -> Iterator[Line]:
    """The trials of ``models.decoding_support``, with the model itself."""
    yield from code('''
        from transformers import GenerationConfig


        def padded(prompts):
            """Padded on the left, so that every answer begins right after its prompt."""
            width = max(map(len, prompts))
            pad = [width - len(prompt) for prompt in prompts]
            ids = [[tokenizer.pad_token_id] * n + prompt for n, prompt in zip(pad, prompts, strict=True)]
            mask = [[0] * n + [1] * (width - n) for n in pad]
            return {
                "input_ids": torch.tensor(ids, device=base.device),
                "attention_mask": torch.tensor(mask, device=base.device),
            }


        @torch.no_grad()
        def tried(prompts, tokens, **settings):
            """What the model computes for answers of some tokens."""
            model.eval()
            settings |= {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
            options = GenerationConfig(pad_token_id=tokenizer.pad_token_id, return_dict_in_generate=True, **settings)
            return model.generate(**padded(prompts), generation_config=options, tokenizer=tokenizer)


        def logits_of(*prompts):
            tokens = 1 if BF16 else 2  # rounding may turn the first token, and with it the second's logits
            return torch.stack(tried(prompts, tokens, output_logits=True).logits, dim=1).float()


        ROUNDING = 0.05 if BF16 else 1e-4
        some = train_rows[0]["input_ids"][: min(40, CONTEXT // 2)]
        half = some[: len(some) // 2 + 1]
        alone = torch.cat([logits_of(some), logits_of(half)])
        apart = (logits_of(some, half) - alone).abs().max()
        TOGETHER = 32 if apart <= ROUNDING * alone.abs().max() else 1
        if TOGETHER == 1:
            print("In this architecture a batch changes the answers of its rows, so each is answered alone.")
    ''')
    if generation.num_beams > 1:
        yield from code("""


            def beam_score(use_cache):
                return tried([some], 6, num_beams=4, use_cache=use_cache, output_scores=True).sequences_scores.item()


            try:
                CACHED_BEAMS = abs(beam_score(True) - beam_score(False)) <= ROUNDING
            except (AssertionError, AttributeError, IndexError, KeyError, ValueError, TypeError, RuntimeError) as error:
                print("Beams are searched without a cache, which cannot follow them in this architecture:", error)
                CACHED_BEAMS = False
        """)


def _settings(generation: GenerationSettings) -> Iterator[Line]:
    yield from code("""
        import itertools

        SETTINGS = dict(
    """)
    yield argument("num_beams", generation.num_beams, "generation.num_beams")
    if generation.num_beams > 1:
        yield argument("early_stopping", generation.early_stopping, "generation.early_stopping")
    yield argument("do_sample", generation.do_sample, "generation.do_sample")
    if generation.do_sample:
        yield argument("temperature", generation.temperature, "generation.temperature")
        yield argument("top_p", generation.top_p, "generation.top_p")
        yield Line("    top_k=0,  # not the library's 50: only what is set here cuts the choice")
        yield Line(
            "    min_p=0.0, typical_p=1.0, epsilon_cutoff=0.0, eta_cutoff=0.0,  # nor what the model's files set"
        )
    yield Line(")")
    if generation.do_sample:
        yield from assign("SAMPLE_SEED", generation.seed, "generation.seed")
    yield from assign("STOPS", generation.stop, "generation.stop", why="an answer ends before the first of these")


def _answering(generation: GenerationSettings) -> Iterator[Line]:
    yield from code("""
        own_ends = model.generation_config.eos_token_id
        ENDS = sorted({tokenizer.eos_token_id, *(own_ends if isinstance(own_ends, list) else [own_ends])} - {None})
    """)
    if generation.stop:
        yield from code("""
            special = {token.content: id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
            # A text never shows special tokens, so one that is a stop text ends an answer itself.
            ENDS = sorted({*ENDS, *(special[stop.strip()] for stop in STOPS if stop.strip() in special)})
        """)
    yield from code('''


        def room(prompt):
            """The most tokens of an answer to this prompt."""
            left = CONTEXT - len(prompt)
    ''')
    if generation.max_length is not None:
        yield Line(
            f"    return max(0, min(left, {generation.max_length} - len(prompt)))  # max_length counts the prompt, too",
            ("generation.max_length",),
        )
    else:
        yield Line(f"    return max(0, min(left, {generation.max_new_tokens}))", ("generation.max_new_tokens",))
    yield from code('''


        def batches(prompts, room):
            """Row numbers that are answered together: at most TOGETHER, of similar length, with the same room."""
            order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
            parts = -(-len(order) // TOGETHER)
            for part in range(parts):
                rows = order[len(order) * part // parts : len(order) * (part + 1) // parts]
                for _, alike in itertools.groupby(rows, key=lambda row: room(prompts[row])):
                    yield list(alike)


        @torch.no_grad()
        def answers(prompts, settings=SETTINGS, room=room, stops=STOPS):
            """(text, whether it ended by itself) for each prompt. Several processes share the batches."""
            model.eval()
            mine = {}
            for number, rows in enumerate(batches(prompts, room)):
                if number % state.num_processes != state.process_index:
                    continue
                most = room(prompts[rows[0]])
                if most == 0:
                    mine |= {row: ("", False) for row in rows}  # the prompt alone fills the context
                    continue
                batch = padded([prompts[row] for row in rows])
    ''')
    if generation.do_sample:
        yield Line("        torch.manual_seed(SAMPLE_SEED)", ("generation.seed",))
    yield from code("""
        #
                output = model.generate(
                    **batch,
                    generation_config=GenerationConfig(
                        max_new_tokens=most,
                        eos_token_id=ENDS,
                        pad_token_id=tokenizer.pad_token_id,
                        bos_token_id=tokenizer.bos_token_id,
                        # Named, because a model may bring other defaults, which would change its scores unseen.
                        repetition_penalty=1.0,
                        no_repeat_ngram_size=0,
    """)[1:]
    cached = 'settings["num_beams"] == 1 or CACHED_BEAMS' if generation.num_beams > 1 else "True"
    yield Line(f"                use_cache={cached},")
    yield from code("""
        #
                        **settings,
                    ),
                    tokenizer=tokenizer,
                )
                for row, new in zip(rows, output[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
                    end = next((at for at, token in enumerate(new) if token in ENDS), None)
                    text = text_of(new[:end])
                    cut = min((text.find(stop) for stop in stops if stop in text), default=None)
                    mine[row] = (text[:cut], end is not None or cut is not None)
            everyone = {row: answer for share in gather_object([mine]) for row, answer in share.items()}
            return [everyone[row] for row in range(len(prompts))]


    """)[1:]


def _base_and_tuned(rows: int | None) -> Iterator[Line]:
    if rows is None:
        yield Line("answered_rows = measured")
    else:
        yield from note("As many rows as in the lab's newest evaluation.")
        yield Line(f"answered_rows = held_out.select(range(min({rows}, len(held_out))))")
    yield from code("""
        prompts = [prompt_ids(row) for row in answered_rows]
        with model.disable_adapter():
            base_answers = answers(prompts)
        tuned_answers = answers(prompts)
        for row, before, after in list(zip(answered_rows, base_answers, tuned_answers, strict=True))[:3]:
            print("Asked:", row["instruction"], "Expected:", row["output"], sep="\\n")
            print("Base:", before[0], "Tuned:", after[0], "", sep="\\n")
    """)
