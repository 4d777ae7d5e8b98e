"""Near duplicates: pairs of texts that say the same in almost the same words.

Every pair among 20,000 texts would be 200 million comparisons. So first an exact filter: two word
sets whose Jaccard similarity is at least t must share one of their rarest words (the prefix filter of
Chaudhuri et al. 2006, as in Bayardo et al. 2007, "Scaling up all pairs similarity search"). Only the
pairs that pass are compared as texts, with rapidfuzz.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

THRESHOLD = 0.9
"""From this similarity on two texts count as near duplicates."""
SHARED_WORDS = 0.7
"""The least Jaccard similarity of their word sets; pairs below it are not looked at."""
MOST_SHARING = 1000
"""A word among the rarest of more texts than this is no hint; all such texts are the same few words."""

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
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
    from rapidfuzz import fuzz

    words = [_WORD.findall(text.lower()) for text in texts]
    normal = [" ".join(each) for each in words]
    groups: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(normal):
        groups[text].append(index)
    # The first of each speaks for its copies: a text that is there thousands of times would make millions of pairs.
    representatives = [members[0] for members in groups.values()]
    found = [NearPair(members[0], copy, 1.0) for members in groups.values() for copy in members[1:]]
    for one, other in _candidates([set(words[index]) for index in representatives]):
        first, second = representatives[one], representatives[other]
        ratio = fuzz.ratio(normal[first], normal[second], score_cutoff=100 * threshold) / 100
        if ratio:
            found.append(NearPair(first, second, ratio))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def _candidates(sets: Sequence[set[str]]) -> Iterator[tuple[int, int]]:
    """Pairs of sets that may reach the Jaccard similarity ``SHARED_WORDS``, each once."""
    rarity = Counter(word for each in sets for word in each)
    rank = {word: place for place, (word, _) in enumerate(sorted(rarity.items(), key=lambda item: (item[1], item[0])))}
    numbers = [{rank[word] for word in each} for each in sets]
    holders: dict[int, list[int]] = defaultdict(list)
    for index, words in enumerate(numbers):
        near: set[int] = set()
        size = len(words)
        for word in heapq.nsmallest(size - math.ceil(SHARED_WORDS * size) + 1, words):
            if len(holders[word]) < MOST_SHARING:
                near.update(holders[word])
                holders[word].append(index)
        for other in near:
            other_size = len(numbers[other])
            if other_size < SHARED_WORDS * size or size < SHARED_WORDS * other_size:
                continue
            shared = len(numbers[other] & words)
            if shared >= SHARED_WORDS * (size + other_size - shared):
                yield other, index
