"""The search that the page shows: base and tuned, stoppable, limited, and a branch from any prefix."""

from __future__ import annotations

import threading

import pytest

from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.errors import DataError, LabError, NotFoundError
from instruct_tune.generation import search
from instruct_tune.services.inference import MAX_SEARCH_TOKENS

pytestmark = pytest.mark.usefixtures("one_thread", "quicker")
TOKENS = 12


def shown(answer):
    """The text of a greedy answer, as ``compare`` returns it."""
    return "".join(place[0].token.text.text for place in answer.places if not place[0].token.ends)


def test_greedy_comes_first_and_is_what_compare_answers(kept):
    lab, run_id = kept
    first, last = lab.inference.search(HOST, run_id, "Say hi", tokens=TOKENS)
    assert (first.beams, first.greedy) == ((), last.greedy)
    *_, compared = lab.inference.compare(HOST, run_id, "Say hi", "", {"max_new_tokens": TOKENS})
    for side, answer in zip(("base", "tuned"), last.greedy, strict=True):
        assert shown(answer) == compared[side].replace("\ufffd", "")
        assert len(answer.places) in (compared[f"{side}_tokens"], compared[f"{side}_tokens"] + 1)
    *_, compared = lab.inference.compare(
        HOST, run_id, "Say hi", "", {"max_new_tokens": TOKENS, "num_beams": search.BEAMS}
    )
    for side, tree in zip(("base", "tuned"), last.beams, strict=True):
        best = tree.path(*tree.finished[0])
        text = "".join(beam.token.text.text for beam in best if not beam.token.ends)
        assert text == compared[side].replace("\ufffd", "")


def test_an_adapter_that_is_off_searches_as_base(kept):
    lab, run_id = kept
    *_, last = lab.inference.search(HOST, run_id, "Say hi", tokens=4, strength=0)
    assert last.greedy[0] == last.greedy[1]
    assert last.beams[0] == last.beams[1]


def test_a_branch_of_the_answer_itself_is_the_answer(kept):
    lab, run_id = kept
    first = next(lab.inference.search(HOST, run_id, "Say hi", tokens=TOKENS))
    ids = [place[0].token.id for place in first.greedy[1].places]
    base, tuned = lab.inference.branch(HOST, run_id, "Say hi", "", ids[:3], tokens=TOKENS - 3)
    assert [token.id for token in base.prefix] == [token.id for token in tuned.prefix] == ids[:3]
    assert [place[0].token.id for place in tuned.places] == ids[3:]


def test_a_stop_in_the_queue_and_between_the_two_parts(kept):
    served, run_id = kept
    stop, blocked, let_go = threading.Event(), threading.Event(), threading.Event()
    served.queue.submit_short(lambda: blocked.set() or let_go.wait(60))
    assert blocked.wait(60)
    stop.set()
    try:
        with pytest.raises(LabError, match="Stopped"):
            next(served.inference.search(HOST, run_id, "Say hi", tokens=4, stop=stop))
        with pytest.raises(LabError, match="Stopped"):
            served.inference.branch(HOST, run_id, "Say hi", "", [1], 4, stop)
    finally:
        let_go.set()
    stop = threading.Event()
    parts = served.inference.search(HOST, run_id, "Say hi", tokens=4, stop=stop)
    assert next(parts).beams == ()
    stop.set()
    with pytest.raises(LabError, match="Stopped"):
        next(parts)


def test_a_reader_who_leaves_ends_it(kept):
    lab, run_id = kept
    stop = threading.Event()
    parts = lab.inference.search(HOST, run_id, "Say hi", tokens=4, stop=stop)
    next(parts)
    parts.close()
    assert stop.is_set()


@pytest.mark.parametrize("tokens", [0, MAX_SEARCH_TOKENS + 1, True, 3.0, "8", None])
def test_a_length_beyond_the_limit_is_refused(kept, tokens):
    lab, run_id = kept
    with pytest.raises(DataError, match="1 to 64 tokens"):
        next(lab.inference.search(HOST, run_id, "Say hi", tokens=tokens))
    with pytest.raises(DataError, match="1 to 64 tokens"):
        lab.inference.branch(HOST, run_id, "Say hi", "", [1], tokens)


@pytest.mark.parametrize("prefix", [None, "12", [], [True], [1.0], ["1"], [[1]], {"1": 1}, [1] * 65])
def test_a_prefix_that_is_no_list_of_ids_is_refused(kept, prefix):
    lab, run_id = kept
    with pytest.raises(DataError, match="list of 1 to 64 token ids"):
        lab.inference.branch(HOST, run_id, "Say hi", "", prefix)


@pytest.mark.parametrize("prefix", [[-1], [10**30]])
def test_ids_of_no_token_are_refused(kept, prefix):
    lab, run_id = kept
    with pytest.raises(DataError, match="ids 0 to"):
        lab.inference.branch(HOST, run_id, "Say hi", "", prefix)


@pytest.mark.parametrize(
    ("question", "wanted"), [(" ", "Type an instruction"), (3, "must be a text"), ("\ud800", "instruction")]
)
def test_a_question_that_is_none_is_refused(kept, question, wanted):
    lab, run_id = kept
    with pytest.raises(DataError, match=wanted):
        next(lab.inference.search(HOST, run_id, question))
    with pytest.raises(DataError, match=wanted):
        lab.inference.branch(HOST, run_id, question, "", [1])


def test_a_private_run_is_not_there_for_others(kept):
    lab, run_id = kept
    stranger = known_by("the secret of somebody else")
    lab.store.update(run_id, owner=known_by("the secret of its owner").id)
    try:
        with pytest.raises(NotFoundError):
            next(lab.inference.search(stranger, run_id, "Say hi"))
        with pytest.raises(NotFoundError):
            lab.inference.branch(stranger, run_id, "Say hi", "", [1])
    finally:
        lab.store.update(run_id, owner=None)
