"""`hwnas ui`: what it answers, what it refuses, and that it only reads."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from command_line import run_cli, start_cli
from made_up_runs import SPACE, begin_run, finish_run, network, summary_of
from samples import bare_table, synthetic_table

import hwnas.ui.run_entry as run_entry
from hwnas.artifacts import RunTimes
from hwnas.run_folder import RunFolder
from hwnas.run_lock import alone_in
from hwnas.ui import make_ui_server
from lut import save_table
from safe_files.code_trust import code_limited_to

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"


DATE = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    """What a browser is answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """What is read on the page, without tags."""
        return re.sub(r"<[^>]*>", " ", self.text)


@dataclass(frozen=True)
class Browser:
    """Asks a server, as rudely as need be."""

    port: int
    told: list[str]

    def get(self, path: str, *, method: str = "GET", hosts: tuple[str, ...] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for host in (f"127.0.0.1:{self.port}",) if hosts is None else hosts:
                connection.putheader("Host", host)
            connection.endheaders()
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


@contextmanager
def serving(folder: Path) -> Iterator[Browser]:
    """A server of that folder."""
    told: list[str] = []
    server = make_ui_server(folder, 0, warn=told.append)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield Browser(server.server_port, told)
    finally:
        server.shutdown()
        server.server_close()
    assert told == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, one of them further in, beside a secret that is none of the folder's; tests leave them as they are."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "secret.txt").write_text("top secret")
    finish_run(folder / "runs" / "one")
    finish_run(folder / "runs" / "group" / "two", max_latency="3ms", seed=7)
    return folder / "runs"


@pytest.fixture
def runs(shared: Path, tmp_path: Path) -> Path:
    """The same for a test of its own."""
    shutil.copytree(shared.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "runs"


def test_runs_are_listed_compared_and_shown(shared: Path) -> None:
    with serving(shared) as browser:
        listed = browser.get("/")
        assert listed.status == 200 and "2 runs: 2 finished" in listed.words
        for said in ("one", "group/two", "digits", "nasbench-macro", "cpu", "4 ms", "3 ms", "✓ kept", "90.00%"):
            assert said in listed.words, said
        compared = browser.get("/compare?run=one&run=group%2Ftwo").words
        assert re.search(r"seed\s+0\s+7", compared) and re.search(r"max_latency\s+4ms\s+3ms", compared)
        shown = browser.get("/runs/group/two/")
        assert "✗ missed" in shown.words and "winner-2ms" in shown.words and "Open the report" in shown.words
        assert shown.text.count("<svg class=") == 4 and 'class="hollow c2"' in shown.text
        assert f"hwnas export {shared / 'group' / 'two'} -o bundle" in shown.words
        assert browser.get("/runs/group/two/report.html").text.endswith("the report")
        model = browser.get("/runs/one/export/winner-2ms.onnx")
        assert model.body == b"model winner-2ms.onnx" and model.headers["Content-Disposition"] == "attachment"


def test_every_link_of_the_pages_leads_somewhere(runs: Path) -> None:
    finish_run(runs / "odd ?#%41 & name")
    seen: set[str] = set()
    with serving(runs) as browser:
        pending = ["/", "/compare?run=one&run=group/two"]
        while pending:
            path = pending.pop()
            if path in seen:
                continue
            seen.add(path)
            reply = browser.get(path)
            assert reply.status == 200, path
            if "text/html" in reply.headers["Content-Type"]:
                pending += [link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"]*)"', reply.text)]
    assert quote("/runs/odd ?#%41 & name/report.html") in seen and "/tables/group/two/lut.json" in seen


OTHER_PATHS = (
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/runs/../../secret.txt",
    "/runs/..%2f..%2fsecret.txt",
    "/runs/one/export/..%2fconfig.yaml",
    "/runs/one/export/../config.yaml",
    "/runs/one/export/%2e%2e%2fsummary.json",
    "/runs/one/config.yaml",
    "/runs/one/../one/report.html",
    "/runs//etc/passwd",
    "/tables/..%2f..%2fsecret.txt",
    "/tables//etc/passwd",
    "//etc/passwd",
    "http://elsewhere.example/",
    "/runs/one%00/",
    "/runs/%ff/",
    "*",
    "/compare" + "?run=x" + "&run=x" * 500,
)
"""Paths that are none of a page."""


def test_no_path_leads_out_of_the_folder_or_to_other_files(shared: Path) -> None:
    with serving(shared) as browser:
        for path in OTHER_PATHS:
            reply = browser.get(path)
            assert reply.status == 404 and b"secret" not in reply.body.replace(b"secret.txt", b""), path


def test_links_in_the_folder_are_not_followed_out_of_it(runs: Path) -> None:
    outside = runs.parent / "outside"
    shutil.copytree(runs / "one", outside)
    (outside / "lut.json").rename(outside / "far.lut.json")
    (runs / "linked").symlink_to(outside)
    (runs / "far.lut.json").symlink_to(outside / "far.lut.json")
    one = runs / "one"
    for name, target in (("report.html", "secret.txt"), ("export/model.onnx", "secret.txt")):
        (one / name).unlink()
        (one / name).symlink_to(runs.parent / target)
    (runs / "group" / "two" / "summary.json").unlink()
    (runs / "group" / "two" / "summary.json").symlink_to(runs.parent / "secret.txt")
    with serving(runs) as browser:
        listed = browser.get("/")
        assert "linked (a link, not followed)" in listed.words and "leads out of" in listed.words
        assert "secret" not in listed.text.replace("secret.txt", "") and "far.lut.json (a link" in listed.words
        for path in ("/runs/one/report.html", "/runs/one/export/model.onnx", "/runs/linked/", "/tables/far.lut.json"):
            assert browser.get(path).status == 404, path


def test_only_get_and_head_are_answered(shared: Path) -> None:
    with serving(shared) as browser:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "NEW"):
            reply = browser.get("/", method=method)
            assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD", method


def test_head_is_get_without_the_content(shared: Path) -> None:
    with serving(shared) as browser:
        for path in ("/tables/", "/style.css", "/runs/one/export/model.onnx", "/absent"):
            head, whole = browser.get(path, method="HEAD"), browser.get(path)
            assert head.body == b"" and head.status == whole.status
            assert head.headers["Content-Length"] == whole.headers["Content-Length"] == str(len(whole.body))


def test_only_names_of_this_machine_are_answered(shared: Path) -> None:
    with serving(shared) as browser:
        good = (f"localhost:{browser.port}", "localhost", "127.0.0.1", "LOCALHOST:9000", "[::1]:7", "[::1]")
        assert [browser.get("/tables/", hosts=(host,)).status for host in good] == [200] * len(good)
        bad = (
            "elsewhere.example",
            "127.0.0.1.elsewhere.example",
            f"evil@127.0.0.1:{browser.port}",
            "",
            ":80",
            "0.0.0.0",
        )
        for hosts in (*((host,) for host in bad), (), ("localhost", "elsewhere.example"), ("localhost:x",)):
            reply = browser.get("/", hosts=hosts)
            assert reply.status == 421 and b"one" not in reply.body.replace(b"own name", b""), hosts


def test_pages_run_no_script_and_a_report_has_an_origin_of_its_own(shared: Path) -> None:
    with serving(shared) as browser:
        for path in ("/", "/compare?run=one", "/runs/one/", "/tables/", "/tables/one/lut.json", "/absent"):
            reply = browser.get(path)
            policy = reply.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy
            assert not re.search(r"<script|<style|\sstyle=|\son\w+=", reply.text), path
            assert reply.headers["X-Content-Type-Options"] == "nosniff" and reply.headers["X-Frame-Options"] == "DENY"
            assert not {name.lower() for name in reply.headers} & {"access-control-allow-origin", "set-cookie"}
        policy = browser.get("/runs/one/report.html").headers["Content-Security-Policy"]
        assert "sandbox allow-scripts" in policy and "allow-same-origin" not in policy and "connect-src" not in policy


def test_texts_of_a_run_cannot_become_markup(runs: Path) -> None:
    hostile = finish_run(
        runs / EVIL.replace("/", "|"),
        summary_of(network(test_metrics={EVIL: 0.9}, advice=EVIL), device=EVIL, references={EVIL: network()}),
        device=EVIL,
        data__name=EVIL.replace(":", ""),
    )
    key = quote(hostile.root.name)
    table = synthetic_table(SPACE)
    made = replace(table.provenance, device={**table.provenance.device, "name": EVIL}, worker={"onnxruntime": EVIL})
    save_table(replace(table, provenance=made), hostile.table)
    (runs / "broken").mkdir()
    (runs / "broken" / "config.yaml").write_text(f"max_latency: 1ms\n{json.dumps(EVIL)}: 1\n")
    with serving(runs) as browser:
        for path in ("/", f"/?find={quote(EVIL)}&sort={quote(EVIL)}", f"/runs/{key}/", "/runs/broken/", "/tables/"):
            reply = browser.get(path)
            assert reply.status == 200 and "<script" not in reply.text and "<img" not in reply.text, path
            assert "alert(1)" in reply.text, path
        for path in (f"/compare?run={quote(key)}&run=one&run={quote(EVIL)}", f"/tables/{key}/lut.json"):
            reply = browser.get(path)
            assert reply.status == 200 and "<script" not in reply.text and "<img" not in reply.text, path


def _spoil(folder: Path, kind: str) -> str:
    """Spoil a run, and return what is said of it."""
    summary, config = folder / "summary.json", folder / "config.yaml"
    if kind == "cut":
        summary.write_text(summary.read_text()[:100])
        return "is not JSON"
    if kind == "other record":
        summary.write_text('{"device": 5}')
        return "is damaged"
    if kind == "later version":
        summary.write_text(json.dumps({**json.loads(summary.read_text()), "version": 99}))
        return "later version of hwnas"
    if kind == "huge":
        os.truncate(summary, 10**12)
        return "too large to be shown"
    if kind == "foreign":
        config.write_text("title: My blog\nlanguage: en\n")
        return "no latency budget in"
    if kind == "pipe":
        summary.unlink()
        os.mkfifo(summary)
        return "expected a regular file"
    if kind == "folder":
        config.unlink()
        config.mkdir()
        return "expected a regular file"
    if kind == "times":
        (folder / "times.json").write_text('{"began": "yesterday"}')
        return "times.json is damaged"
    if kind == "no settings":
        config.unlink()
        return "expected config.yaml"
    assert kind == "deep"
    (folder / "search" / "result.json").write_text("[" * 10**5)
    return "result.json"


@pytest.mark.parametrize(
    "kind",
    ["cut", "other record", "later version", "huge", "foreign", "pipe", "folder", "times", "no settings", "deep"],
)
def test_damaged_runs_are_listed_with_what_is_wrong(runs: Path, kind: str) -> None:
    why = _spoil(runs / "one", kind)
    with serving(runs) as browser:
        listed = browser.get("/").words
        assert "1 finished, 1 damaged" in listed and why in listed
        assert why in browser.get("/runs/one/").words
        assert browser.get("/compare?run=one&run=group/two").status == 200


def test_a_history_that_is_damaged_is_said_where_the_front_would_be(tmp_path: Path) -> None:
    files = begin_run(tmp_path / "runs" / "searching")
    files.search.folder.mkdir()
    history = files.search.history("winner")
    line = {"architecture": [0] * 8, "score": 0.5, "costs": {"latency_ms": 2.0}, "seconds": 0.1}
    history.write_text(f"{json.dumps(line)}\n" + json.dumps(line)[:20])  # the last line is being written
    with serving(tmp_path / "runs") as browser:
        assert "What the search found" in browser.get("/runs/searching/").words
        history.write_text("{}\n")
        assert "The front of searching cannot be shown" in browser.get("/runs/searching/").words
        os.truncate(history, 10**12)
        assert "too large" in browser.get("/runs/searching/").words


def test_a_run_is_running_while_a_process_works_on_it(tmp_path: Path) -> None:
    if not Path("/proc/locks").exists():
        pytest.skip("needs a system that lists its locks")
    files = begin_run(tmp_path / "runs" / "one")
    files.write_times(RunTimes(began=DATE, ended=DATE))
    with serving(tmp_path / "runs") as browser:
        assert "hwnas search --resume" in browser.get("/runs/one/").words and "1 stopped" in browser.get("/").words
        with alone_in(files.root, files.lock, is_kept=lambda: True):
            files.write_times(RunTimes(began=DATE))
            shown = browser.get("/runs/one/")
            assert "hwnas watch" in shown.words and 'http-equiv="refresh"' in shown.text
            assert "1 running" in browser.get("/").words
        assert "1 interrupted" in browser.get("/").words


@pytest.mark.parametrize(
    ("times", "state", "words"),
    [
        (RunTimes(began=DATE), "interrupted", "It was interrupted or killed"),
        (RunTimes(began=None, ended=DATE, failure=f"no room {EVIL}"), "failed", "It failed: no room"),
        (RunTimes(began=DATE, ended=DATE), "stopped", "It is not finished"),
    ],
)
def test_how_a_run_ended_is_told(times: RunTimes, state: str, words: str, tmp_path: Path) -> None:
    begin_run(tmp_path / "runs" / "one").write_times(times)
    with serving(tmp_path / "runs") as browser:
        listed, shown = browser.get(f"/?find={state}"), browser.get("/runs/one/")
        assert f"1 run: 1 {state}" in listed.words and words in shown.words
        assert "hwnas search --resume --out" in shown.words
        for reply in (listed, shown):
            assert ("alert(1)" in reply.text) == (state == "failed") and "<script" not in reply.text


def test_when_runs_began_and_ended_is_told_whatever_dates_their_files_have(runs: Path) -> None:
    RunFolder(runs / "one").write_times(RunTimes(began=DATE - timedelta(days=30), ended=DATE))
    RunFolder(runs / "group" / "two").write_times(RunTimes(began=None, ended=DATE + timedelta(days=30)))
    with serving(runs) as browser:
        dates = re.findall(r'<time datetime="(\d{4}-\d\d)', browser.get("/").text)
        assert dates == ["2026-03", "2026-01"]
        shown = browser.get("/runs/one/").words
        assert re.search(r"began\s+2026-01-01", shown) and re.search(r"ended\s+2026-01-31", shown)
        assert "last written" not in shown and "last written" not in browser.get("/runs/group/two/").words
        RunFolder(runs / "one").times.unlink()
        assert "last written" in browser.get("/runs/one/").words


def test_a_run_with_all_of_its_results_is_finished_unless_it_was_ended_before_its_report(runs: Path) -> None:
    RunFolder(runs / "one").write_times(RunTimes(began=DATE, ended=DATE))
    with serving(runs) as browser:
        assert "2 runs: 2 finished" in browser.get("/").words
        (runs / "one" / "report.html").unlink()
        assert "1 finished, 1 interrupted" in browser.get("/").words


def test_runs_are_filtered_and_sorted(runs: Path) -> None:
    finish_run(runs / "zero", summary_of(network(test_accuracy=0.95, measured_ms=5.0, budget_kept=False)))
    begin_run(runs / "begun")

    def names(query: str) -> list[str]:
        return re.findall(r'<th scope="row"><a href="[^"]*">([^<]*)', browser.get(f"/?{query}").text)

    with serving(runs) as browser:
        assert names("sort=name") == ["begun", "group/two", "one", "zero"]
        assert names("sort=-name") == ["zero", "one", "group/two", "begun"]
        assert names("sort=accuracy")[0] == "zero" and names("sort=accuracy")[-1] == "begun"
        assert names("sort=-measured")[-2:] == ["zero", "begun"]
        assert names("find=missed") == ["zero"] and names("find=stopped+DIGITS") == ["begun"]
        assert "No run has all of these words" in browser.get("/?find=absent").words
        assert set(names("sort=nonsense")) == {"begun", "group/two", "one", "zero"}


def test_what_cannot_be_compared_is_said(runs: Path) -> None:
    finish_run(runs / "board", summary_of(network(), device="rpi4"), device="rpi4", data__name="cifar10")
    with serving(runs) as browser:
        words = browser.get("/compare?run=one&run=board&run=gone").words
        assert "different devices (cpu, rpi4)" in words and "different data or tasks (cifar10, digits)" in words
        assert "gone is no run here" in words
        assert "Tick two runs or more" in browser.get("/compare?run=one").words


def test_tables_are_listed_with_their_certificates_or_why_they_have_none(runs: Path) -> None:
    save_table(bare_table(SPACE), runs / "plain.lut.json")
    (runs / "cut.lut.json").write_text('{"format":')
    with serving(runs) as browser:
        words = browser.get("/tables/").words
        assert "4 tables, 2 certified" in words
        for said in ("✓ certified", "✗ not certified", "damaged", "has no certificate", "no latency table"):
            assert said in words, said
        shown = browser.get("/tables/one/lut.json")
        assert "held-out networks" in shown.words and shown.text.count("<svg class=") == 2
        assert "Slowest blocks" in shown.words and "predicted to take" in shown.words
        plain = browser.get("/tables/plain.lut.json")
        assert "Not certified: this table has no certificate" in plain.words and "<svg class=" not in plain.text
        assert "no latency table" in browser.get("/tables/cut.lut.json").words


def test_code_that_only_a_table_names_is_not_run(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
    table = bare_table(SPACE)
    save_table(replace(table, space=replace(table.space, name=f"{tmp_path}/evil.py:Space")), runs / "own.lut.json")
    with code_limited_to(()), serving(runs) as browser:
        assert "--trust-code" in browser.get("/tables/own.lut.json").words
    assert not (tmp_path / "was-run").exists()


def test_nothing_is_written(shared: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in [shared, *shared.rglob("*")]}

    before = state()
    with serving(shared) as browser:
        for path in ("/", "/compare?run=one&run=group/two", "/runs/one/", "/tables/", "/tables/one/lut.json"):
            assert browser.get(path).status == 200
    assert state() == before


def test_many_runs_are_read_once_by_many_browsers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = begin_run(tmp_path / "runs" / "run-0")
    files.table.unlink()
    for number in range(1, 40):
        shutil.copytree(files.root, tmp_path / "runs" / f"run-{number}")
    read: list[Path] = []
    original = run_entry.load_config

    def load(path: Path, overrides: object) -> object:
        read.append(path)
        return original(path, {})

    monkeypatch.setattr(run_entry, "load_config", load)
    with serving(tmp_path / "runs") as browser, ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(browser.get, ["/"] * 16))
        assert {reply.status for reply in replies} == {200} and all("40 runs" in reply.words for reply in replies)
        assert len(read) == 40
        (tmp_path / "runs" / "run-7" / "config.yaml").write_text("nonsense: 1")
        assert "1 damaged" in browser.get("/").words and len(read) == 41


def test_runs_come_and_go_and_a_folder_may_be_a_run_itself(runs: Path) -> None:
    with serving(runs) as browser:
        shutil.rmtree(runs / "one")
        assert "1 run: 1 finished" in browser.get("/").words and browser.get("/runs/one/").status == 404
        shutil.rmtree(runs / "group")
        (runs / "notes").mkdir()
        words = browser.get("/").words
        assert "There is no run here yet" in words and "notes (no run, and no table)" in words
    finish_run(runs / "one")
    with serving(runs / "one") as browser:
        assert browser.get("/runs/one/").status == browser.get("/tables/lut.json").status == 200


def test_the_command_serves_until_it_is_interrupted(shared: Path) -> None:
    process = start_cli("ui", shared, "--port", 0)
    try:
        assert process.stdout is not None
        address = re.search(rb"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert address is not None
        assert "2 runs" in Browser(int(address[1]), []).get("/").words
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0 and b"Traceback" not in err
    finally:
        process.kill()
        process.communicate()


def test_what_cannot_be_served_is_said(shared: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = run_cli("ui", shared, "--port", taken.getsockname()[1])
    assert outcome.code == 2 and "cannot serve on port" in outcome.err and "give another --port" in outcome.err
    outcome = run_cli("ui", shared / "absent")
    assert outcome.code == 2 and "expected a folder of runs" in outcome.err
