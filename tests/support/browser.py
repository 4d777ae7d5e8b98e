"""A lab in a process of its own, and a real browser that uses it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import preloaded
from patience import machine_slowness
from playwright.sync_api import TimeoutError as PlaywrightTimeout

ROOT = Path(__file__).parents[2]
SHOTS = Path(os.environ["LAB_SHOTS"]) if "LAB_SHOTS" in os.environ else None
"""Folder for screenshots; None where LAB_SHOTS is not set, and no screenshots are taken."""

PATIENCE = 90 * machine_slowness()
"""Default timeout of waits, in seconds."""

REPORT = re.compile(r"^(?=ERROR: +Exception in ASGI application$|\d{4}-\d\d-\d\d )", re.MULTILINE)
"""Where a report begins in the log: the server's own of a request, or a line of the lab."""
CLIENT_LEFT = re.compile(r"^starlette\.requests\.ClientDisconnect$|, in sse_stream$", re.MULTILINE)
"""A report of a client that went away, in an upload or in a stream. Gradio 6.31 deletes a session's messages when one
of its streams is cut off; another one then finds none to delete (KeyError) or to read (404)."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=PreloadTopChromeWebUI,SpareRendererForSitePerProcess",
]


class Server:
    """``python app.py`` on a free port, which it keeps when it is started again.

    ``program``: another program with the same flags.
    """

    program = ("app.py",)

    def __init__(self, data_dir: Path, **environment: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self.data_dir, self._environment = data_dir, environment

    def start(self) -> None:
        """Start the process, and wait until the page answers."""
        command = [*self.program, "--port", str(self._port), "--data-dir", str(self.data_dir)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self._environment}
        if self._is_preloaded:
            self._process = preloaded.fork(command, environment, self.log)
        else:
            with self.log.open("a") as out:
                self._process = subprocess.Popen(
                    [sys.executable, *command], cwd=ROOT, stdout=out, stderr=out, env=environment
                )
        _wait_for(self.address, self._process, self.log)

    @property
    def _is_preloaded(self) -> bool:
        """Whether the server may be forked: not where libraries would read other variables when they are imported."""
        return (
            self.program == Server.program
            and all(name == "SPACE_ID" or name.startswith("LAB_") for name in self._environment)
            and hasattr(os, "pidfd_open")
        )

    def kill(self) -> None:
        """End the process as a crash of the machine does: without a signal that it could handle."""
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """End the process as a Space does: with SIGTERM."""
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def serving(data_dir: Path, faults_are_logged: bool = False, **environment: str) -> Iterator[str]:
    """Run a ``Server`` and stop it with SIGTERM at the end; yields its address.

    ``faults_are_logged``: the requests of the test make gradio log tracebacks, as they should.
    """
    with started(data_dir, faults_are_logged, **environment) as server:
        yield server.address


@contextmanager
def started(data_dir: Path, faults_are_logged: bool = False, **environment: str) -> Iterator[Server]:
    """Like ``serving``, but yields the ``Server``, for tests that kill it."""
    server = Server(data_dir, **environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()
    log = server.log.read_text()
    # A browser that leaves in the middle of an upload or of an answer is no fault of the page.
    faults = [report for report in REPORT.split(log) if "Traceback" in report and not CLIENT_LEFT.search(report)]
    assert faults_are_logged or faults == [], faults[-1][-6000:]


def _wait_for(address: str, process: subprocess.Popen | preloaded.Forked, log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=30)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"the page did not answer: {log.read_text()}")


@contextmanager
def chromium() -> Iterator:
    """A headless Chromium: the system's, else Playwright's own."""
    from playwright.sync_api import sync_playwright

    installed = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


FORGET = "if (!sessionStorage.labVisited) { localStorage.clear(); sessionStorage.labVisited = 1 }"
"""A new tab of the reused context is a new visitor; a reloaded one is not."""


def _new_page(browser, options):
    """A page of a new visitor.

    Where no other page is open it reuses one context, whose cache has the page's scripts already: a third faster.
    """
    plain = not options.keys() - {"viewport"}
    shared = getattr(browser, "shared_context", None)
    if not plain or (shared and shared.pages):
        return browser.new_context(**options).new_page()
    if shared is None:
        shared = browser.shared_context = browser.new_context()
        shared.add_init_script(FORGET)
    page = shared.new_page()
    page.set_viewport_size(options["viewport"])
    return page


_TAB_IS_FILLED = """name => [...document.querySelectorAll('[role=tab][aria-selected=true]')].some(tab => {
    const panels = [...tab.closest('.tabs').querySelectorAll(':scope > [role=tabpanel]')];
    const shown = panels.filter(panel => panel.offsetParent);
    return tab.innerText.trim() === name && shown.length && shown.every(panel => panel.innerText.trim());
})"""
_TABS = """() => [...document.querySelectorAll('[role=tab], [role=tabpanel]')].map(each => {
    const state = each.ariaSelected ?? each.style.display;
    return `${each.role} ${each.innerText.slice(0, 20)} ${state} ${each.innerHTML.length}`;
})"""


def check(choice) -> None:
    """Click a radio button or a checkbox until it is checked, as a person does.

    The page draws a click a moment later, and draws a control anew that it fills at that moment.
    """
    deadline = time.monotonic() + PATIENCE
    while not choice.is_checked():
        assert time.monotonic() < deadline, "the click changes nothing"
        choice.click()
        drawn = time.monotonic() + 5
        while not choice.is_checked() and time.monotonic() < drawn:
            time.sleep(0.05)


def close_windows(browser) -> None:
    """Close every page; only the reused context stays."""
    for context in browser.contexts:
        for page in context.pages:
            _close(page)


def _close(page) -> None:
    """Close a page, and its context unless that is the reused one."""
    if page.context is getattr(page.context.browser, "shared_context", None):
        page.close()
    else:
        page.context.close()


class Window:
    """One page of the lab, with a method for each action of a user."""

    open: ClassVar[list[Window]] = []
    """Every window that is not closed yet. One that is forgotten costs a quarter of a processor until the end."""

    def __init__(self, browser, address: str, width: int = 1280, **context):
        self.page = _new_page(browser, {"viewport": {"width": width, "height": 900}, **context})
        Window.open.append(self)
        self.page.on("close", lambda _: Window.open.remove(self))
        # A busy machine of two cores is slow, and a long timeout only delays a failure.
        self.page.set_default_timeout(1000 * PATIENCE)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.go(address)

    def close(self) -> None:
        _close(self.page)

    def again(self) -> None:
        """Reload the page; errors of requests that the reload cut off do not count."""
        before = list(self.errors)
        self.page.reload()
        self._wait_until_filled()
        self.errors[:] = before

    def go(self, address: str) -> None:
        """Open another address of the lab, as the same visitor."""
        self.page.goto(address)
        self._wait_until_filled()

    def _wait_until_filled(self) -> None:
        """Wait until the page has restored this visitor's form, which would overwrite earlier input."""
        # Attached, not visible: a link may have opened another tab by now.
        self.page.wait_for_selector("#data-load", state="attached")
        self.page.wait_for_function("window.labFormIsRestored")
        # The first poll updates components of every tab. A tab that was opened early has stayed empty once.
        self.page.wait_for_function("document.querySelector('#strip').innerText.trim()")

    def tab(self, name: str) -> None:
        """Open a tab of the page or of a panel, and wait for its content."""
        tab = self.page.get_by_role("tab", name=name, exact=True)
        tab.click()
        self._until_mounted()
        try:
            self.page.wait_for_function(_TAB_IS_FILLED, arg=name)
        except PlaywrightTimeout:
            state = self.page.evaluate(_TABS)
            raise AssertionError(f"the tab {name} stays empty; errors: {self.errors}; tabs: {state}") from None

    def fold(self, name: str) -> None:
        """Open the accordion whose label begins with ``name``."""
        self.page.get_by_role("button", name=re.compile("^" + re.escape(name))).click()
        self._until_mounted()

    def _until_mounted(self) -> None:
        """Wait two frames: the content of a tab or accordion is mounted when it is first shown."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def preset(self, name: str) -> None:
        """Choose a preset by its card, on the Train tab."""
        self.tab("Train")
        check(self.page.locator(f"#train-preset input[value={name}]"))

    def more_settings(self, fold: str) -> None:
        """Open one of the accordions with the settings that beginners do not need."""
        self.fold("More settings")
        self.fold(fold)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def value(self, selector: str) -> str:
        return self.page.input_value(f"{selector} textarea, {selector} input")

    def wait_text(self, selector: str, wanted: str, seconds: float = PATIENCE) -> str:
        """Wait until a text of ``selector`` contains ``wanted``; return that text. Several toasts may stand at once."""
        # The wait itself reads the text, which may change a moment later.
        handle = self.page.wait_for_function(
            """([selector, wanted]) => {
                const texts = [...document.querySelectorAll(selector)].map(each => each.innerText);
                const text = texts.find(each => each?.includes(wanted));
                return text !== undefined && {text};
            }""",
            arg=[selector, wanted],
            timeout=1000 * seconds,
        )
        return handle.json_value()["text"]

    def wait_finished(self) -> None:
        """Wait until the shown run, one that was trained here, is finished; a new page shows a recorded one."""
        self.page.wait_for_function(
            """() => {
                const text = document.querySelector('#train-status').innerText;
                return text.includes('finished') && !text.includes('recorded on');
            }"""
        )

    def shot(self, name: str) -> None:
        if SHOTS:
            SHOTS.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
