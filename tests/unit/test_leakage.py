"""Leakage across the split, copies of copies included, equals that of comparing every pair across it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from instruct_tune.data.leakage import find_leakage
from instruct_tune.data.near_duplicates import SHARED_WORDS, THRESHOLD, NearPair, near_pairs

TEXTS = st.lists(
    st.sampled_from(["one two three four", "one two three for", "One two  three four", "five", "one two three fours"]),
    max_size=12,
)


def alike(one, other):
    one, other = (" ".join(text.lower().split()) for text in (one, other))
    words, others = set(one.split()), set(other.split())
    return len(words & others) >= SHARED_WORDS * len(words | others) and fuzz.ratio(one, other) >= 100 * THRESHOLD


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS)
def test_it_is_what_comparing_all_across_the_split_finds(train, test):
    leakage = find_leakage(near_pairs([*train, *test]), len(train), len(train) + len(test))
    near = {(a, b + len(train)) for a, x in enumerate(train) for b, y in enumerate(test) if alike(x, y)}
    assert leakage.train_rows == {a for a, _ in near}
    assert {pair.second for pair in leakage.nearest} == {b for _, b in near}
    assert {(pair.first, pair.second) for pair in leakage.nearest} <= near


def test_of_several_copies_the_nearest_is_listed_and_the_worst_first():
    pairs = [NearPair(0, 3, 0.91), NearPair(1, 3, 0.97), NearPair(2, 4, 1.0)]
    assert find_leakage(pairs, 3, 5).nearest == (NearPair(2, 4, 1.0), NearPair(1, 3, 0.97))
    assert find_leakage(pairs, 3, 5).train_rows == {0, 1, 2}
