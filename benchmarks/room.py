"""``python -m benchmarks.room``: a class of thirty in one room, five of them as real pages of Chromium.

Everybody joins in the same second, guesses, votes, and follows the room as its page does. Then the room's host trains;
how much the others slow that down is measured in pairs of windows, with and without their requests. The pages are
closed for that, and plain clients send what they would: people draw their pages on machines of their own. Then
everybody starts a run, the lab is killed (SIGKILL) and starts again, and the room shows whether anything is lost.
Run nothing else beside it. Exit status 1 where something is lost, counted twice, or slower than wanted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from .measure import Spread
from .served import chromium, free_port, serving
from .viewers import tokens_per_second

EVERY_SECONDS = 3.0
"""How often a room's page asks for its state."""
JOIN_WANTED, SLOWER_WANTED = 2.0, 5.0
"""Seconds at the 95th percentile; percent."""
LONG_RUN = {
    "data.limit": 4,
    "train.num_train_epochs": 1000,
    "train.per_device_train_batch_size": 1,
    "train.probes": 0,
    "train.eval_strategy": "no",
    "train.save_strategy": "no",
    "train.save_minutes": None,
}
"""The host's run: its steps are short beside a window."""


class Client:
    """Somebody in the room without a browser: a secret and one kept connection."""

    def __init__(self, address: str):
        self._netloc, self._secret, self._seen = urlsplit(address).netloc, secrets.token_urlsafe(24), ""
        self._connection = http.client.HTTPConnection(self._netloc, timeout=120)
        self.state: dict[str, Any] = {}

    def act(self, action: str, **values: Any) -> dict[str, Any]:
        """A request that changes something. Raises RuntimeError with the lab's sentence where it is refused."""
        status, _, body = self._send("POST", f"/room/api/{action}", json.dumps(values))
        if status != 200:
            raise RuntimeError(f"{action}: {body}")
        return json.loads(body)

    def follow(self, code: str) -> dict[str, Any]:
        """The room's state, as its page asks for it."""
        query = urlencode({"code": code, "seen": self._seen})
        status, tag, body = self._send("GET", f"/room/api/state?{query}", None)
        if status == 200:
            self._seen, self.state = tag or "", json.loads(body)
        elif status != 204:
            raise RuntimeError(f"state: {body}")
        return self.state

    def _send(self, method: str, path: str, body: str | None) -> tuple[int, str | None, str]:
        for last in (False, True):
            try:
                self._connection.request(method, path, body, {"x-lab-visitor": self._secret})
                answer = self._connection.getresponse()
                return answer.status, answer.headers.get("x-room-state"), answer.read().decode()
            except (OSError, http.client.HTTPException):
                # The server may close an idle connection, or be killed; browsers then open another.
                self._connection.close()
                if last:
                    raise
        raise AssertionError("the last attempt returns or raises")


@contextmanager
def following(clients: Sequence[Client], code: str, looking: threading.Event) -> Iterator[None]:
    """Every client asks for the room's state at its page's interval while ``looking`` is set."""
    over = threading.Event()

    def follow(number: int) -> None:
        wait = EVERY_SECONDS * number / len(clients)
        while not over.wait(wait):
            wait = EVERY_SECONDS
            if looking.is_set():
                clients[number].follow(code)

    with ThreadPoolExecutor(len(clients)) as threads:
        jobs = [threads.submit(follow, number) for number in range(len(clients))]
        try:
            yield
        finally:
            over.set()
        for job in jobs:
            job.result()


def at_once(work: Sequence[Callable[[], Any]]) -> list[float]:
    """Start everything in the same moment; the seconds that each took."""
    gate = threading.Barrier(len(work))

    def timed(job: Callable[[], Any]) -> float:
        gate.wait()
        began = time.perf_counter()
        job()
        return time.perf_counter() - began

    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(timed, work))


def open_room(host: Client) -> str:
    """A room that trains the tiny model, so that thirty runs take seconds."""
    code = host.act("open", title="Thirty", minutes=60)["code"]
    host.act("rule", code=code, changes={"preset": "smoke"})
    return code


def joining(pages: Sequence[Any], clients: Sequence[Client], address: str, code: str) -> list[float]:
    """Seconds until each is in the room and sees it: of the clients, all at once, and of the pages after them."""

    def join(number: int) -> None:
        clients[number].act("join", code=code, name=f"Student {number}")
        if not clients[number].follow(code)["you"]["id"]:
            raise RuntimeError("a client is not in the room")

    seconds = at_once([lambda number=number: join(number) for number in range(len(clients))])
    drawn = []
    for number, page in enumerate(pages):
        page.goto(f"{address}/room?code={code}")
        page.get_by_label("Your name").fill(f"Page {number}")
        began = time.perf_counter()
        page.get_by_role("button", name="Join").click()
        page.get_by_label("Your name").wait_for(state="hidden")
        drawn.append(time.perf_counter() - began)
    return seconds + drawn


def choosing(host: Client, clients: Sequence[Client], code: str, kind: str, **about: Any) -> tuple[list[float], dict]:
    """A guess or a vote of all clients at once, each three times, of which the last counts; then the reveal."""
    activity = host.act(kind, code=code, **about)["activity"]
    host.act("begin", code=code, activity=activity)
    choices = [each["value"] for each in clients[0].follow(code)["room"]["activity"]["choices"]]

    def choose(number: int) -> None:
        for shift in (2, 1, 0):
            clients[number].act("choose", code=code, activity=activity, choice=choices[(number + shift) % len(choices)])

    seconds = at_once([lambda number=number: choose(number) for number in range(len(clients))])
    host.act("reveal", code=code, activity=activity)
    wanted = {choice: len(range(at, len(clients), len(choices))) for at, choice in enumerate(choices)}
    return [each / 3 for each in seconds], {
        "counted": host.follow(code)["room"]["activity"]["counts"],
        "wanted": wanted,
    }


