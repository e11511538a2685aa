"""Tables of other machines than the one that answers under the device's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import run_cli
from paced_machine import PacedMachine, measure_instantly

from hwnas.errors import RequestError
from hwnas.progress import Reporter
from hwnas.stages.setup import Setup
from hwnas.stages.table import timed_now
from lut import LatencyModel, load_table
from profilers.device import find_device
from search_spaces import SpaceSpec, make_space

SPACE = make_space(SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25))
FLAGS = ("--width", 0.25, "--device", "paced", "--devices")
SERVER = {"machine": "x86_64", "cpu_model": "Xeon"}
BOARD = {"machine": "aarch64", "cpu_model": "Cortex-A72"}


@pytest.fixture(autouse=True)
def _instantly(monkeypatch: pytest.MonkeyPatch) -> None:
    measure_instantly(monkeypatch)
    monkeypatch.setenv("HWNAS_TRUST_CODE", "1")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the server's blocks."""
    folder = tmp_path_factory.mktemp("server")
    devices = PacedMachine(folder, about=SERVER).devices
    path = folder / "lut.json"
    with pytest.MonkeyPatch.context() as patched:
        measure_instantly(patched)
        patched.setenv("HWNAS_TRUST_CODE", "1")
        shape = ("--space", SPACE.spec.name, "--input-size", 8, "--channels", 1)
        outcome = run_cli("profile", *shape, *FLAGS, devices, "--networks", 0, "-o", path, "--quiet")
    assert outcome.code == 0, outcome.err
    return path


class _Listening(Reporter):
    """Keeps the warnings."""

    def __init__(self) -> None:
        super().__init__(is_quiet=True)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def _drift(table: Path, machine: PacedMachine) -> tuple[float | None, list[str]]:
    """Return how fast a machine is by a table, and the warnings that it gave."""
    reporter = _Listening()
    device = find_device("paced", machine.devices)
    setup = Setup(space=SPACE, device=device, precision="fp32", seed=0, reporter=reporter)
    speed = timed_now(setup, LatencyModel(SPACE, load_table(table), name="t.json"), 1.0)
    assert speed is not None
    return speed.drift, reporter.warnings


@pytest.mark.parametrize(
    "about",
    [SERVER, SERVER | {"machine": "AMD64"}, {}, {"machine": "x86_64"}, SERVER | {"cpu_model": "unknown"}],
    ids=["same", "Windows' name", "untold", "no model", "unknown model"],
)
def test_the_machine_of_the_table_is_taken_without_a_word(
    about: Mapping[str, str], table: Path, tmp_path: Path
) -> None:
    drift, warnings = _drift(table, PacedMachine(tmp_path, about=about))
    assert drift == pytest.approx(1.0, abs=0.02) and warnings == []


def test_another_model_of_processor_is_warned_of_once_and_its_speed_measured(table: Path, tmp_path: Path) -> None:
    machine = PacedMachine(tmp_path, about=SERVER | {"cpu_model": "EPYC"})
    machine.slow_once_there_is(table, 1.3)  # measured twice, to be sure
    drift, warnings = _drift(table, machine)
    assert drift == pytest.approx(1.3, abs=0.05)
    (warning,) = warnings
    for words in (
        "t.json was made on Xeon, paced is EPYC now",
        "virtual machine",
        "a name of its own in a devices file",
    ):
        assert words in warning


def test_another_architecture_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"t.json: expected a table of paced, which is aarch64, found .* on x86_64"):
        _drift(table, PacedMachine(tmp_path, about=BOARD))


def test_a_search_by_another_machines_table_ends_before_anything_is_trained(table: Path, tmp_path: Path) -> None:
    given = ("--lut", table, "--max-latency", "60%", "--accept-table", "--data", "digits", "--out", tmp_path / "run")
    outcome = run_cli("search", *FLAGS, PacedMachine(tmp_path, about=BOARD).devices, *given)
    assert outcome.code == 2 and "Traceback" not in outcome.err, outcome
    assert f"{table}: expected a table of paced, which is aarch64" in outcome.err and "--device" in outcome.err
    assert not (tmp_path / "run" / "supernet").exists() and not (tmp_path / "run" / "search").exists()
