"""Find near duplicates: pairs of texts with almost the same words, and the same numbers.

Comparing every pair among 20,000 texts takes 200 million comparisons. So an exact filter runs first: two word
sets whose Jaccard similarity is at least t must share one of their rarest words (the prefix filter of
Chaudhuri et al. 2006, as in Bayardo et al. 2007, "Scaling up all pairs similarity search"). Only the
pairs that pass are compared as texts, with rapidfuzz. The filter works on arrays, one block of pairs at a time.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

THRESHOLD = 0.9
"""The least similarity at which two texts count as near duplicates."""
SHARED_WORDS = 0.7
"""The least Jaccard similarity of their word sets; pairs below it are not compared."""
MAX_PAIRS, FEWEST_COMPARED = 1_000_000, 50
"""Most pairs of texts that share a rare word, and how many a text is compared with at least. Of more texts, such as
those of one template, each is compared with the nearest in length, drawn where many have the same."""
MIXING = 2_654_435_761
"""Knuth's multiplier: consecutive numbers times it, modulo 2**32, are far apart."""
TEMPLATE_ROWS = 5
"""A sentence or line in this many different texts is a template's, and says nothing about which texts are copies."""
BLOCK = 1 << 17
"""Pairs per block, so that a block's arrays fit in the processor's cache."""

