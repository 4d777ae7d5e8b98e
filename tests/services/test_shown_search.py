"""The search that the page shows: base and tuned, stoppable, limited, and a branch from any prefix."""

from __future__ import annotations

import threading

import pytest
from labs import opened

from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, LabError
from instruct_tune.generation import search
from instruct_tune.pretrained.locate import at_hand
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.services.questions import MAX_SEARCH_TOKENS

pytestmark = pytest.mark.usefixtures("one_thread")
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


def test_a_stop_in_the_queue(kept, monkeypatch):
    served, run_id = kept
    blocked, let_go, submit = threading.Event(), threading.Event(), served.queue.submit_short
    submit(lambda: blocked.set() or let_go.wait(60))
    assert blocked.wait(60)
    stop = threading.Event()

    def submit_and_stop(job):
        future = submit(job)
        stop.set()
        return future

    monkeypatch.setattr(served.queue, "submit_short", submit_and_stop)
    try:
        with pytest.raises(LabError, match="Stopped"):
            next(served.inference.search(HOST, run_id, "Say hi", tokens=4, stop=stop))
        stop.clear()
        with pytest.raises(LabError, match="Stopped"):
            served.inference.branch(HOST, run_id, "Say hi", "", [1], 4, stop)
    finally:
        let_go.set()


def test_a_stop_between_the_two_parts_asks_for_no_second_turn(kept, monkeypatch):
    served, run_id = kept
    stop, works, submit = threading.Event(), [], served.queue.submit_short
    monkeypatch.setattr(served.queue, "submit_short", lambda job: works.append(job) or submit(job))
    parts = served.inference.search(HOST, run_id, "Say hi", tokens=4, stop=stop)
    assert next(parts).beams == ()
    stop.set()
    with pytest.raises(LabError, match="Stopped"):
        next(parts)
    assert len(works) == 1


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


@pytest.mark.slow
@pytest.mark.nightly
def test_the_real_models_search_is_generates(tmp_path):
    """SmolLM2 with a recorded adapter: ids and scores of the five best beams, and a branch, with plain peft and
    transformers."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    question, tokens = "Write a haiku about the sea 🙂.", 16
    with opened(tmp_path / "data") as lab:
        put_recorded(lab.store)
        adapter = lab.store.folder(BEST) / "adapter"
        *_, shown = lab.inference.search(HOST, BEST, question, tokens=tokens)
        other = shown.greedy[1].places[2][1].token.id
        prefix = [*(place[0].token.id for place in shown.greedy[1].places[:2]), other]
        branches = lab.inference.branch(HOST, BEST, question, "", prefix, tokens)
        folder = at_hand(DEFAULT_MODEL)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        prompt = tokenizer(f"### Instruction:\n{question}\n\n### Response:\n", return_tensors="pt")
        start, options = prompt["input_ids"].shape[1], {"max_new_tokens": tokens, "do_sample": False}
        continued = torch.cat([prompt["input_ids"], torch.tensor([prefix])], dim=1)

        def until_the_end(ids):
            return ids[: next((at for at, token in enumerate(ids) if token == tokenizer.eos_token_id), len(ids)) + 1]

        for side in range(2):
            model = PeftModel.from_pretrained(model, adapter).eval() if side else model
            with torch.no_grad():
                beams = model.generate(
                    **prompt, **options, num_beams=5, num_return_sequences=5, length_penalty=1.0, output_scores=True,
                    return_dict_in_generate=True,
                )  # fmt: skip
                branch = model.generate(input_ids=continued, attention_mask=torch.ones_like(continued), **options)
            tree = shown.beams[side]
            best = [tree.path(*place) for place in tree.finished]
            ids = [until_the_end(row) for row in beams.sequences[:, start:].tolist()]
            assert [[beam.token.id for beam in path] for path in best] == ids
            scores = [path[-1].score / len(path) for path in best]
            assert scores == pytest.approx(beams.sequences_scores.tolist(), abs=1e-4)
            continuation = [place[0].token.id for place in branches[side].places]
            assert continuation == until_the_end(branch[0, start + len(prefix) :].tolist())
