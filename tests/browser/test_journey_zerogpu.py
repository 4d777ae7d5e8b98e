"""The page on a ZeroGPU Space: a run on lent GPU time, a refusal, and going on on the Space's CPU."""

import json
import urllib.request

import pytest
from browser import ROOT, Server, Window
from labs import until
from zerogpu_service import ZeroGpuService

pytest.importorskip("spaces", reason="the package of ZeroGPU Spaces is not installed")
pytestmark = pytest.mark.slow

TOKEN = "e30.eyJ1c2VyIjoiYW5uIn0.c2ln"
"""As the platform's proxy adds it to a visitor's requests: a JWT whose signature nobody here checks."""


class Space(Server):
    program = ("-m", "support.zerogpu_app")


@pytest.fixture(scope="module")
def service():
    service = ZeroGpuService()
    yield service
    service.close()


@pytest.fixture(scope="module")
def space(service, tmp_path_factory):
    space = Space(
        tmp_path_factory.mktemp("zerogpu") / "data",
        SPACES_ZERO_DEVICE_API_URL=service.url,
        PYTHONPATH=f"{ROOT / 'tests'}:{ROOT}",
        LAB_FETCH_DEFAULT="0",
    )
    space.start()
    yield space
    space.stop()


@pytest.fixture
def visitor(browser, space):
    window = Window(browser, space.address, extra_http_headers={"x-ip-token": TOKEN})
    yield window
    window.close()


@pytest.mark.nightly
def test_the_start_is_reported_to_the_platform(space, service):
    assert [path for path, _, _ in service.requests] == ["/startup-report"]


@pytest.mark.nightly
def test_a_run_uses_the_visitors_gpu_time(visitor, service):
    visitor.tab("Train")
    visitor.preset("smoke")
    visitor.wait_text("#train-cost", "How much GPU time it uses is known after the first run")
    visitor.shot("zerogpu-before")
    visitor.page.get_by_placeholder("Name of the run").fill("lent")
    visitor.page.click("#train-start")
    visitor.wait_text("#train-status", "lent: finished")
    assert {query["token"] for query in service.of("/schedule")} == {TOKEN}
    visitor.page.get_by_role("tab", name="Events").click()
    visitor.page.wait_for_function(
        "document.querySelector('#train-events textarea')?.value.includes('s of GPU time in 1 turn.')"
    )
    visitor.shot("zerogpu")
    assert visitor.errors == []


@pytest.mark.nightly
def test_used_up_time_is_one_sentence_and_the_run_goes_on_on_the_cpu(visitor, service):
    service.answers = [(429, {"left": 4, "wait": 3600})]
    visitor.tab("Train")
    visitor.preset("smoke")
    visitor.page.get_by_placeholder("Name of the run").fill("refused")
    visitor.page.click("#train-start")
    visitor.wait_text("#train-status", "Your GPU time is used up for now (4 s are left; more in 1:00:00)")
    visitor.shot("zerogpu-used-up")
    visitor.page.check("#train-device input[value=cpu]")
    visitor.page.click("#train-resume")
    visitor.wait_text("#train-status", "refused: finished")
    assert len(service.of("/allow")) == len(service.of("/release"))


@pytest.mark.nightly
def test_a_script_trains_on_its_own_time(space, service):
    released = len(service.of("/release"))
    body = json.dumps({"data": [{"model": "tiny-random", "data": {"limit": 8}, "evaluation_rows": 4}, "scripted"]})
    request = urllib.request.Request(
        f"{space.address}/gradio_api/call/start_run",
        body.encode(),
        {"Content-Type": "application/json", "x-ip-token": TOKEN},
    )
    event = json.load(urllib.request.urlopen(request))["event_id"]
    urllib.request.urlopen(f"{space.address}/gradio_api/call/start_run/{event}").read()
    until(lambda: len(service.of("/release")) > released, "the end of the script's run")
    assert service.of("/schedule")[-1]["token"] == TOKEN
