"""Signing in with Hugging Face: on a Space with OAuth, and nowhere else."""

import base64
import hashlib
import json
import time
import urllib.error
import urllib.request
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from browser import Window, serving, started
from labs import until
from toy_hub import TOKEN, ToyHub, serving_hub
from toy_oauth import CLIENT_SECRET, ToyOAuth, serving_oauth

pytest.importorskip("authlib", reason="it comes with gradio[oauth]")
pytestmark = pytest.mark.slow

ANN_TOKEN = "hf_oauth_of_ann"
ROWS = "".join(json.dumps({"instruction": f"Do {n}", "output": f"Done {n}"}) + "\n" for n in range(20)).encode()
PRIVATE = "ann-lee/rows"


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """A Space with its OAuth server and a Hub with a private dataset of Ann's."""
    folder = tmp_path_factory.mktemp("space")
    oauth = ToyOAuth("5f0c5f0c5f0c5f0c5f0c5f0c", "ann-lee", ANN_TOKEN)
    hub = ToyHub(
        {PRIVATE: {"train.jsonl": ROWS, "README.md": b"---\nlicense: mit\n---\n"}},
        private=(PRIVATE,),
        readers={ANN_TOKEN: (PRIVATE,)},
    )
    with serving_oauth(oauth) as provider, serving_hub(hub) as endpoint:
        environment = {
            **oauth.environment(provider), "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"),
            "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "LAB_CACHE_DIR": str(folder / "cache"),
        }  # fmt: skip
        # On a Space gradio watches its own files, and logs a fault of that when it ends.
        with started(folder / "data", faults_are_logged=True, **environment) as server:
            yield SimpleNamespace(oauth=oauth, hub=hub, server=server, folder=folder)


@pytest.fixture
def arrive(browser, space):
    """Opens the Space as a new visitor, in a browser of their own."""
    windows = []

    def arrive(width=1280):
        windows.append(Window(browser, space.server.address, width, locale="en"))
        return windows[-1]

    yield arrive
    for window in windows:
        window.close()


def go(window, wanted):
    """Press the button, which leaves the page; errors of requests that this cuts off do not count."""
    before = list(window.errors)
    window.page.click("#sign-in-button")
    window.wait_text("#sign-in", wanted)
    window._wait_until_filled()
    window.errors[:] = before


def sign_in(window):
    go(window, "Signed in as ann-lee")


LOADED = """name => {
    const summary = document.querySelector('#data-summary').innerText;
    return summary.includes(name) && summary.includes('rows loaded') ? summary
        : document.querySelector('[data-testid=toast-body]')?.innerText;
}"""


def load(window):
    """Type the private dataset's name and load it; the summary, or the sentence of the error."""
    window.tab("Data")
    window.page.fill("#data-source input", f"hub:{PRIVATE}")
    window.page.keyboard.press("Enter")
    window.page.click("#data-load")
    return window.page.wait_for_function(LOADED, arg=PRIVATE).json_value()


def train(window, name):
    """Start a run that ends soon, and wait for its end."""
    window.preset("smoke")
    window.page.get_by_placeholder("Name of the run").fill(name)
    window.page.click("#train-start")
    window.wait_text("#train-status", f"{name}: finished")


def names_of_runs(window):
    window.tab("Runs")
    return window.text("#runs-table")


@pytest.mark.nightly
def test_who_signs_in_has_their_data_and_their_runs_in_every_browser_and_others_have_neither(arrive, space):
    ann, elsewhere, other = arrive(), arrive(), arrive(390)
    other.shot("sign-in-phone")
    assert "Optional: your own private data and models" in ann.text("#sign-in")
    assert f"The Hub has no {PRIVATE}" in load(ann)
    ann.shot("sign-in")
    sign_in(ann)
    # The dataset's name is still in the form.
    assert ann.page.input_value("#data-source input") == f"hub:{PRIVATE}"
    assert "20 rows loaded" in load(ann)
    train(ann, "tulip")
    assert "private, so others do not see it" in ann.text("#train-status")
    ann.shot("signed-in")
    assert "tulip" in names_of_runs(ann)
    assert "tulip" not in names_of_runs(elsewhere)
    sign_in(elsewhere)
    assert "tulip" in names_of_runs(elsewhere)
    assert "tulip" not in names_of_runs(other)
    assert f"The Hub has no {PRIVATE}" in load(other)
    go(ann, "Optional: ")
    assert "tulip" not in names_of_runs(ann)
    written = [file for file in space.folder.rglob("*") if file.is_file()]
    assert [str(file) for file in written if ANN_TOKEN.encode() in file.read_bytes()] == []
    assert space.hub.tokens == {None, f"Bearer {ANN_TOKEN}"}
    # The page of a Space looks it up on huggingface.co, which a test cannot reach.
    errors = {*ann.errors, *elsewhere.errors, *other.errors}
    assert {each for each in errors if "ERR_NAME_NOT_RESOLVED" not in each} <= {"Space not found"}


