"""A completions server on the loopback whose every answer a test writes."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MODELS = {"data": [{"id": "m", "max_model_len": 4096}]}
Reply = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the server's function; unknown paths with 404."""

    def do_GET(self) -> None:
        """List the models, or answer what the test says."""
        self._reply(self.path)

    def do_POST(self) -> None:
        """Answer a completion."""
        self.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._reply(self.path)

    def _reply(self, path: str) -> None:
        try:
            self.server.reply(self, path)  # type: ignore[attr-defined]
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, value: Any, status: int = 200, **headers: str) -> None:
        """Send a JSON value, or bytes as they are."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(complete: Reply, version: Any = None, models: Any = MODELS) -> Iterator[str]:
    """Serve on the loopback and yield the endpoint.

    Args:
        complete: writes the answer to every completion.
        version: what /version holds; None is not found.
        models: the list of models.
    """

    def reply(handler: Handler, path: str) -> None:
        if path.endswith("/models"):
            handler.send(models)
        elif path.endswith("/completions"):
            complete(handler)
        else:
            handler.send({"version": version}, 404 if version is None else 200)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.reply = reply  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
