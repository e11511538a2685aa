"""Tables and their files."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import bare_table, small_spec, synthetic_table

from lut import LatencyTable, TableError, load_table, save_table
from profilers import Measurement
from profilers.device import find_device
from profilers.measurement import DAY_NS
from profilers.pace import Pace
from search_spaces import SearchSpace, make_space

TABLE = synthetic_table(make_space(small_spec("nasbench-macro")))


def _samples() -> st.SearchStrategy[Measurement]:
    printed = st.text(st.characters().filter(str.isprintable), min_size=1)
    key = printed.filter(lambda text: len(text) <= 8)
    times = st.lists(st.integers(1, DAY_NS - 1), min_size=1, max_size=6)
    measured = st.builds(
        lambda key, times: Measurement(
            key=key, visits=tuple(range(len(times))), wall_ns=tuple(times), cpu_ns=tuple(times)
        ),
        key,
        times,
    )
    return measured | st.builds(lambda key, error: Measurement(key=key, error=error), key, printed)


@given(entries=st.lists(_samples(), max_size=5, unique_by=lambda m: m.key))
@settings(max_examples=50, deadline=None)
def test_saving_and_loading_gives_the_same_table(
    entries: list[Measurement], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.json"
    table = LatencyTable(space=TABLE.space, provenance=TABLE.provenance, entries=tuple(entries))
    save_table(table, path)
    assert load_table(path) == table


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("t") / "t.json"
    save_table(TABLE, path)
    return path.read_bytes()


def test_pace_is_saved_and_tables_without_it_are_read(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    pace = Pace(visits=(0, 3), wall_ns=(5, 6), cpu_ns=(5, 5), after_wall_ns=(4,), after_cpu_ns=(4,))
    save_table(replace(TABLE, pace=pace), path)
    assert load_table(path).pace == pace
    document = json.loads(saved)
    assert document["table"].pop("pace") is None
    content = json.dumps(document["table"], separators=(",", ":"), sort_keys=True)
    digest = hashlib.sha256(f"2:{content}".encode()).hexdigest()
    path.write_text(json.dumps({**document, "sha256": digest}))
    assert load_table(path) == TABLE


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_noticed_or_harmless(
    data: st.DataObject, saved: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    position = data.draw(st.integers(0, len(saved) - 1))
    changed = bytearray(saved)
    changed[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("t") / "t.json"
    path.write_bytes(changed)
    _require_noticed_or_equal(path)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_cut_file_is_noticed_or_harmless(
    data: st.DataObject, saved: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.json"
    path.write_bytes(saved[: data.draw(st.integers(0, len(saved) - 1))])
    _require_noticed_or_equal(path)


def _require_noticed_or_equal(path: Path) -> None:
    try:
        loaded = load_table(path)
    except TableError:
        return
    assert loaded == TABLE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format="other"), 'expected "format": "hwnas-latency-table"'),
        (lambda d: d.update(version=99), r"by a later version of hwnas \(schema version 99, this one reads 2\)"),
        (lambda d: d.update(version=1), "was changed after it was written"),
        (lambda d: d["table"]["provenance"].update(rounds=7), "was changed after it was written"),
        (lambda d: d.pop("table"), "was changed after it was written"),
    ],
)
def test_foreign_and_edited_files_are_refused(change: object, words: str, saved: bytes, tmp_path: Path) -> None:
    document = json.loads(saved)
    change(document)  # type: ignore[operator]
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(TableError, match=words):
        load_table(tmp_path / "t.json")


def test_tables_of_the_first_version_keep_their_samples_only(saved: bytes, tmp_path: Path) -> None:
    """Their calibration had other numbers; their checksum did not cover the version."""
    content = json.loads(saved)["table"]
    content["calibration"] = {"offset_ms": 0.1, "pressure_ms": 1e-12, "method": "affine"}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    document = {"format": "hwnas-latency-table", "version": 1, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (tmp_path / "t.json").write_text(json.dumps({**document, "table": content}))
    assert load_table(tmp_path / "t.json") == replace(TABLE, calibration=None, certificate=None)


def test_missing_file_and_unwritable_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot read the latency table"):
        load_table(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match="cannot write"):
        save_table(TABLE, tmp_path / "file" / "t.json")


def test_what_is_no_regular_file_is_not_called_damaged(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(TableError, match=f"^cannot read the latency table {path}: expected a regular file, found"):
            load_table(path)


def test_tables_whose_texts_would_steer_a_terminal_are_not_written(tmp_path: Path) -> None:
    failed = Measurement(key="block", error="it\x1b[2Jcrashed")
    with pytest.raises(TableError, match=r"expected texts of printable characters, found 'it\\x1b\[2Jcrashed'"):
        save_table(replace(TABLE, entries=(*TABLE.entries, failed)), tmp_path / "t.json")
    assert list(tmp_path.iterdir()) == []


def test_origin_is_checked(space: SearchSpace) -> None:
    device = find_device("cpu")
    bare_table(space).require_origin(space.spec, device)
    with pytest.raises(TableError, match="not for"):
        bare_table(space).require_origin(small_spec(space.spec.name, input_size=20), device)
    with pytest.raises(TableError, match=r"other settings \(name, threads\)"):
        bare_table(space).require_origin(space.spec, find_device("cpu-2threads"))
