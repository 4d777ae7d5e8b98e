"""The scheduling service of a ZeroGPU Space, for tests: it lends a GPU that is not there."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SILENCE = "silence"
GRANT = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-x", "allowToken": "t"}


class ZeroGpuService:
    """Answers ``/startup-report``, ``/schedule``, ``/allow`` and ``/release``, and notes the requests.

    ``answers``: what the next requests to ``/schedule`` get: None for a GPU, a status, (status, JSON), or SILENCE.
    ``pids``: of the workers that were allowed. ``reuses``: whether a worker that is done gets the next work, too.
    """

    def __init__(self):
        self.answers, self.requests, self.pids = [], [], []
        self.reuses = False
        self.silence = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                service.requests.append((parts.path, query, time.monotonic()))
                status, body = 200, {}
                if parts.path == "/allow":
                    service.pids.append(int(query["pid"]))
                if parts.path == "/schedule":
                    answer = service.answers.pop(0) if service.answers else None
                    if answer == SILENCE:
                        service.silence.wait(120)
                    elif isinstance(answer, int):
                        status = answer
                    elif answer:
                        status, body = answer
                    if status == 200:
                        body = {**GRANT, "nvidiaIndex": 0 if service.reuses else len(service.requests)}
                        body["idle"] = service.reuses
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, path):
        """The queries of the requests to ``path``."""
        return [query for called, query, _ in self.requests if called == path]

    def close(self):
        self.silence.set()
        self._server.shutdown()
        self._server.server_close()
