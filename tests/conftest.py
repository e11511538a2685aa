"""What several tests need."""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as the command line has it, before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "2")  # sums depend on it, and processes may be kept to one core

from pathlib import Path

import pytest
import torch
from samples import small_spec

from search_spaces import SPACES, SearchSpace, make_space


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(2)  # as processes that tests start have: sums depend on it


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported blocks go to one cache for the test session, never to the user's."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


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
