"""A visitor of a shared lab pushes a run to the Hub with their own token, from the page and by a script."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from browser import Window, close_windows, started
from labs import cache_for, finished, opened
from toy_hub import ToyHub, serving_hub
from toy_uploads import Account, Fault

pytestmark = pytest.mark.slow

ANN, HOSTS = "hf_of_ann_0123", "hf_of_the_host_0123"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A lab that several people use, whose host has a login on its machine, and the Hub that it talks to."""
    data_dir = tmp_path_factory.mktemp("push") / "data"
    toy = ToyHub({}, accounts={ANN: Account("ann"), HOSTS: Account("host")})
    cache = str(cache_for(tmp_path_factory))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", cache)
        with opened(data_dir) as lab:
            run_id = finished(lab, name="tulip")
    with serving_hub(toy) as endpoint:
        environment = {
            "LAB_CACHE_DIR": cache, "LAB_ADMIN_TOKEN": "the admin's", "HF_TOKEN": HOSTS, "HF_ENDPOINT": endpoint,
            "HF_HOME": str(data_dir.parent / "hf"), "HF_HUB_OFFLINE": "0",
        }  # fmt: skip
        with started(data_dir, **environment) as server:
            yield SimpleNamespace(address=server.address, toy=toy, run_id=run_id, folder=data_dir.parent)


@pytest.mark.nightly
def test_a_visitor_pushes_with_their_own_token_and_finds_it_after_a_refresh(shared, browser):
    window = Window(browser, shared.address)
    window.tab("Runs")
    window.wait_text("#runs-details", "tulip")
    window.fold("Push to the Hub")
    window.wait_text("#runs-push-line", "is not on the Hub")
    window.page.fill("#runs-push-name textarea", "ann/tulip")
    window.page.click("#runs-push-go")
    window.wait_text("[data-testid=toast-body]", "Pushing needs your own Hugging Face account")
    shared.toy.uploads.faults = [Fault("/api/repos/create", 403)]
    for wanted in ("This token may not write to ann/tulip", "5 of 5 answers to fixed prompts"):
        window.page.fill("#runs-push-token input", ANN)
        window.page.click("#runs-push-go")
        window.wait_text("#runs-push-line", wanted)
        assert window.value("#runs-push-token") == ""
    assert window.errors == []
    window.page.set_viewport_size({"width": 390, "height": 900})
    window.go(f"{shared.address}/?__theme=dark")
    window.tab("Runs")
    window.fold("Push to the Hub")
    assert "Open it on the Hub" in window.wait_text("#runs-push-line", "ann/tulip (public) has the run")
    window.page.locator("#runs-push").scroll_into_view_if_needed()
    window.shot("push")
    assert window.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert "adapter_model.safetensors" in shared.toy.models["ann/tulip"]
    close_windows(browser)


@pytest.mark.nightly
@pytest.mark.nightly
def test_a_script_pushes_with_its_token_and_never_with_the_hosts(shared):
    from gradio_client import Client

    client = Client(shared.address, verbose=False)
    refused = client.submit(shared.run_id, "ann/rose", True, None, False, "", api_name="/push_run")
    with pytest.raises(Exception, match="Pushing needs your own Hugging Face account"):
        refused.result()
    *_, result = client.submit(shared.run_id, "ann/rose", True, None, False, ANN, api_name="/push_run")
    assert (result["done"], result["private"], result["same_answers"]) == (True, True, 5)
    client.close()
    assert {token for _, token in shared.toy.uploads.seen} == {ANN, None}
    written = [file for file in shared.folder.rglob("*") if file.is_file()]
    assert any(file.name == "data.log" for file in written)
    assert [str(file) for file in written if ANN.encode() in file.read_bytes()] == []
