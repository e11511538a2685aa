"""A run's report while it is running."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REFRESH_S = 5

REQUEST_TIMEOUT_S = 10
"""A browser that connects and says nothing for so long is given up."""


def make_server(
    render: Callable[[int], str], host: str, port: int, *, warn: Callable[[str], None]
) -> ThreadingHTTPServer:
    """Return a server of a run's report as far as the run is, made anew for every request.

    What goes wrong with a page is shown in its place, and told once: the run may have gone on by the next one.

    Args:
        render: gives the page, which reloads itself after so many seconds.
        port: 0 for a free one.
        warn: tells what goes wrong.
    """
    return _Server(render, (host, port), warn)


class _Handler(BaseHTTPRequestHandler):
    """Answers one browser."""

    server: _Server
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:  # the name that http.server looks for
        if self.path != "/":
            self.send_error(404)
            return
        try:
            page = self.server.render(REFRESH_S)
        except (ValueError, RuntimeError, OSError, LookupError, TypeError) as error:  # a run's files hold anything
            self.server.tell(str(error))
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, _failure(str(error)))
            return
        self._answer(HTTPStatus.OK, page)

    def _answer(self, status: HTTPStatus, text: str) -> None:
        page = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Print nothing: one line per request would hide the address."""


class _Server(ThreadingHTTPServer):
    """Tells each fault once."""

    def __init__(self, render: Callable[[int], str], address: tuple[str, int], warn: Callable[[str], None]) -> None:
        super().__init__(address, _Handler)
        self.render, self._warn = render, warn
        self._told: set[str] = set()

    def tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._warn(f"the report cannot be shown: {text}")

    def handle_error(self, *_: object) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # a browser that went away is no news
            self.tell(f"{type(error).__name__}: {error}")


def _failure(text: str) -> str:
    """Return a page that says what is wrong, and asks again like the report does."""
    return (
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH_S}">'
        f"<title>hwnas</title><p>The report cannot be shown: {escape(text)}</p>"
    )
