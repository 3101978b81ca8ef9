"""A small server that speaks ``predictions_v1``, for tests; it can be made to fail in any way."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INFO = {
    "name": "test server",
    "model": "test-model",
    "model_revision": "1",
    "audio_payload_types": ["base64_wav"],
    "max_batch_size": 2,
    "supports_batching": True,
    "schema_versions": ["predictions_v1"],
}
Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Server:
    """Answers POST /predict by ``answer(requests)``, unless ``script`` has replies to give first."""

    def __init__(self, answer: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        self.answer = answer
        self.script: list[Callable[[Any], Reply]] = []
        self.calls: list[list[dict[str, Any]]] = []
        self.info: Any = dict(INFO)
        self.health: list[Reply] = []
        self.address = ""

    def reply(self, path: str, body: Any) -> Reply:
        if path == "/health":
            return self.health.pop(0) if self.health else (200, {"status": "ok"})
        if path == "/info":
            return 200, self.info
        if path != "/predict":
            return 404, {"detail": "no such path"}
        self.calls.append(body["requests"])
        if self.script:
            return self.script.pop(0)(body)
        return 200, {"schema_version": "predictions_v1", "responses": self.answer(body["requests"])}


def success(request: dict[str, Any], text: str) -> dict[str, Any]:
    return {"sample_id": request["sample_id"], "predictions": [text], "error": None, "finish_reason": "stop"}


# Of one call, in tests where the server answers: generous, because shared machines stall.
PATIENT_SECONDS = 60.0


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """An address of this machine where nobody listens, and nobody can begin to meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/predict"


@contextlib.contextmanager
def serving(answer: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Iterator[Server]:
    """A running server on a free port of this machine."""
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send(server.reply(self.path, None))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send(server.reply(self.path, json.loads(body)))

        def send(self, reply: Reply) -> None:
            status, content, *headers = reply
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            with contextlib.suppress(OSError):  # a client that gave up
                self.send_response(status)
                for name, value in (headers[0] if headers else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        server.address = f"http://127.0.0.1:{http.server_port}/predict"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
