"""Tables whose checksum is right and whose values are not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run_cli
from samples import small_spec, synthetic_table

from lut import TableError, load_table, save_table
from lut.build import finished
from search_spaces import make_space

PLAIN = {"nodes": 0, "elements": 0, "gives_blocked": False}


def _never(table: dict[str, Any], path: str, value: object) -> None:
    """Put a value where the dotted path says; numbers are places in lists."""
    *outer, last = path.split(".")
    for name in outer:
        table = table[int(name)] if name.isdigit() else table[name]
    table[int(last) if last.isdigit() else last] = value  # type: ignore[index]


NO_NUMBERS = ["1", True, None, [], {}]
NO_SHARES = [*NO_NUMBERS, -0.1, 1.1, 1e308]
NO_ERRORS = [*NO_NUMBERS, -1, -1e-9]
NO_COUNTS = [*NO_NUMBERS, -1, 0.5, 1e308, 10**30]
MEANINGLESS = {
    "certificate.mape": NO_ERRORS,
    "certificate.bias": [*NO_NUMBERS, 2.0, -2.0],
    "certificate.within_5pct": NO_SHARES,
    "certificate.within_10pct": [*NO_SHARES, 0.5],
    "certificate.kendall_tau": [*NO_NUMBERS, 1.1, -1.1],
    "certificate.error_std": NO_ERRORS,
    "certificate.repeatability_mape": NO_ERRORS,
    "certificate.twins_mape": ["1", True, -1],
    "certificate.num_networks": [*NO_COUNTS, 0, 1, 1000],
    "calibration.cross_validated_mape": NO_ERRORS,
    "calibration.factor_std": NO_ERRORS,
    "calibration.num_networks": [*NO_COUNTS, 0, 1000],
    "calibration.offset_ms": [*NO_NUMBERS, 1e308],
    "calibration.factors": [{}, {"unknown": 1.0}],
    "calibration.cache.half_mb": [*NO_NUMBERS, 0, -1, 1e308],
    "provenance.rounds": NO_COUNTS,
    "provenance.seed": NO_COUNTS,
    "provenance.date": ["", "yesterday", "2026-13-01T00:00:00+00:00", "2026-01-01T00:00:00", 1, None],
    "provenance.precision": ["fp16", None, 8],
    "provenance.stopped_by": ["", "me", None, "adapted", "imported"],
    "provenance.is_emulated": [0, 1, "false", None],
    "provenance.onnx_sha256": [{"a": "0"}, {"a": "g" * 64}, {"a": None}],
    "provenance.device.threads": [*NO_COUNTS, 0, 1025],
    "provenance.device.batch": [*NO_COUNTS, 0, 5000],
    "provenance.device.cores": [[0, 1], [-1], ["0"], [True], 0],
    "provenance.device.name": [None, 1, True],
    "provenance.device.unknown": [1],
    "space.input_size": [*NO_COUNTS, 0],
    "space.width": [*NO_NUMBERS, 0, -1, 1e308],
    "entries.1.key": [None, 1, "twice"],
    "entries.0.wall_ns": [[], [0] * 5, [-1] * 5, [10**14] * 5, [1.5] * 5, ["1"] * 5, [True] * 5, [10**30] * 5, [1]],
    "entries.0.cpu_ns": [[-1] * 5, [10**14] * 5, [1.5] * 5, ["1"] * 5, [1]],
    "entries.0.visits": [[0, 0, 1, 2, 3], [4, 3, 2, 1, 0], [-1, 0, 1, 2, 3], [10**30] * 5, [0]],
    "entries.0.error": ["failed too"],
    "networks.0.role": ["", None, "judge", "twin"],
    "networks.0.architecture": [[], [0], [-1] * 8, [0.5] * 8, ["0"] * 8, [True] * 8, [10**9] * 8, None],
    "networks.0.measurement.key": ["other"],
    "layouts": [{"unknown": {"after_plain": PLAIN, "after_blocked": PLAIN}}],
    "energy_mj": [{"unknown": 1.0}, {"twice": 0}, {"twice": -1}, {"twice": "1"}],
    "reported": [[{"key": "twice", "mean_ms": 1.0}], *([{"key": "b", "mean_ms": ms}] for ms in (0, -1, "1", 1e308))],
    "pace": [{"visits": [0], "wall_ns": [0], "cpu_ns": [0]}, {"visits": [0, 0], "wall_ns": [1, 1], "cpu_ns": [1, 1]}],
}
"""Values of a table that no table can have, by where they stand."""


@pytest.mark.parametrize("where", MEANINGLESS)
def test_values_that_mean_nothing_are_refused(where: str, calibrated: str, tmp_path: Path) -> None:
    for value in MEANINGLESS[where]:
        content = json.loads(calibrated)
        _never(content, where, value)
        with pytest.raises(TableError, match="does not follow the table schema"):
            load_table(_signed(tmp_path, json.dumps(content, sort_keys=True, separators=(",", ":"))))


def test_the_table_itself_is_read(calibrated: str, tmp_path: Path) -> None:
    text = json.dumps(json.loads(calibrated), sort_keys=True, separators=(",", ":"))
    assert load_table(_signed(tmp_path, text)).certificate is not None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 1000 + "]" * 1000])
def test_numbers_that_are_none_are_refused(number: str, calibrated: str, tmp_path: Path) -> None:
    content = json.loads(calibrated)
    text = calibrated.replace(f'"mape":{json.dumps(content["certificate"]["mape"])}', f'"mape":{number}')
    assert text != calibrated
    with pytest.raises(TableError, match="no latency table"):
        load_table(_signed(tmp_path, text))


TEXTS = (
    "provenance.device.name",
    "provenance.device.target",
    "provenance.device.another",
    "provenance.worker.cpu_model",
    "provenance.worker.adapted_from",
    "provenance.worker.cores",
    "space.name",
    "entries.0.key",
    "entries.0.error",
)
UNPRINTABLE = ("\x1b[31mred", "a\nb", "bell\x07", "\u202egnp", "\x9b2J", "\ud800", "null\x00")


@pytest.mark.parametrize("where", TEXTS)
def test_texts_that_would_steer_a_terminal_are_refused(where: str, calibrated: str, tmp_path: Path) -> None:
    for text in UNPRINTABLE:
        for place, value in ((where, text), (where, [text]), (where, {text: 1})):
            content = json.loads(calibrated)
            _never(content, place, value)
            signed = _signed(tmp_path, json.dumps(content, sort_keys=True, separators=(",", ":")))
            with pytest.raises(TableError, match="expected texts of printable characters, found ") as caught:
                load_table(signed)
            assert str(caught.value).isprintable()
    shown = run_cli("lut", "show", signed)
    assert shown.code == 2 and shown.err.rstrip("\n").isprintable() and not shown.out


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The canonical text of a table that has everything, its first block known by the name `twice` too."""
    space = make_space(small_spec("nasbench-macro"))
    table = finished(synthetic_table(space), space)
    assert table.calibration is not None and table.certificate is not None
    save_table(table, path := tmp_path_factory.mktemp("t") / "t.json")
    assert load_table(path) == table
    text = json.dumps(json.loads(path.read_text())["table"], sort_keys=True, separators=(",", ":"))
    return text.replace(json.dumps(table.entries[0].key), '"twice"')


def _signed(folder: Path, content: str) -> Path:
    """A file with that content and a valid checksum."""
    path = folder / "signed.json"
    digest = hashlib.sha256(f"2:{content}".encode()).hexdigest()
    path.write_text(f'{{"format":"hwnas-latency-table","version":2,"sha256":"{digest}","table":{content}}}')
    return path
