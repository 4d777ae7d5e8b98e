"""``python app.py``: the lab with its page. A Hugging Face Space runs this file."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import NoReturn

from instruct_tune.config.environment import default_data_dir, max_upload_bytes
from instruct_tune.errors import LabError
from instruct_tune.util.device import check_device_choice, on_zerogpu
from instruct_tune.util.wait_policy import check_environment

log = logging.getLogger("instruct_tune.app")
SECONDS_TO_LEAVE = 8.5
"""A Space is killed ten seconds after the signal to end."""


def main() -> int:
    """Parse the flags, build the lab, and serve the page until a signal ends it. Returns the exit status."""
    parser = argparse.ArgumentParser("python app.py", description="Instruction-Tuning Lab in the browser.")
    parser.add_argument("--host", help="address to listen on (default: this machine only; on a Space, all)")
    parser.add_argument("--port", type=int, help="port (default: 7860)")
    parser.add_argument("--data-dir", type=Path, help="where runs live (default: $LAB_DATA_DIR)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("instruct_tune").setLevel(logging.INFO)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        check_environment()
        check_device_choice()
        return serve(args.host, args.port, args.data_dir or default_data_dir())
    except LabError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 1
    except Exception:
        # The process's boundary: an exception beyond it would make the interpreter wait for threads.
        log.exception("the page ended by a fault")
        return 1


def serve(host: str | None, port: int | None, data_dir: Path) -> int:
    """Serve the page until SIGINT or SIGTERM; returns after the lab is closed."""
    allocate = None
    if on_zerogpu():
        # First: it replaces parts of torch.
        from instruct_tune.ui.gpu_allocation import zerogpu_allocator

        allocate = zerogpu_allocator()
    from instruct_tune.lab import Lab
    from instruct_tune.runs.examples import put_recorded
    from instruct_tune.ui import CSS, THEME, agent_tools, build_ui, room_routes
    from instruct_tune.ui.middleware import MIDDLEWARE

    # Before anything starts threads, which would outlive an interrupted start.
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    lab = Lab(data_dir, allocate=allocate)
    put_recorded(lab.store)
    lab.default_model.start()
    lab.housekeeping.start()
    page = build_ui(lab).queue(default_concurrency_limit=8, max_size=64)
    everywhere = "0.0.0.0" if "SPACE_ID" in os.environ else None
    try:
        page.launch(
            server_name=host or os.environ.get("GRADIO_SERVER_NAME") or everywhere,
            server_port=port,
            prevent_thread_lock=True,
            theme=THEME,
            css=CSS,
            app_kwargs={
                "middleware": MIDDLEWARE,
                "lifespan": agent_tools.served_with(page),
                "routes": room_routes(lab),
            },
            mcp_server=importlib.util.find_spec("mcp") is not None,
            show_error=False,
            enable_monitoring=False,
            # Otherwise gradio first requests its own page, and fails if a busy machine takes over three seconds.
            _frontend=False,
            max_file_size=max_upload_bytes(),
            strict_cors=True,
            footer_links=["api"],
            # gradio serves its own copies only; no file of the data folder may be served, whatever the path.
            blocked_paths=[str(lab.data_dir.resolve())],
            # A Space would render with Node, whose signal handlers would end a run without its checkpoint.
            ssr_mode=False,
            root_path=root_path(os.environ.get("GRADIO_ROOT_PATH", "")),
        )
    except OSError as error:
        lab.close()
        raise LabError(f"The page cannot be served there: {error}") from error
    ended.wait()
    deadline = time.monotonic() + SECONDS_TO_LEAVE
    # Before the page, whose close waits for visitors: a run stops within its step and writes a checkpoint.
    lab.shutdown()
    page.close()
    lab.close(timeout=max(1.0, deadline - time.monotonic()))
    return 0


def root_path(value: str) -> str:
    """``GRADIO_ROOT_PATH`` as gradio needs it: one leading slash and no trailing one; "" for the root.

    With a trailing slash, every request through a proxy that keeps the prefix gets a 404. A full URL, which
    gradio accepts, too, gets no leading slash.
    """
    path = value.strip().strip("/")
    return path if not path or path.startswith(("http://", "https://")) else f"/{path}"


def end_process(status: int) -> NoReturn:
    """Remove temporary files and end the process without waiting for threads.

    A thread that still imports torch can keep the interpreter from ending: once in some hundred starts, a process
    that got a signal at that moment was still running half a minute later.
    """
    atexit._run_exitfuncs()
    # The reader of stdout may be gone.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    end_process(main())
