"""Web pages for the person at this machine: a server that nothing else reaches, and that changes nothing."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import BinaryIO

LOOPBACK = "127.0.0.1"

OWN_NAMES = frozenset({LOOPBACK, "localhost", "[::1]"})
"""Names that browsers have for this machine. The port is the browser's own affair: tunnels have others."""

REQUEST_TIMEOUT_S = 10
"""A browser that connects and says nothing for so long is given up."""

HTML = "text/html; charset=utf-8"

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Said with every answer: other sites neither read nor frame it, and nothing is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer to a browser.

    Attributes:
        content: closed once it is sent.
        num_bytes: of the content.
        headers: besides those of every answer.
    """

    content: BinaryIO
    num_bytes: int
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


def page(text: str, *, status: HTTPStatus = HTTPStatus.OK, policy: str | None = None) -> Answer:
    """Return the answer that is a page.

    Args:
        policy: its Content-Security-Policy; None for pages that run scripts of their own.
    """
    content = text.encode("utf-8", "backslashreplace")  # names of files may be no text
    headers = {"Content-Type": HTML} | ({} if policy is None else {"Content-Security-Policy": policy})
    return Answer(content=io.BytesIO(content), num_bytes=len(content), status=status, headers=headers)


def make_loopback_server(
    answer: Callable[[str], Answer],
    port: int,
    *,
    warn: Callable[[str], None],
    failed: str = "a page cannot be shown",
    refresh_s: int | None = None,
) -> ThreadingHTTPServer:
    """Return a server on this machine's loopback, which answers GET and HEAD.

    What goes wrong with an answer is shown in its place, and told once: the next one may be good. Requests by another
    name than this machine's are refused: a site whose name turns into this machine's address gets nothing.

    Args:
        answer: gives the answer to a path, as the browser wrote it, with its query.
        port: 0 for a free one.
        warn: tells what goes wrong.
        failed: what is said of it.
        refresh_s: seconds after which a page that went wrong is asked for again; None for never.

    Raises:
        OSError: the port cannot be had.
    """
    return _Server(answer, port, _Failure(warn=warn, words=failed, refresh_s=refresh_s))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failure:
    """A remark on answers that go wrong, told to the person who serves them, once for each error."""

    warn: Callable[[str], None]
    words: str
    refresh_s: int | None
    told: set[str] = field(default_factory=set)

    def tell(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            self.warn(f"{self.words}: {text}")

    def page(self, text: str) -> Answer:
        words = f"{self.words[:1].upper()}{self.words[1:]}: {text}"
        again = "" if self.refresh_s is None else f'<meta http-equiv="refresh" content="{self.refresh_s}">'
        return page(
            f'<!doctype html><meta charset="utf-8">{again}<title>hwnas</title><p>{escape(words)}</p>',
            status=HTTPStatus.INTERNAL_SERVER_ERROR,
            policy="default-src 'none'",
        )


class _Server(ThreadingHTTPServer):
    """Answers each browser in a thread of its own."""

    request_queue_size = 64

    def __init__(self, answer: Callable[[str], Answer], port: int, failure: _Failure) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.answer, self.failure = answer, failure

    def server_bind(self) -> None:
        """Take the port, without the look-up of this machine's name that http.server does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    def handle_error(self, *_: object) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # a browser that went away is no news
            self.failure.tell(f"{type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    """Answers one browser."""

    server: _Server
    timeout = REQUEST_TIMEOUT_S
    server_version, sys_version = "hwnas", ""

    def do_GET(self) -> None:  # the name that http.server looks for
        self._respond()

    def do_HEAD(self) -> None:
        self._respond()

    def _respond(self) -> None:
        if not is_own_name(self.headers.get_all("Host") or []):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "expected this machine's own name, such as localhost")
            return
        try:
            answer = self.server.answer(self.path)
        except (
            ValueError,
            RuntimeError,
            OSError,
            LookupError,
            TypeError,
            ArithmeticError,
        ) as error:  # files hold anything
            self.server.failure.tell(str(error))
            answer = self.server.failure.page(str(error))
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        with answer.content:
            self.send_response(answer.status)
            for name, value in {**HEADERS, **answer.headers, "Content-Length": str(answer.num_bytes)}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                shutil.copyfileobj(answer.content, self.wfile)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request in a line of plain text."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "expected GET or HEAD"
        status = HTTPStatus(code)
        content = f"{status.value} {status.phrase}: {message or explain or status.description}\n"
        encoded = content.encode("ascii", "backslashreplace")
        self.close_connection = True
        self.command = self.command or "GET"  # of a request that was no request
        allowed = {"Allow": "GET, HEAD"} if code == HTTPStatus.METHOD_NOT_ALLOWED else {}
        headers = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close", **allowed}
        self._send(Answer(content=io.BytesIO(encoded), num_bytes=len(encoded), status=status, headers=headers))

    def log_message(self, *_: object) -> None:
        """Print nothing: one line per request would hide the address."""


def is_own_name(hosts: list[str]) -> bool:
    """Return whether a request's Host headers are one that names this machine, with whatever port."""
    if len(hosts) != 1:
        return False
    host = hosts[0].strip().lower()
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name, port = host, ""
    return name in OWN_NAMES and (port.isdecimal() or not colon)
