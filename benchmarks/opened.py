"""What an open page costs a visitor's browser: bytes and time until there is something to see, and an idle page.

Chromium without a cache opens the page. A tab's content counts as there when its first part is drawn
(``FIRST_CONTENT``).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .served import WARM_UP_SECONDS, WATCHED_SECONDS, chromium, processor_seconds, serving

REPEAT = 5
SECONDS_TO_LOOK = 3
"""How long a person looks at the first tab before they open another."""
MOST_SECONDS = 5
"""How long a tab's content is waited for; a tab that shows some only after a button was pressed has none by then."""
FIRST_CONTENT = {
    "Data": "#data-rows [data-testid=cell-0-1]",
    "Format": "#format-tokens .token",
    "Train": ".js-plotly-plot .main-svg",
    "Compare": "#compare-tuned .cm-line",
    "Evaluate": "#evaluate-plot .scores .bar",
    "Runs": "#runs-table [data-testid=cell-0-0]",
}
"""The first part of each tab's content. A text that is drawn empty does not count."""
_IS_DRAWN = """selector => {
    const part = [...document.querySelectorAll(selector)].find(each => each.getClientRects().length);
    return Boolean(part && (part.matches('svg, .bar') ? part.getBoundingClientRect().width : part.innerText.trim()));
}"""
# In the page: from outside, the answer waits for whatever the page does after it has drawn the content.
_CLICK = f"""([tab, selector, most]) => new Promise(done => {{
    const began = performance.now(), isDrawn = {_IS_DRAWN};
    const look = () => {{
        const seconds = (performance.now() - began) / 1000;
        if (isDrawn(selector)) done(seconds);
        else if (seconds > most) done(null);
        else requestAnimationFrame(look);
    }};
    [...document.querySelectorAll('#tabs [role=tab]')].find(each => each.textContent.trim() === tab).click();
    requestAnimationFrame(look);
}})"""


DRAGS = 100
_DRAG = """async drags => {
    const slider = document.querySelector('#train-scrubber input'), times = [];
    for (let drag = 0; drag < drags; drag++) {
        const began = performance.now();
        slider.value = drag % (Number(slider.max) + 1);
        slider.dispatchEvent(new Event('input', {bubbles: true}));
        // A task that a frame's callback queues runs once the frame is drawn.
        await new Promise(done => requestAnimationFrame(() => {
            const {port1, port2} = new MessageChannel();
            port1.onmessage = done;
            port2.postMessage(0);
        }));
        times.push((performance.now() - began) / 1000);
    }
    return times;
}"""


def first_content() -> tuple[str, str]:
    """from the click on a tab, which is the page's first one, to its content; for Data from the page's opening"""
    times: dict[str, list[float | None]] = {name: [] for name in FIRST_CONTENT}
    with serving() as (address, _, _), chromium() as browser:
        time.sleep(WARM_UP_SECONDS)
        for name, selector in [*FIRST_CONTENT.items()] * REPEAT:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            began = time.perf_counter()
            page.goto(address)
            page.get_by_role("tab", name="Data", exact=True).wait_for()
            if name == "Data":
                times[name].append(_seconds_until_drawn(page, selector, began))
            else:
                page.wait_for_timeout(1000 * SECONDS_TO_LOOK)
                times[name].append(page.evaluate(_CLICK, [name, selector, MOST_SECONDS]))
            page.close()
    return ", ".join(f"{name} {_median(seconds)}" for name, seconds in times.items()), "1 s after a click"


def _seconds_until_drawn(page: Any, selector: str, began: float) -> float | None:
    from playwright.sync_api import TimeoutError as NeverDrawn

    try:
        page.wait_for_function(_IS_DRAWN, arg=selector, timeout=1000 * MOST_SECONDS)
    except NeverDrawn:
        return None
    return time.perf_counter() - began


def _median(seconds: list[float | None]) -> str:
    drawn = [each for each in seconds if each is not None]
    if not drawn:
        return "none by itself"
    median = f"{statistics.median(drawn):.2f} s"
    return median if len(drawn) == len(seconds) else f"{median} ({len(drawn)} of {len(seconds)} times)"


def scrubbing() -> tuple[str, str]:
    """from a drag of the scrubber's slider until its step is drawn, the server stopped: median and 95th percentile"""
    with serving() as (address, process, _), chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.get_by_role("tab", name="Train", exact=True).click()
        page.locator("#train-scrubber .scrub-numbers b").first.wait_for()
        page.locator(FIRST_CONTENT["Train"]).first.wait_for()
        process.terminate()
        process.wait(30)
        times = sorted(page.evaluate(_DRAG, DRAGS))
        return f"{1000 * statistics.median(times):.0f} ms, {1000 * times[DRAGS * 95 // 100 - 1]:.0f} ms", "100 ms"


def page_bytes() -> tuple[str, str]:
    """sent to a browser that opens the page for the first time, and the requests for it"""
    with serving() as (address, _, _), chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        sizes: list[float] = []
        network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        page.goto(address)
        page.wait_for_timeout(1000 * MOST_SECONDS)
        return f"{sum(sizes) / 1e6:.2f} MB in {len(sizes)} requests", "—"


def poll_bytes() -> tuple[str, str]:
    """of one poll of an idle page, asked and answered, uncompressed"""
    with serving() as (address, _, _), chromium() as browser:
        time.sleep(WARM_UP_SECONDS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_timeout(1000 * MOST_SECONDS)
        sizes: list[tuple[int, int]] = []
        page.on("requestfinished", lambda request: sizes.append(_sizes(request)))
        page.wait_for_timeout(1000 * MOST_SECONDS)
        sent, received = (statistics.median(each[side] for each in sizes) for side in (0, 1))
        return f"{sent / 1000:.1f} KB and {received / 1000:.1f} KB", "—"


def _sizes(request: Any) -> tuple[int, int]:
    response = request.response()
    return len(request.post_data_buffer or b""), len(response.body()) if response else 0


def idle_page() -> tuple[str, str]:
    """a browser's share of a core for one open page, the lab idle"""
    with serving() as (address, _, _):
        time.sleep(WARM_UP_SECONDS)
        return f"{100 * page_share(address):.1f}%", "3%"


def page_share(address: str) -> float:
    """CPU seconds a second that an open page costs a browser, over ``WATCHED_SECONDS``."""
    with chromium() as browser:
        empty = _browser_share()
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_timeout(1000 * MOST_SECONDS)
        return _browser_share() - empty


def _browser_share() -> float:
    """CPU seconds a second of all of Chromium's processes, over ``WATCHED_SECONDS``."""
    before = sum(processor_seconds(pid) for pid in _chromium())
    time.sleep(WATCHED_SECONDS)
    return (sum(processor_seconds(pid) for pid in _chromium()) - before) / WATCHED_SECONDS


def _chromium() -> Iterator[int]:
    """The processes below this one that are Chromium's."""
    parents = {int(path.name): _parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    for pid in parents:
        if "chrom" in _name(pid) and os.getpid() in _ancestors(pid, parents):
            yield pid


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid in parents:
        pid = parents[pid]
        yield pid


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
