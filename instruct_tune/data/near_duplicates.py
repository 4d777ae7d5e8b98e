"""Near duplicates: pairs of texts that say the same in almost the same words.

Every pair among 20,000 texts would be 200 million comparisons. So first an exact filter: two word
sets whose Jaccard similarity is at least t must share one of their rarest words (the prefix filter of
Chaudhuri et al. 2006, as in Bayardo et al. 2007, "Scaling up all pairs similarity search"). Only the
pairs that pass are compared as texts, with rapidfuzz. All of it happens on arrays, a block of pairs at a time.
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
"""From this similarity on two texts count as near duplicates."""
SHARED_WORDS = 0.7
"""The least Jaccard similarity of their word sets; pairs below it are not looked at."""
MAX_SHARING = 1000
"""A word among the rarest of more texts than this is no hint; all such texts are the same few words."""
BLOCK = 1 << 17
"""Pairs that are looked at together: what they need stays in the processor's cache."""

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two texts by their index, ``first`` < ``second``; ``similarity`` from ``THRESHOLD`` to 1 (the same)."""

    first: int
    second: int
    similarity: float


def near_pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> list[NearPair]:
    """All pairs of texts that are alike by ``threshold``: rapidfuzz's ratio, case and spacing aside.

    Word order counts: Celsius to Fahrenheit is not Fahrenheit to Celsius. Copies of one text are paired
    with the first of them only. Sorted by index. Pairs that share fewer than ``SHARED_WORDS`` of their
    words are left out, however alike their letters are.
    """
    import numpy
    from rapidfuzz import fuzz, process

    words = [_WORD.findall(text.lower()) for text in texts]
    groups: dict[str, list[int]] = defaultdict(list)
    for index, each in enumerate(words):
        groups[" ".join(each)].append(index)
    # The first of each speaks for its copies: a text that is there thousands of times would make millions of pairs.
    normal, place = list(groups), [members[0] for members in groups.values()]
    found = [NearPair(members[0], copy, 1.0) for members in groups.values() for copy in members[1:]]
    sets = [set(words[each]) for each in place]
    lengths = numpy.array([len(text) for text in normal], numpy.int64)
    firsts, seconds = (each.tolist() for each in _candidates(sets, lengths, threshold))
    ratios = process.cpdist(
        [normal[each] for each in firsts],
        [normal[each] for each in seconds],
        scorer=fuzz.ratio,
        score_cutoff=100 * threshold,
        dtype=numpy.float64,
        workers=-1,
    )
    for first, second, ratio in zip(firsts, seconds, ratios.tolist(), strict=True):
        if ratio and _share(sets[first], sets[second]):
            found.append(NearPair(place[first], place[second], ratio / 100))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def nearest(texts: Sequence[str], among: Sequence[str]) -> list[int]:
    """For each text the index of the one ``among`` others that is most alike, the first of several.

    By rapidfuzz's ratio, case and spacing aside, however little alike they are. ``among`` must not be empty.
    """
    from rapidfuzz import fuzz, process

    normal, others = ([" ".join(_WORD.findall(text.lower())) for text in each] for each in (texts, among))
    return [process.extractOne(text, others, scorer=fuzz.ratio)[2] for text in normal]


def _share(one: set[str], other: set[str]) -> bool:
    shared = len(one & other)
    return shared >= SHARED_WORDS * (len(one) + len(other) - shared)


def _candidates(
    sets: Sequence[set[str]], lengths: numpy.ndarray, threshold: float
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """All pairs, each once, that may be near; ``lengths`` of the texts in characters."""
    import numpy

    sizes = numpy.array([len(each) for each in sets], numpy.int64)
    text, word = _numbered(sets, sizes)
    prints = _fingerprints(len(sets), text, word)
    pairs = [numpy.empty(0, numpy.int64)]
    for one, other in _sharing_a_rare_word(text, word, sizes, lengths, threshold):
        # A bit that only one of two fingerprints has is a word, at least, that the other text lacks.
        lacking = numpy.bitwise_count(prints[one] & ~prints[other]).sum(1, dtype=numpy.int64)
        other_lacking = numpy.bitwise_count(prints[other] & ~prints[one]).sum(1, dtype=numpy.int64)
        size, other_size = sizes[one], sizes[other]
        shared = numpy.minimum(size - lacking, other_size - other_lacking)
        may = shared >= SHARED_WORDS * (size + other_size - shared)
        first, second = numpy.minimum(one, other)[may], numpy.maximum(one, other)[may]
        pairs.append(first * len(sets) + second)
    found = numpy.sort(numpy.concatenate(pairs))
    found = found[numpy.diff(found, prepend=-1) > 0]  # a pair may share several rare words
    return numpy.divmod(found, max(1, len(sets)))


def _numbered(sets: Sequence[set[str]], sizes: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(text, word) for every word of every text, text by text, the rarest first; words are numbered by rarity."""
    import numpy

    rarity = Counter(word for each in sets for word in each)
    ranks = {word: rank for rank, (word, _) in enumerate(sorted(rarity.items(), key=lambda item: (item[1], item[0])))}
    text = numpy.repeat(numpy.arange(len(sets)), sizes)
    word = numpy.array([ranks[word] for each in sets for word in each], numpy.int64)
    return text, word[numpy.lexsort((word, text))]


def _fingerprints(texts: int, text: numpy.ndarray, word: numpy.ndarray) -> numpy.ndarray:
    """[texts, 4] times 64 bits: one bit for each word, though a few words have the same."""
    import numpy

    prints = numpy.zeros((texts, 4), numpy.uint64)
    bit = numpy.left_shift(numpy.uint64(1), (word % 64).astype(numpy.uint64))
    numpy.bitwise_or.at(prints, (text, word // 64 % 4), bit)
    return prints


def _sharing_a_rare_word(
    text: numpy.ndarray, word: numpy.ndarray, sizes: numpy.ndarray, lengths: numpy.ndarray, threshold: float
) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Pairs of texts, block by block, that share one of their rarest words and are nearly of one length."""
    import numpy

    place = numpy.arange(len(word)) - numpy.repeat(numpy.cumsum(sizes) - sizes, sizes)
    rare = place <= (sizes - numpy.ceil(SHARED_WORDS * sizes))[text]
    word, text = _at_most(MAX_SHARING, word[rare], text[rare])
    # The texts of one word stand together, the shortest first: those that one is compared with lie just before it.
    order = numpy.lexsort((lengths[text], word))
    word, text = word[order], text[order]
    longest = int(lengths.max(initial=0)) + 1
    shortest = numpy.ceil(lengths[text] * threshold / (2 - threshold) - 1e-9).astype(numpy.int64)
    before = numpy.searchsorted(word * longest + lengths[text], word * longest + shortest)
    many = numpy.arange(len(text)) - before
    ends = numpy.cumsum(many)
    blocks = numpy.searchsorted(ends, numpy.arange(0, int(many.sum()) + BLOCK, BLOCK))
    for start, end in itertools.pairwise(blocks):
        count = many[start:end]
        steps = numpy.arange(count.sum()) - numpy.repeat(numpy.cumsum(count) - count, count)
        yield numpy.repeat(text[start:end], count), text[numpy.repeat(before[start:end], count) + steps]


def _at_most(most: int, word: numpy.ndarray, text: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """For each word only its first ``most`` texts."""
    import numpy

    order = numpy.lexsort((text, word))
    word, text = word[order], text[order]
    _, first, count = numpy.unique(word, return_index=True, return_counts=True)
    kept = numpy.arange(len(word)) - numpy.repeat(first, count) < most
    return word[kept], text[kept]
