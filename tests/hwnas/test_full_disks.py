"""Full and read-only disks, and two processes at once: one line, and then the same command ends as undisturbed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from command_line import Outcome, run_cli
from full_disks import files_limited_to, small_disk
from samples import history_of, measured_again, synthetic_table

from hwnas.profiling import making_table
from lut import LatencyModel, load_table, save_table
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SETTINGS = (
    *("--width", 0.25, "--epochs", 2, "--evaluations", 6, "--retrain-epochs", 2, "--train-images", 128),
    *("--set", "search.finalists=2", "--set", "retrain.references=false"),
)
BLOCKS = ("--space", "nasbench-macro", "--input-size", 8, "--width", 0.25, "--networks", 0, "--rounds", 4, "--quiet")

ROOM = 64 << 20

PAGE = 4096


pytestmark = pytest.mark.usefixtures("very_short_runs")


@dataclass(frozen=True)
class Undisturbed:
    """A search on a table by which every network keeps the budget, and a bundle of it."""

    command: tuple[object, ...]
    run: Path
    summary: dict[str, object]

    @property
    def files(self) -> list[Path]:
        """In the order in which they were written."""
        paths = [path for path in self.run.rglob("*") if path.is_file()]
        return sorted(paths, key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def undisturbed(very_short_runs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    folder = tmp_path_factory.mktemp("undisturbed")
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), folder / "table.json")
    model = LatencyModel(make_space(SPEC), load_table(folder / "table.json"))
    budget = f"{0.5 * (model.extreme()[1] + model.extreme(slowest=True)[1])}ms"
    flags = ("--lut", folder / "table.json", "--max-latency", budget, "--json", "--quiet")
    command = ("search", *SETTINGS, *flags, "--out")
    outcome = run_cli(*command, folder / "run")
    assert outcome.code == 0, outcome.err
    yield Undisturbed(command, folder / "run", _deterministic(outcome))
    shutil.rmtree(folder)


def _deterministic(outcome: Outcome) -> dict[str, object]:
    """A summary without what was measured and where it was saved."""
    summary = json.loads(outcome.out)
    rows = {"winner": summary, **summary["references"]}
    names = ("architecture", "params", "macs", "supernet_score", "test_accuracy", "predicted_ms")
    return {row: {name: fields[name] for name in names} for row, fields in rows.items()}


def _assert_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 1 and "Traceback" not in outcome.err, outcome
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("error: cannot write "), outcome.err
    for word in (*words, "the same command continues"):
        assert word in last, last


def _assert_ends_as(undisturbed: Undisturbed, run: Path) -> None:
    outcome = run_cli(*undisturbed.command, run)
    assert outcome.code == 0, outcome.err
    assert _deterministic(outcome) == undisturbed.summary
    history, expected = (history_of(r / "search" / "history.jsonl") for r in (run, undisturbed.run))
    assert history == expected
    assert (run / "export" / "model.onnx").read_bytes() == (undisturbed.run / "export" / "model.onnx").read_bytes()
    assert _names(run) == _names(undisturbed.run)


def _names(run: Path) -> set[str]:
    """Of all files; those of TensorBoard have the time in their names."""
    return {str(path.relative_to(run)).partition(".tfevents.")[0] for path in run.rglob("*")}


SLOW = pytest.mark.slow


@pytest.mark.parametrize("limit", [1_000_000, *(pytest.param(n, marks=SLOW) for n in (0, 1_000, 300_000, 4_000_000))])
def test_files_that_may_not_become_so_large(limit: int, undisturbed: Undisturbed, tmp_path: Path) -> None:
    with files_limited_to(limit):
        _assert_refused(run_cli(*undisturbed.command, tmp_path / "run"), "ulimit -f")
    _assert_ends_as(undisturbed, tmp_path / "run")


def test_searching_on_a_full_disk(undisturbed: Undisturbed, tmp_path: Path) -> None:
    _search_on_full_disks(undisturbed, tmp_path / "disk", 2_000_000)


def _search_on_full_disks(undisturbed: Undisturbed, folder: Path, *sizes_bytes: int) -> None:
    """One search on a disk that grows: every command continues what the one before it could not write."""
    with small_disk(folder, sizes_bytes[0]) as disk:
        for size_bytes in sizes_bytes:
            disk.resize(size_bytes)
            _assert_refused(run_cli(*undisturbed.command, folder / "run"), "the disk is full", "MB free in")
        disk.resize(ROOM)
        _assert_ends_as(undisturbed, folder / "run")


@SLOW
def test_searching_on_a_disk_of_ten_sizes_that_becomes_full_in_every_stage(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    sizes, total = [], 0
    for path in undisturbed.files:
        pages = -(-path.stat().st_size // PAGE)
        # As it is begun, and when two pages are missing; small files vary by a page with the lengths of paths.
        sizes += [total + 1, total + pages - 2] if pages >= 4 else []
        total += pages
    assert len(sizes) >= 10
    numbers = np.linspace(0, len(sizes) - 1, 10).astype(int)
    _search_on_full_disks(undisturbed, tmp_path / "disk", *(PAGE * sizes[number] for number in numbers))


def test_a_read_only_disk(undisturbed: Undisturbed, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", ROOM) as disk:
        run = disk.folder / "run"
        shutil.copytree(undisturbed.run, run)
        shutil.rmtree(run / "export")
        disk.set_read_only(True)
        for command in (("retrain", run), ("search", "--out", run, "--resume"), ("report", run)):
            outcome = run_cli(*command)
            assert outcome.code in (1, 2) and "read-only" in outcome.err.lower(), outcome
            assert "Traceback" not in outcome.err
        disk.set_read_only(False)
        _assert_ends_as(undisturbed, run)


@SLOW
def test_a_bundle_on_a_disk_of_twelve_sizes(undisturbed: Undisturbed, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    command = ("export", undisturbed.run, "-o", folder / "bundle", "--quiet")
    with small_disk(folder, PAGE) as disk:
        for pages in (1, 2, 50, 100, 150, 200, 250, 290, 300, 310, 316, 319):
            disk.resize(pages * PAGE)
            _assert_refused(run_cli(*command), "the disk is full")
            assert list(folder.iterdir()) == []
        disk.resize(ROOM)
        assert run_cli(*command).code == 0
        assert len(list((folder / "bundle").iterdir())) == 9
        assert [path.name for path in folder.iterdir()] == ["bundle"]


@pytest.mark.parametrize(("place", "size_bytes"), [("table", 4096), ("table", 12288), ("cache", 40960)])
def test_profiling_on_a_full_disk(place: str, size_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", size_bytes) as disk:
        path = (disk.folder if place == "table" else tmp_path) / "t.json"
        if place == "cache":
            monkeypatch.setenv("XDG_CACHE_HOME", str(disk.folder))
        _assert_refused(run_cli("profile", *BLOCKS, "-o", path), "the disk is full")
        disk.resize(ROOM)
        outcome = run_cli("profile", *BLOCKS, "-o", path)
        assert outcome.code == 0, outcome.err
        table = load_table(path)
        assert len(table.entries) == 17 and not table.failures
        assert [p for p in path.parent.glob("*t.json*") if p != path] == []


@SLOW
@pytest.mark.parametrize("size_bytes", [4096 * pages for pages in range(1, 13)])
def test_profiling_on_disks_of_twelve_sizes(size_bytes: int, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes) as disk:
        path = disk.folder / "t.json"
        outcome = run_cli("profile", *BLOCKS, "-o", path)
        if outcome.code:
            _assert_refused(outcome, "the disk is full")
        disk.resize(ROOM)
        assert run_cli("profile", *BLOCKS, "-o", path).code == 0
        assert len(load_table(path).entries) == 17 and [p.name for p in disk.folder.iterdir()] == ["t.json"]


def test_int8_copies_in_a_full_cache_are_no_failed_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", ROOM) as disk:
        monkeypatch.setenv("XDG_CACHE_HOME", str(disk.folder))
        assert run_cli("profile", *BLOCKS, "-o", tmp_path / "float.json").code == 0
        disk.resize(shutil.disk_usage(disk.folder).used + 4096)
        command = ("profile", *BLOCKS, "--precision", "int8", "-o", tmp_path / "int8.json")
        _assert_refused(run_cli(*command), "the disk is full")
        disk.resize(ROOM)
        assert run_cli(*command).code == 0
        assert not load_table(tmp_path / "int8.json").failures
        assert not list(disk.folder.rglob("*.tmp"))


def test_pictures_parts_and_tables_on_a_full_disk(undisturbed: Undisturbed, tmp_path: Path) -> None:
    table = undisturbed.run.parent / "table.json"
    save_table(measured_again(load_table(table)), tmp_path / "again.json")
    with small_disk(tmp_path / "disk", 8192) as disk:
        (disk.folder / "other").write_bytes(b"x" * 8192)
        for command in (
            ("front", undisturbed.run, "--plot", disk.folder / "front.png"),
            ("new", "criterion", "mine", "--folder", disk.folder),
            ("lut", "merge", table, tmp_path / "again.json", "-o", disk.folder / "t.json"),
        ):
            outcome = run_cli(*command)
            _assert_refused(outcome, "the disk is full", str(disk.folder))
            assert [path.name for path in disk.folder.iterdir()] == ["other"], command


def test_temporary_files_on_a_full_disk(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", PAGE) as disk:
        (disk.folder / "other").write_bytes(b"x" * PAGE)
        monkeypatch.setattr("tempfile.tempdir", str(disk.folder))
        _assert_refused(run_cli(*undisturbed.command, tmp_path / "run"), "the disk is full", str(disk.folder))
        assert [path.name for path in disk.folder.iterdir()] == ["other"]
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_standard_output_on_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hwnas", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1 and "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_table_is_made_by_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    other = synthetic_table(make_space(SPEC))
    save_table(other, tmp_path / "other.json")
    save_table(measured_again(other), tmp_path / "again.json")
    with making_table(path):
        for command in (
            ("profile", *BLOCKS, "-o", path),
            ("lut", "adapt", tmp_path / "other.json", "-o", path),
            ("lut", "merge", tmp_path / "other.json", tmp_path / "again.json", "-o", path),
        ):
            outcome = run_cli(*command)
            assert outcome.code == 2 and f"another process makes the table {path}" in outcome.err, outcome
            assert "wait for it or give another output" in outcome.err
        assert not path.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.json", "other.json"]
    with making_table(tmp_path / "other.json"):
        assert run_cli("lut", "refit", tmp_path / "other.json").code == 2