def slowing(host: Client, clients: Sequence[Client], code: str, pairs: int, window: float) -> Spread:
    """By how many percent a run is slower while everybody follows the room: the median and its 95% interval."""
    host.act("rule", code=code, changes={"preset": "quick", "settings": LONG_RUN})
    run_id = host.act("start", code=code)["run"]
    looking, windows = threading.Event(), []
    with following(clients, code, looking):
        while not host.follow(code)["room"]["board"]["runs"] or host.state["room"]["board"]["runs"][0]["step"] < 5:
            time.sleep(0.5)
        for watched in [which for pair in range(pairs) for which in ((False, True), (True, False))[pair % 2]]:
            (looking.set if watched else looking.clear)()
            began = time.time()
            time.sleep(window)
            windows.append((watched, began, time.time()))
    steps = _metrics(host, run_id)
    host.act("rule", code=code, changes={"preset": "smoke", "settings": {}})
    speeds = [(watched, tokens_per_second(steps, began, ended)) for watched, began, ended in windows]
    without = [speed for watched, speed in speeds if not watched]
    with_ = [speed for watched, speed in speeds if watched]
    return Spread.interval([100 * (1 - b / a) for a, b in zip(without, with_, strict=True)])


def _metrics(host: Client, run_id: str) -> list[dict[str, Any]]:
    """The run's metrics, and its end."""
    from gradio_client import Client as Lab

    lab = Lab(f"http://{host._netloc}", verbose=False, headers={"x-lab-visitor": host._secret})
    steps = lab.predict(run_id, 0, api_name="/run_metrics")["metrics"]
    lab.predict(run_id, False, api_name="/stop_run")
    return steps


def training(host: Client, clients: Sequence[Client], code: str) -> str:
    """Everybody starts a card of a sweep; returns the activity. Waits until all runs have ended."""
    cards = [{"label": f"rate {rate}", "settings": {"train.learning_rate": rate}} for rate in (0.001, 0.01, 0.1)]
    sweep = host.act("sweep", code=code, title="Rates", cards=cards)["activity"]
    host.act("begin", code=code, activity=sweep)
    left = list(clients)
    while left:
        # At most 16 runs wait: who is refused presses again.
        refused = []
        for client in left:
            try:
                client.act("start", code=code, activity=sweep)
            except RuntimeError:
                refused.append(client)
        left = refused
        time.sleep(1)
    while any(run["status"] in ("queued", "running") for run in host.follow(code)["room"]["board"]["runs"]):
        time.sleep(1)
    return sweep


def measure(arguments: argparse.Namespace) -> list[tuple[str, str, str, bool]]:
    """(what, measured, wanted, whether it is as wanted), a line each."""
    folder, port = tempfile.mkdtemp(prefix="lab-benchmark-"), free_port()
    plain = arguments.people - arguments.pages
    lines = []
    with serving(folder, port) as (address, process, _), chromium() as browser:
        host = Client(address)
        clients = [Client(address) for _ in range(plain)]
        pages = [browser.new_context().new_page() for _ in range(arguments.pages)]
        code = open_room(host)
        joined = statistics.quantiles(joining(pages, clients, address, code), n=20)[-1]
        lines.append(("95th percentile of joining", f"{joined:.2f} s", f"{JOIN_WANTED:g} s", joined < JOIN_WANTED))
        chosen = []
        for kind, about in (("guess", {"experiment": "rank"}), ("blind", {"run": "recorded-good"})):
            took, counts = choosing(host, clients, code, kind, **about)
            right = counts["counted"] == counts["wanted"]
            chosen.append(counts["counted"])
            lines.append((f"{kind}: median of one choice, all at once", f"{statistics.median(took):.3f} s", "", right))
            lines.append((f"{kind}: counted", str(counts["counted"]), str(counts["wanted"]), right))
        host.act("join", code=code, name="Host")
        for page in pages:
            page.context.close()
        others = [*clients, *(Client(address) for _ in pages)]
        for number in range(plain, len(others)):
            others[number].act("join", code=code, name=f"Student {number}")
        slower = slowing(host, others[: arguments.people - 1], code, arguments.pairs, arguments.window)
        lines.append(
            (
                f"slow-down of a training by the polls of {arguments.people - 1} others, median (95% interval)",
                f"{slower.median:.1f}% ({slower.low:.1f} to {slower.high:.1f})",
                f"{SLOWER_WANTED:g}%",
                slower.median < SLOWER_WANTED,
            )
        )
        training(host, clients, code)
        before = host.follow(code)["room"]
        process.kill()
        process.wait(30)
    with serving(folder, port):
        after = host.follow(code)["room"]
        same = all(before[name] == after[name] for name in ("people", "activity", "rules", "board"))
        runs = len(after["board"]["runs"])
        lines.append(("after a kill: people and runs", f"{len(after['people'])}, {runs}", "the same as before", same))
        host.act("end", code=code)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.room", description=__doc__)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--pages", type=int, default=5, help="how many of them are pages of Chromium")
    parser.add_argument("--pairs", type=int, default=50, help="pairs of windows, without the others and with them")
    parser.add_argument("--window", type=float, default=5.0, help="seconds of a window")
    lines = measure(parser.parse_args())
    for what, measured, wanted, right in lines:
        print(f"{'ok ' if right else 'NOT'}  {what}: {measured}" + (f" (wanted: {wanted})" if wanted else ""))
    return 0 if all(right for *_, right in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
