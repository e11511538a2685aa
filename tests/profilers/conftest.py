"""Boards that this machine plays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from boards_here import make_environment, ssh_of, ssh_server

from profilers import Device


@pytest.fixture(scope="session")
def board_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A python that is another than this one, and has numpy and onnxruntime."""
    return make_environment(tmp_path_factory.mktemp("board") / "python")


@pytest.fixture(scope="session")
def ssh_options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """The options with which ssh reaches an OpenSSH server on loopback."""
    with ssh_server(tmp_path_factory.mktemp("server") / "ssh") as options:
        yield options


@pytest.fixture
def ssh_device(board_python: Path, ssh_options: tuple[str, ...], tmp_path: Path) -> Device:
    """A device behind that server."""
    ssh = ssh_of(ssh_options, board_python, tmp_path / "board")
    return Device(name="board", runtime="onnxruntime", ssh=ssh, start_timeout_s=15.0)
