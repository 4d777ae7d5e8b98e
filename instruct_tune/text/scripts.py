"""What script texts are written in, from their letters: what decides where a word ends."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable

CHINESE, JAPANESE, KOREAN = "Chinese", "Japanese", "Korean"
LATIN = "Latin"
HAN, KANA = "Cjk", ("Hiragana", "Katakana")
KANA_SHARE = 0.1
"""Of Han characters and kana together: with more kana the text is Japanese, with less it is Chinese."""
MANY = 0.3
"""Share of letters from which texts count as written in a script: code and names stay Latin in any language."""
READ = 2000
"""Characters of a text that are looked at."""


def script_of(texts: Iterable[str]) -> tuple[str, float]:
    """The script that most tells of what language the texts are in, and its share of their letters.

    The most frequent one but Latin where that has ``MANY`` of the letters, else Latin. By Unicode's name of
    it (``Cyrillic``), or ``CHINESE``, ``JAPANESE``, ``KOREAN``. Texts without letters are all Latin.
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
    """The first word of a letter's name, which is its script's: ``CYRILLIC SMALL LETTER A``."""
    first = unicodedata.name(letter, "").partition(" ")[0].capitalize()
    return KOREAN if first == "Hangul" else first