_SENTENCE = re.compile(r"\n|(?<=[.:?!])\s")
_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+")
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""The scripts that are written without spaces: Thai, Lao, Burmese, Khmer, kana and Han."""
PART = re.compile(f"[{_UNSPACED}]|[^{_UNSPACED}]+")
"""A part of a word: in these scripts a character, else the whole."""


@dataclass(frozen=True, slots=True)
class NearPair:
    """Indices of two texts, ``first`` < ``second``; ``similarity`` from the threshold to 1 (equal)."""

    first: int
    second: int
    similarity: float


def near_pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> list[NearPair]:
    """Return all pairs of texts whose similarity (rapidfuzz's ratio, ignoring case and spacing) reaches ``threshold``.

    Word order counts: Celsius to Fahrenheit is not Fahrenheit to Celsius. Exact copies are paired with the first
    of them only. Sorted by index. Pairs that share less than ``SHARED_WORDS`` of their words are left out, however
    similar their letters are, and so are pairs that are alike only in what ``TEMPLATE_ROWS`` texts have in common: a
    system prompt, or the instruction of a task. Texts with other numbers, or with the same in another order, are no
    pair either: what is 27 and 82 is another question than what is 27 and 83. Of very many texts that are alike, not
    all pairs are found (``MAX_PAIRS``).
    """
    import numpy
    from rapidfuzz import fuzz, process

    words = [_WORD.findall(text.lower()) for text in texts]
    groups: dict[str, list[int]] = defaultdict(list)
    for index, text_words in enumerate(words):
        groups[" ".join(text_words)].append(index)
    # The first copy represents the others: a text that occurs thousands of times would make millions of pairs.
    normal, place = list(groups), [members[0] for members in groups.values()]
    pairs = [NearPair(members[0], copy, 1.0) for members in groups.values() for copy in members[1:]]
    sets = [
        set(words[index]) if text.isascii() else _word_set(words[index])
        for text, index in zip(normal, place, strict=True)
    ]
    lengths = numpy.array([len(text) for text in normal], numpy.int64)
    one, other = _candidates(sets, lengths, threshold)
    numbers = _numbers_of(normal)
    same = numbers[one] == numbers[other]
    firsts, seconds = one[same].tolist(), other[same].tolist()
    ratios = process.cpdist(
        [normal[index] for index in firsts],
        [normal[index] for index in seconds],
        scorer=fuzz.ratio,
        score_cutoff=100 * threshold,
        dtype=numpy.float64,
        workers=-1,
    )
    near = [
        (first, second, ratio)
        for first, second, ratio in zip(firsts, seconds, ratios.tolist(), strict=True)
        if ratio and _shares_words(sets[first], sets[second])
    ]
    own = _own_parts([texts[index] for index in place]) if near else []
    pairs += [
        NearPair(place[first], place[second], ratio / 100)
        for first, second, ratio in near
        if fuzz.ratio(own[first], own[second]) >= 100 * threshold
    ]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def _own_parts(texts: Sequence[str]) -> list[str]:
    """Each text without the sentences and lines that ``TEMPLATE_ROWS`` of these different texts have in common."""
    parts = [[" ".join(_WORD.findall(part)) for part in _SENTENCE.split(text.lower())] for text in texts]
    rows = Counter(part for of_text in parts for part in set(of_text))
    return [" ".join(part for part in of_text if part and rows[part] < TEMPLATE_ROWS) for of_text in parts]


def _numbers_of(texts: Sequence[str]) -> numpy.ndarray:
    """An integer per text, equal for texts that contain the same numbers in the same order."""
    import numpy

    ids: dict[tuple[str, ...], int] = {}
    return numpy.array([ids.setdefault(tuple(_NUMBER.findall(text)), len(ids)) for text in texts], numpy.int64)


def nearest(texts: Sequence[str], among: Sequence[str]) -> list[int]:
    """For each text, return the index of the most similar one in ``among``; the first of several.

    Similarity is rapidfuzz's ratio, ignoring case and spacing, with no lower limit. ``among`` must not be empty.
    """
    from rapidfuzz import fuzz, process

    normal, others = ([" ".join(_WORD.findall(text.lower())) for text in each] for each in (texts, among))
    return [process.extractOne(text, others, scorer=fuzz.ratio)[2] for text in normal]


def _word_set(words: Sequence[str]) -> set[str]:
    """The words of a text; where no spaces part them, its characters: else a clause would be one word."""
    return {part for word in words for part in PART.findall(word)}


def _shares_words(one: set[str], other: set[str]) -> bool:
    shared = len(one & other)
    return shared >= SHARED_WORDS * (len(one) + len(other) - shared)


def _candidates(
    sets: Sequence[set[str]], lengths: numpy.ndarray, threshold: float
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return all pairs, each once, that may be near duplicates. ``lengths``: characters of each text."""
    import numpy

    sizes = numpy.array([len(each) for each in sets], numpy.int64)
    text, word = _number_words(sets, sizes)
    prints = _fingerprints(len(sets), text, word)
    pairs = [numpy.empty(0, numpy.int64)]
    for one, other in _sharing_a_rare_word(text, word, sizes, lengths, threshold):
        # A bit set in only one of two fingerprints means at least one word that the other text lacks.
        lacking = numpy.bitwise_count(prints[one] & ~prints[other]).sum(1, dtype=numpy.int64)
        other_lacking = numpy.bitwise_count(prints[other] & ~prints[one]).sum(1, dtype=numpy.int64)
        size, other_size = sizes[one], sizes[other]
        shared = numpy.minimum(size - lacking, other_size - other_lacking)
        passes = shared >= SHARED_WORDS * (size + other_size - shared)
        first, second = numpy.minimum(one, other)[passes], numpy.maximum(one, other)[passes]
        pairs.append(first * len(sets) + second)
    unique = numpy.sort(numpy.concatenate(pairs))
    unique = unique[numpy.diff(unique, prepend=-1) > 0]  # a pair may share several rare words
    return numpy.divmod(unique, max(1, len(sets)))


def _number_words(sets: Sequence[set[str]], sizes: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return arrays (text, word) with every word of every text, rarest first per text; words are numbered by rarity."""
    import numpy

    rarity = Counter(word for each in sets for word in each)
    ranks = {word: rank for rank, (word, _) in enumerate(sorted(rarity.items(), key=lambda item: (item[1], item[0])))}
    text = numpy.repeat(numpy.arange(len(sets)), sizes)
    word = numpy.array([ranks[word] for each in sets for word in each], numpy.int64)
    return text, word[numpy.lexsort((word, text))]


def _fingerprints(texts: int, text: numpy.ndarray, word: numpy.ndarray) -> numpy.ndarray:
    """Return bit sets [texts, 4] of 64 bits: each word sets one bit; a few words share a bit."""
    import numpy

    prints = numpy.zeros((texts, 4), numpy.uint64)
    bit = numpy.left_shift(numpy.uint64(1), (word % 64).astype(numpy.uint64))
    numpy.bitwise_or.at(prints, (text, word // 64 % 4), bit)
    return prints


def _sharing_a_rare_word(
    text: numpy.ndarray, word: numpy.ndarray, sizes: numpy.ndarray, lengths: numpy.ndarray, threshold: float
) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Yield blocks of pairs of texts that share one of their rarest words and have nearly the same length."""
    import numpy

    place = numpy.arange(len(word)) - numpy.repeat(numpy.cumsum(sizes) - sizes, sizes)
    rare = place <= (sizes - numpy.ceil(SHARED_WORDS * sizes))[text]
    word, text = word[rare], text[rare]
    # Texts are grouped by word, shortest first, so the texts to compare with one lie just before it. Of equal lengths
    # they are mixed: held-out rows follow all training rows, and would have only each other before them.
    mixed = text * MIXING % (1 << 32)
    order = numpy.lexsort((mixed, lengths[text], word))
    word, text = word[order], text[order]
    longest = int(lengths.max(initial=0)) + 1
    shortest = numpy.ceil(lengths[text] * threshold / (2 - threshold) - 1e-9).astype(numpy.int64)
    before = numpy.searchsorted(word * longest + lengths[text], word * longest + shortest)
    sharing = numpy.bincount(word)[word] if len(word) else word
    most = numpy.maximum(FEWEST_COMPARED, MAX_PAIRS // numpy.maximum(sharing, 1))
    many = numpy.minimum(numpy.arange(len(text)) - before, most)
    before = numpy.arange(len(text)) - many
    ends = numpy.cumsum(many)
    blocks = numpy.searchsorted(ends, numpy.arange(0, int(many.sum()) + BLOCK, BLOCK))
    for start, end in itertools.pairwise(blocks):
        count = many[start:end]
        steps = numpy.arange(count.sum()) - numpy.repeat(numpy.cumsum(count) - count, count)
        yield numpy.repeat(text[start:end], count), text[numpy.repeat(before[start:end], count) + steps]
