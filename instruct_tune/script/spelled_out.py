"""Ids of plain text as code: special tokens that a text spells stay text, as in ``pretrained.token_counts``."""

from __future__ import annotations

from .code import code

SPELLED_OUT = code('''
    def spelled_out(tokenizer, text, others=()):
        """Ids of a text. A special token that is spelled in it, such as <|im_end|>, stays text, and so do others."""
        plain = {"add_special_tokens": False, "split_special_tokens": True}
        ids = tokenizer(text, **plain)["input_ids"]
        tokens = [token for token in dict.fromkeys([*tokenizer.all_special_tokens, *others]) if token in text]
        if not tokens:
            return ids
        # Some vocabularies hold such a token as an ordinary piece: its letters take its place.
        spelling = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))
        ids_of = tokenizer.convert_tokens_to_ids
        letters = {ids_of(token): ids_of(list(token)) for token in tokens}
        times = [1] * len(ids)
        if tokenizer.is_fast:  # the unknown token may stand for other characters, too, and for several
            spans = tokenizer(text, return_offsets_mapping=True, **plain)["offset_mapping"]
            times = [len(spelling.findall(text[start:end])) for start, end in spans]
        return [
            part
            for id, n in zip(ids, times, strict=True)
            for part in (letters[id] * n if n and id in letters else [id])
        ]


''')
"""The function, which needs the module ``re``."""
