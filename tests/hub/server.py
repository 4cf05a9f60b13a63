"""A Hub on the loopback interface, for the real clients: threads, the standard library, nothing else.

It speaks the routes that huggingface_hub 2.4 calls. It proves our calls, not the rules of the real Hub (quota, gating).
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub import api, transfer
from hub.messages import Answer, Refusal, Request
from hub.store import TOKENS, Store

ROUTES = (*api.ROUTES, *transfer.ROUTES)
BAD_TOKEN = "Invalid credentials in Authorization header"


@dataclass
class Fault:
    """Something that goes wrong with the next requests of this kind.

    Attributes:
        method, pattern: which requests, by a regular expression on the path.
        after: so many of them still go well.
        times: so many of them then fail.
        what: "refuse" (403), "cut" (the connection ends amid the content), "flip" (a bit of what was sent is lost).
    """

    method: str
    pattern: str
    what: str
    after: int = 0
    times: int = 1

    def strikes(self, method: str, path: str) -> bool:
        """Whether it hits this request; counts."""
        if method != self.method or not re.search(self.pattern, path) or not self.times:
            return False
        self.after -= 1
        self.times -= self.after < 0
        return self.after < 0


class HubServer:
    """A running server with its store, a log of every request, and faults to come.

    Attributes:
        url: its address, the value of HF_ENDPOINT.
        log: (method, path, user, Range header) of each request.
    """

    def __init__(self, folder: Path) -> None:
        self.store, self.lock = Store(folder), threading.RLock()
        self.log: list[tuple[str, str, str | None, str]] = []
        self.faults: list[Fault] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer nobody any more; may be called twice."""
        self._http.shutdown()
        self._http.server_close()

    def calls(self, method: str, pattern: str = "") -> list[str]:
        """Paths asked for with this method that match."""
        return [path for seen, path, _, _ in self.log if seen == method and re.search(pattern, path)]

    def answer(self, request: Request) -> Answer:
        """The first route that knows method and path."""
        for method, pattern, route in ROUTES:
            found = re.fullmatch(pattern, request.path)
            if found and request.method in method.split():
                with self.lock:
                    return route(self, request, *(part and unquote(part) for part in found.groups()))
        raise Refusal(404, f"no such route: {request.method} {request.path}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are kept in `HubServer.log`."""

    def _serve(self) -> None:
        hub: HubServer = self.server.hub  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        user = TOKENS.get(given)
        request = Request(
            self.command, url.path, query, {k.lower(): v for k, v in self.headers.items()}, self._body(), user
        )
        hub.log.append((self.command, url.path, user, self.headers.get("Range", "")))
        struck = [fault.what for fault in hub.faults if fault.strikes(self.command, url.path)]
        try:
            if given and user is None:
                raise Refusal(401, BAD_TOKEN)
            if "refuse" in struck:
                raise Refusal(403, "the signed address has expired")
            if "flip" in struck:
                request.body = request.body[:-1] + bytes([request.body[-1] ^ 1])
            answer = hub.answer(request)
        except Refusal as refusal:
            names = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            answer = Answer({"error": refusal.message}, refusal.status, {k: v for k, v in names.items() if v})
        self._send(answer, "cut" in struck)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: Answer, cut: bool) -> None:
        raw = isinstance(answer.content, bytes)
        content = answer.content if raw else json.dumps(answer.content or {}).encode()
        if isinstance(answer.content, list):
            content = json.dumps(answer.content).encode()
        self.send_response(answer.status)
        kind = "application/octet-stream" if raw else "application/json"
        for name, value in {"Content-Type": kind, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve
