"""Detect the script of texts from their letters; word boundaries depend on it."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable

CHINESE, JAPANESE, KOREAN = "Chinese", "Japanese", "Korean"
LATIN = "Latin"
HAN, KANA = "Cjk", ("Hiragana", "Katakana")
KANA_SHARE = 0.1
"""Share of kana among Han characters and kana, above which a text is Japanese, else Chinese."""
MANY = 0.3
"""Share of letters from which a non-Latin script counts: code and names are Latin in any language."""
READ = 2000
"""Characters of each text that are examined."""


def script_of(texts: Iterable[str]) -> tuple[str, float]:
    """The script that best indicates the language of the texts, and its share of their letters.

    The most frequent non-Latin script if it has at least ``MANY`` of the letters, else Latin. Named as in Unicode
    (``Cyrillic``), or ``CHINESE``, ``JAPANESE``, ``KOREAN``. Texts without letters give (Latin, 1).
    """
    letters = Counter(_script(letter) for text in texts for letter in text[:READ] if letter.isalpha())
    if not letters:
        return LATIN, 1.0
    shares = {name: count / letters.total() for name, count in letters.items()}
    kana, han = sum(shares.pop(name, 0.0) for name in KANA), shares.pop(HAN, 0.0)
    shares[JAPANESE if kana and kana > KANA_SHARE * (kana + han) else CHINESE] = kana + han
    latin = shares.pop(LATIN, 0.0)
    name = max(shares, key=lambda script: shares[script])
    return (name, shares[name]) if shares[name] >= MANY else (LATIN, latin)


@functools.cache
def _script(letter: str) -> str:
    """The script of a letter: the first word of its Unicode name, as in ``CYRILLIC SMALL LETTER A``."""
    first = unicodedata.name(letter, "").partition(" ")[0].capitalize()
    return KOREAN if first == "Hangul" else first
