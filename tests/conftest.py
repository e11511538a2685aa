"""What several tests need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

# Before torch is imported, and for the processes that tests start: sums depend on the number of threads, and threads of
# tests that run beside each other would wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import shorten_runs
from hypothesis import HealthCheck, settings
from paced_machine import measure_instantly
from samples import small_spec
from short_hwnas import OWN_TABLES

from search_spaces import SPACES, SearchSpace, make_space

# Processes that tests start use the checkout's packages too, as pytest itself does by its setting pythonpath.
ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))

# No timing is asserted: other work may run beside the tests.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=300, help="how long the slow run of tests/fuzz goes on")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported blocks go to one cache for the test session, never to the user's."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """How many threads a test has torch use is for that test alone: two beside other work take many times as long."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process measure few rounds and look at few networks for the largest."""
    shorten_runs(monkeypatch)


@pytest.fixture(scope="module")
def very_short_runs() -> Iterator[None]:
    """Runs of a whole module, those of its fixtures too, measure next to nothing."""
    with pytest.MonkeyPatch.context() as patched:
        shorten_runs(patched, rounds=4)
        yield


@pytest.fixture(scope="module")
def instant_measurements() -> Iterator[None]:
    """Measurements of a whole module, those of its fixtures too, are made up by workers in this process."""
    with pytest.MonkeyPatch.context() as patched:
        measure_instantly(patched)
        yield


@pytest.fixture
def small_own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that runs in this process make themselves have few networks and rounds."""
    for path, number in OWN_TABLES.items():
        monkeypatch.setattr(path, number)


@pytest.fixture
def no_tvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles are not compared with TVM, which takes most of their time."""
    monkeypatch.setattr("hwnas.export.bundle.has_tvm", lambda: False)


@pytest.fixture
def benchmark_data() -> Path:
    """The folder of public benchmark files that HWNAS_BENCHMARK_DATA names."""
    folder = os.environ.get("HWNAS_BENCHMARK_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs public benchmark files: set HWNAS_BENCHMARK_DATA to their folder")
    return Path(folder)


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    """Every built-in search space, small."""
    return make_space(small_spec(request.param))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Headless Chromium, where it is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs chromium: sudo apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
