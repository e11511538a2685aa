"""Which page answers which address; no address names a file, and what is found in the folder has one."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

from hwnas.loopback import Answer, make_loopback_server, page
from hwnas.report.markup import note
from hwnas.report.watch import REPORT_POLICY
from hwnas.run_folder import RunFolder
from hwnas.ui.compare_page import compare_page
from hwnas.ui.folder import Found, look_into, require_own
from hwnas.ui.run_entry import RunEntry, Runs, is_own_file
from hwnas.ui.run_page import run_page
from hwnas.ui.runs_page import runs_page
from hwnas.ui.shell import (
    COMPARE_PATH,
    MODELS_NAME,
    REPORT_NAME,
    RUN_PREFIX,
    RUNS_PATH,
    STYLE_PATH,
    TABLE_PREFIX,
    TABLES_PATH,
    frame,
    whole_style,
)
from hwnas.ui.table_entry import Tables
from hwnas.ui.tables_page import table_page, tables_page
from lut import LaterTableError, TableError
from safe_files import FileError, open_regular

POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The pages run no script, and load nothing but their style sheet."""

MAX_FIELDS = 200
"""Values of a query; a comparison has a dozen."""

MAX_FILE_BYTES = 1 << 40


def make_ui_server(root: Path, port: int, *, warn: Callable[[str], None]) -> ThreadingHTTPServer:
    """Return a server of pages on the runs and tables in a folder, on this machine only; nothing is written.

    Args:
        port: 0 for a free one.
        warn: tells what goes wrong.

    Raises:
        OSError: the port cannot be had.
    """
    site = Site(root.resolve(), shown_as=str(root))
    return make_loopback_server(site.answer, port, warn=warn)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """A request of a browser: a path and the values of a query, decoded once."""

    path: str
    query: dict[str, list[str]]


class Site:
    """The pages on a folder.

    Args:
        root: the folder, without links in its path.
        shown_as: its name on the pages.
    """

    def __init__(self, root: Path, *, shown_as: str) -> None:
        self._root, self._where = root, shown_as
        self._runs, self._tables = Runs(root), Tables(root)
        self._style = whole_style()

    def answer(self, target: str) -> Answer:
        """Return the answer to the target of a request, a path with its query."""
        asked = _request(target)
        if asked is None:
            return self._absent()
        if asked.path == STYLE_PATH:
            content = self._style.encode()
            headers = {"Content-Type": "text/css; charset=utf-8"}
            return Answer(content=io.BytesIO(content), num_bytes=len(content), headers=headers)
        found = look_into(self._root)
        pages: dict[str, Callable[[Found, _Request], str]] = {
            RUNS_PATH: self._list_runs,
            TABLES_PATH: self._list_tables,
            COMPARE_PATH: self._compare,
        }
        if (shown := pages.get(asked.path)) is not None:
            return page(shown(found, asked), policy=POLICY)
        if asked.path.startswith(TABLE_PREFIX):
            return self._table(found, asked.path.removeprefix(TABLE_PREFIX))
        if asked.path.startswith(RUN_PREFIX):
            return self._below_run(found, asked.path.removeprefix(RUN_PREFIX))
        return self._absent()

    def _list_runs(self, found: Found, asked: _Request) -> str:
        query = {name: values[-1] for name, values in asked.query.items()}
        return runs_page([self._runs.entry(*item) for item in found.runs.items()], found, self._where, query)

    def _list_tables(self, found: Found, _: _Request) -> str:
        return tables_page([self._tables.entry(*item) for item in found.tables.items()], self._where)

    def _compare(self, found: Found, asked: _Request) -> str:
        keys = list(dict.fromkeys(_decoded(text) for text in asked.query.get("run", [])))
        known = [self._runs.entry(key, found.runs[key]) for key in keys if key in found.runs]
        return compare_page(known, self._where, unknown=[key for key in keys if key not in found.runs])

    def _table(self, found: Found, key: str) -> Answer:
        if (path := found.tables.get(key)) is None:
            return self._absent()
        entry = self._tables.entry(key, path)
        try:
            view = None if entry.fault is not None else self._tables.view(path)
        except (FileError, TableError, LaterTableError):  # it was changed in between
            view = None
        return page(table_page(entry, view, self._where), policy=POLICY)

    def _below_run(self, found: Found, rest: str) -> Answer:
        """Return the page of a run, its report, or a model of it."""
        key, _, name = rest.rpartition("/")
        if key in found.runs and name == "":
            return self._run(found, self._runs.entry(key, found.runs[key]))
        if key in found.runs and name == REPORT_NAME:
            headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": REPORT_POLICY}
            return self._file(RunFolder(found.runs[key]).report, headers)
        key, _, folder = key.rpartition("/")
        if key in found.runs and folder == MODELS_NAME:
            entry = self._runs.entry(key, found.runs[key])
            if name in entry.records.models:
                headers = {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}
                return self._file(entry.files.export.folder / name, headers)
        return self._absent()

    def _run(self, found: Found, entry: RunEntry) -> Answer:
        keys = {path: key for key, path in found.tables.items()}
        return page(run_page(entry, self._where, table_key=keys.get(entry.files.table)), policy=POLICY)

    def _file(self, path: Path, headers: dict[str, str]) -> Answer:
        """Return the answer that is a file of a run, which no link leads to."""
        if not is_own_file(path, self._root):
            return self._absent()
        require_own(path, self._root, max_bytes=MAX_FILE_BYTES)
        content = open_regular(path)
        return Answer(content=content, num_bytes=os.fstat(content.fileno()).st_size, headers=headers)

    def _absent(self) -> Answer:
        body = f"<h1>Not found</h1>{note('There is no such page: its run or table may be gone.')}"
        text = frame("Not found", body, where=self._where)
        return page(text, status=HTTPStatus.NOT_FOUND, policy=POLICY)


def _request(target: str) -> _Request | None:
    """Return what a target asks for; None for one that is none."""
    try:
        parts = urlsplit(target)
        query = parse_qs(parts.query, max_num_fields=MAX_FIELDS, errors="replace")
    except ValueError:
        return None
    if parts.scheme or parts.netloc or not parts.path.startswith("/"):
        return None
    return _Request(path=_decoded(parts.path), query=query)


def _decoded(text: str) -> str:
    """Return what an address or a form says; names of files may be no text."""
    return os.fsdecode(unquote_to_bytes(text))
