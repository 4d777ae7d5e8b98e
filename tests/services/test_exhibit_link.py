"""The address of an exhibit chooses what is shown, and nothing that is somebody else's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from instruct_tune.config.viewer import known_by
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.ui.exhibit import EXHIBITS
from instruct_tune.ui.layout.exhibit_link import MISSING, UNKNOWN, ExhibitLink

ANN = known_by("ann's own secret")


@pytest.fixture
def values(lab):
    """What the address with these parameters sets on a page of a lab with the recorded runs."""
    put_recorded(lab.store)
    link = ExhibitLink(configs=lab.configs, runs=lab.runs, answerers=lab.answerers, access=lab.access)
    form = SimpleNamespace(fill=lambda config: {"source": config.data.source})
    tokens = SimpleNamespace(linked_outputs=[], linked=lambda params: {"row": params.get("row")})
    link.connect(form, "shown run", tokens)

    def ask(**params):
        updates = link.values(SimpleNamespace(query_params=params))
        note = updates.pop(link.note, None)
        return updates, note and note.value

    return ask


def test_no_exhibit_changes_nothing(values):
    assert values() == values(tab="compare", run=BEST) == values(run="nobody's") == ({}, None)


@pytest.mark.parametrize("name", ["", "Curve", "lab", "<b>", "curve "])
def test_an_unknown_name_is_one_sentence(values, name):
    assert values(exhibit=name, run=BEST) == ({}, UNKNOWN)


def test_each_takes_what_its_address_names(values):
    assert values(exhibit="curve", run=BEST) == ({"shown run": BEST}, None)
    assert values(exhibit="curve") == ({}, None)
    assert values(exhibit="xray", run=BEST, row="3") == ({"source": "bundled", "row": "3"}, None)
    assert values(exhibit="xray", row="3") == ({"row": "3"}, None)
    # Compare's own link sets the question.
    assert values(exhibit="compare", run=BEST, row="3") == values(exhibit="beams", run=BEST) == ({}, None)


@pytest.mark.parametrize("name", EXHIBITS)
def test_a_run_that_is_gone_or_somebody_elses_is_not_shown(lab, values, monkeypatch, name):
    assert values(exhibit=name, run="gone") == ({}, MISSING)
    lab.store.update(BEST, owner=ANN.id)
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    assert values(exhibit=name, run=BEST) == ({}, MISSING)


def test_rows_of_anothers_upload_are_not_shown(lab, values, tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text('[{"instruction": "Say yes", "input": "", "output": "yes"}]')
    config = lab.runs.config(ANN, BEST).to_dict()
    config["data"]["source"] = str(lab.uploads.keep(ANN, rows))
    run_id = lab.store.create("shared", config).id
    assert values(exhibit="xray", run=run_id) == ({}, MISSING)
    assert values(exhibit="curve", run=run_id) == ({"shown run": run_id}, None)


def test_a_run_without_an_adapter_has_no_answers(lab, values):
    run_id = lab.store.create("queued", lab.runs.config(ANN, BEST).to_dict()).id
    assert values(exhibit="compare", run=run_id) == ({}, MISSING)
    assert values(exhibit="curve", run=run_id) == ({"shown run": run_id}, None)
