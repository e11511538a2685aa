"""A run's report while it is running."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from http.server import ThreadingHTTPServer

from hwnas.loopback import Answer, make_loopback_server, page

REFRESH_S = 5

REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A report's own scripts run, in an origin of their own: they reach neither other pages nor a network."""


def make_server(render: Callable[[int], str], port: int, *, warn: Callable[[str], None]) -> ThreadingHTTPServer:
    """Return a server of a run's report as far as the run is, made anew for every request, on this machine only.

    What goes wrong with a page is shown in its place, and told once: the run may have gone on by the next one.

    Args:
        render: gives the page, which reloads itself after so many seconds.
        port: 0 for a free one.
        warn: tells what goes wrong.
    """

    def answer(path: str) -> Answer:
        if path != "/":
            return page("<!doctype html><title>hwnas</title><p>There is one page here: /", status=HTTPStatus.NOT_FOUND)
        return page(render(REFRESH_S), policy=REPORT_POLICY)

    return make_loopback_server(answer, port, warn=warn, failed="the report cannot be shown", refresh_s=REFRESH_S)
