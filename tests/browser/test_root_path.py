"""The lab behind a proxy, under a path: with and without a slash at its end, the path passed on or stripped."""

import re

import gradio as gr
import httpx
import pytest
from browser import serving
from fastapi.testclient import TestClient

from app import root_path
from instruct_tune.ui.theme import MEND

GIVEN = ["/lab", "/lab/", "lab", "lab/", " /lab// "]
PAGES = ["/config", "/gradio_api/info", "/gradio_api/app_id"]


@pytest.mark.parametrize("given", GIVEN)
def test_a_path_has_a_slash_in_front_and_none_behind(given):
    assert root_path(given) == "/lab"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("", ""),
        ("/", ""),
        ("/a/b/", "/a/b"),
        ("https://host.example/lab/", "https://host.example/lab"),
        ("http://host.example:81", "http://host.example:81"),
    ],
)
def test_the_root_deeper_paths_and_full_urls(given, path):
    assert root_path(given) == path


@pytest.fixture(scope="module", params=GIVEN)
def proxied(request):
    """gradio's own routes under a path."""
    with gr.Blocks() as page:
        gr.Markdown("Hello")
    page.root_path = root_path(request.param)
    return TestClient(gr.routes.App.create_app(page), base_url="http://lab.example")


@pytest.mark.parametrize("page", PAGES)
def test_a_proxy_may_pass_the_path_on_or_strip_it(proxied, page):
    assert proxied.get(f"/lab{page}", follow_redirects=False).status_code == 200
    assert proxied.get(page, follow_redirects=False).status_code == 200


def test_the_page_tells_the_browser_its_own_address(proxied):
    config = proxied.get("/config", headers={"x-forwarded-host": "public.example", "x-forwarded-proto": "https"}).json()
    assert config["root"] == "https://public.example/lab"


def test_a_slash_behind_is_what_gradio_answers_with_404():
    """The reason why the lab rewrites the path; if this fails, gradio handles the slash itself."""
    with gr.Blocks() as page:
        gr.Markdown("Hello")
    page.root_path = "/lab/"
    assert TestClient(gr.routes.App.create_app(page)).get("/lab/config").status_code == 404


def test_the_labs_own_script_is_found_relative_to_the_page():
    source = re.search(r"\.src = '([^']+)'", MEND)[1]
    assert "plotly" in source
    assert not source.startswith(("/", "http"))


@pytest.mark.nightly
@pytest.mark.slow
def test_the_lab_itself_is_served_under_a_path(tmp_path):
    with serving(tmp_path, GRADIO_ROOT_PATH="/lab/") as address:
        page = httpx.get(f"{address}/lab/", timeout=60)
        assert page.status_code == 200
        assert httpx.get(f"{address}/lab/room", timeout=60).status_code == 200
        named = [
            *re.findall(r'(?:src|href)="(\./[^"]+|gradio_api[^"]+)"', page.text),
            *re.findall(r"src = '(gradio_api[^']+)'", page.text.replace("\\u0027", "'")),
            *re.findall(r'new URL\(\\*"(gradio_api[^"\\]+)', page.text),
        ]
        for script in ("plotly", "path.js"):
            assert any(script in file for file in named), script
        for file in named:
            # As a browser resolves it, and as a proxy that strips the path requests it.
            for url in (page.url.join(file), page.url.copy_with(path="/").join(file)):
                assert httpx.get(url, timeout=60).status_code == 200, url
        assert httpx.get(f"{address}/lab/config", timeout=60).json()["root"] == f"{address}/lab"