@pytest.mark.nightly
def test_a_sign_in_that_expires_says_so_and_loses_nothing_typed(arrive, space):
    space.oauth.seconds = 20
    window = arrive()
    signed_in = time.monotonic()
    sign_in(window)
    space.oauth.seconds = 3600
    until(lambda: time.monotonic() - signed_in > 25, "the token expires")
    assert load(window).endswith("Your Hugging Face sign-in has expired: sign in again.")
    assert window.page.input_value("#data-source input") == f"hub:{PRIVATE}"
    window.again()
    assert window.text("#sign-in").endswith("Your Hugging Face sign-in has expired: sign in again.")
    sign_in(window)
    assert "20 rows loaded" in load(window)


def cookie(secret):
    """The cookie of somebody who says to be Ann, signed with ``secret`` in gradio's way."""
    import itsdangerous

    session = {
        "oauth_info": {
            "access_token": ANN_TOKEN, "expires_at": time.time() + 3600,
            "userinfo": {"sub": "5f0c5f0c5f0c5f0c5f0c5f0c", "preferred_username": "ann-lee"},
        }
    }  # fmt: skip
    signer = itsdangerous.TimestampSigner(hashlib.sha256(f"{secret}-v4".encode()).hexdigest())
    return signer.sign(base64.b64encode(json.dumps(session).encode())).decode()


def preview(address, secret, **more):
    """What the endpoint says about the private dataset to a script with that cookie and ``more`` headers."""
    body = json.dumps({"data": [{"data": {"source": f"hub:{PRIVATE}"}}, 5, 0]}).encode()
    headers = {"Content-Type": "application/json", "Cookie": f"session={cookie(secret)}", **more}
    request = urllib.request.Request(f"{address}/gradio_api/call/dataset_preview", body, headers)
    event = json.load(urllib.request.urlopen(request))["event_id"]
    request = urllib.request.Request(f"{address}/gradio_api/call/dataset_preview/{event}", headers=headers)
    return urllib.request.urlopen(request).read().decode()


@pytest.mark.nightly
def test_a_forged_cookie_is_nobodys(space):
    assert "Done" in preview(space.server.address, CLIENT_SECRET)
    for secret in ("", "a guess"):
        answer = preview(space.server.address, secret)
        assert "event: error" in answer
        assert "Done" not in answer


@pytest.mark.nightly
def test_another_sites_page_is_nobody_though_the_browser_sends_it_the_cookie(space):
    """gradio's cookie is for all sites, and gradio answers all sites."""
    host = urlsplit(space.server.address).netloc
    assert "Done" in preview(space.server.address, CLIENT_SECRET, Origin=f"http://{host}")
    assert "Done" in preview(
        space.server.address,
        CLIENT_SECRET,
        **{"Origin": "https://ann-lab.hf.space", "X-Forwarded-Host": "ann-lab.hf.space"},
    )
    for origin in ("https://evil.example", f"https://{host}.evil.example", "null"):
        assert "Done" not in preview(space.server.address, CLIENT_SECRET, Origin=origin)


@pytest.mark.nightly
def test_without_oauth_there_is_neither_button_nor_route(browser, empty_lab, tmp_path):
    """Off a Space gradio would sign everybody in as the account whose token is on the machine."""
    oauth = ToyOAuth("x", "x", "x").environment("http://127.0.0.1:9")
    for missing in ("SYSTEM", "OAUTH_CLIENT_SECRET"):
        environment = {**oauth, "HF_TOKEN": TOKEN, missing: ""}
        with serving(tmp_path / missing, faults_are_logged=True, **environment) as address:
            window = Window(browser, address)
            assert window.page.locator("#sign-in").count() == 0
            window.close()
            with pytest.raises(urllib.error.HTTPError) as none:
                urllib.request.urlopen(f"{address}/login/huggingface")
            assert none.value.code == 404
