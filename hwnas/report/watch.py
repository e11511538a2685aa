"""A run's report while it is running."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hwnas.report.page import render_report
from hwnas.run import Run

REFRESH_S = 5


def make_server(run: Run, host: str, port: int) -> ThreadingHTTPServer:
    """A server of the run's report as far as the run is, made anew for every request.

    Args:
        port: 0 for a free one.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server looks for
            if self.path != "/":
                self.send_error(404)
                return
            page = render_report(run, refresh_s=REFRESH_S).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """One line per request would hide the address."""

    return ThreadingHTTPServer((host, port), Handler)
