"""A visitor of a shared lab starts a run as a job on the Hub, follows it over a kill of the lab, and gets its run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from browser import Window, close_windows, started
from job_results import CONFIG, result_files
from labs import cache_for, opened, smoke
from toy_hub import ToyHub, serving_hub
from toy_uploads import Account

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

ANN, HOSTS = "hf_of_ann_0123", "hf_of_the_host_0123"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A lab that several people use, whose host has a login on its machine, and the Hub that it talks to."""
    data_dir = tmp_path_factory.mktemp("job") / "data"
    toy = ToyHub({}, accounts={ANN: Account("ann"), HOSTS: Account("host")})
    with opened(data_dir) as lab:
        config = smoke(model="toy/tiny").to_dict()
        lab.store.update(lab.store.create("tulip", config).id, status="failed", message="Out of memory.")
    with serving_hub(toy) as endpoint:
        environment = {
            "LAB_CACHE_DIR": str(cache_for(tmp_path_factory)), "LAB_ADMIN_TOKEN": "the admin's", "HF_TOKEN": HOSTS,
            "HF_ENDPOINT": endpoint, "HF_HOME": str(data_dir.parent / "hf"), "HF_HUB_OFFLINE": "0",
        }  # fmt: skip
        with started(data_dir, **environment) as server:
            yield SimpleNamespace(server=server, address=server.address, toy=toy, folder=data_dir.parent)


def open_fold(window: Window) -> None:
    window.tab("Runs")
    window.wait_text("#runs-details", "tulip")
    window.fold("Run as a Hub job")


def test_a_priced_job_survives_a_kill_and_its_run_arrives(shared, browser):
    window = Window(browser, shared.address)
    open_fold(window)
    window.wait_text("#runs-job-line", "your account pays by the minute")
    window.page.click("#runs-job-prices")
    window.wait_text("[data-testid=toast-body]", "A job needs your own Hugging Face account")
    window.page.fill("#runs-job-token input", ANN)
    window.page.click("#runs-job-prices")
    window.page.click("#runs-job-flavor input")
    window.page.get_by_role("option", name="1x Nvidia L4, 24 GB · $0.80 an hour").click()
    window.wait_text("#runs-job-go", "Start for at most $0.80")
    window.page.fill("#runs-job-minutes input", "30")
    window.wait_text("#runs-job-go", "Start for at most $0.40")
    window.shot("job-priced-1280-light")
    window.page.click("#runs-job-go")
    window.wait_text("#runs-job-line", "It waits for a machine. l4x1, 30 minutes and $0.40 at most.")
    assert window.value("#runs-job-token") == ""
    [job] = shared.toy.jobs.all
    job.lines = ["step 1 of 4: loss 3.25", f"<b>{ANN}</b>"]
    job.stage = "RUNNING"
    window.wait_text("#runs-job-line", "It runs.")
    window.page.wait_for_function("document.querySelector('#runs-job-log textarea')?.value.includes('<b>…</b>')")
    assert window.errors == []
    for width, theme in ((1280, "light"), (390, "dark")):
        window.page.set_viewport_size({"width": width, "height": 900})
        window.go(f"{shared.address}/?__theme={theme}")
        open_fold(window)
        window.wait_text("#runs-job-line", "It runs.")
        window.page.locator("#runs-job").scroll_into_view_if_needed()
        window.shot(f"job-{width}-{theme}")
    assert window.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shared.server.kill()
    repo = job.spec["volumes"][0]["source"]
    shared.toy.uploads._enter(repo, {**shared.toy.models[repo], **result_files()})
    job.stage = "COMPLETED"
    shared.server.start()
    window.page.set_viewport_size({"width": 1280, "height": 900})
    window.go(shared.address)
    open_fold(window)
    window.wait_text("#runs-job-line", "Go on finds it again")
    window.page.fill("#runs-job-token input", ANN)
    window.page.click("#runs-job-on")
    window.wait_text("#runs-job-line", "It is done, and back as a run.")
    window.wait_text("#runs-table", "tulip (Hub job)")
    close_windows(browser)


def test_a_script_starts_and_follows_a_job_and_sees_its_own_alone(shared):
    from gradio_client import Client

    client = Client(shared.address, headers={"x-lab-visitor": "the secret of a script"}, verbose=False)
    with pytest.raises(Exception, match="A job needs your own Hugging Face account"):
        client.predict("", api_name="/job_prices")
    assert client.predict(ANN, api_name="/job_prices")["machines"][1]["usd_an_hour"] == 0.8
    with pytest.raises(Exception, match=r"l4x1 for 30 minutes costs at most \$0.40: agree to that first"):
        client.predict("", CONFIG, "l4x1", 30, 0.39, ANN, api_name="/start_job")
    begun = client.predict("", CONFIG, "l4x1", 30, 0.4, ANN, api_name="/start_job")
    following = client.submit(begun["job_id"], ANN, api_name="/follow_job")
    assert client.predict(begun["job_id"], "", api_name="/cancel_job")["job_id"] == begun["job_id"]
    *_, last = following
    assert (last["status"], last["followed"]) == ("cancelled", False)
    assert [job["job_id"] for job in client.predict(api_name="/list_jobs")["jobs"]] == [begun["job_id"]]
    client.close()
    assert {token for _, token in shared.toy.uploads.seen} <= {ANN, None}
    written = [file for file in shared.folder.rglob("*") if file.is_file()]
    assert any(file.name == "data.log" for file in written)
    assert [str(file) for file in written if ANN.encode() in file.read_bytes()] == []
