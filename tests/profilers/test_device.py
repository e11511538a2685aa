"""Devices by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from profilers import DeviceError, load_devices
from profilers.device import adjusted, find_device


def test_shipped_devices_are_valid() -> None:
    devices = load_devices()
    assert devices["cpu"].threads == 1
    assert all(device.name == name for name, device in devices.items())


def test_unknown_device_names_the_known_ones() -> None:
    with pytest.raises(DeviceError, match=r"unknown device 'toaster'; devices.yaml has: cpu"):
        find_device("toaster")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cpu: {runtime: onnxruntime, threads: many}", "threads: .* got 'many'"),
        ("cpu: {runtime: onnxruntime, thread: 1}", "thread: Unexpected keyword"),
        ("cpu: {runtime: abacus}", "runtime: .* got 'abacus'"),
        ("cpu: {runtime: onnxruntime, threads: 2, cores: [1]}", "2 distinct numbers, one per thread"),
        ("cpu: 3", "must be a mapping of settings, got 3"),
        ("[1, 2]", "must map device names"),
        ("", "must map device names"),
        ("cpu: [", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_wrong_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(DeviceError, match=words):
        load_devices(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cannot read .*none\.yaml"):
        load_devices(tmp_path / "none.yaml")


def test_adjusting_threads_gives_up_cores_that_no_longer_fit(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("board: {runtime: onnxruntime, threads: 1, cores: [3]}")
    board = find_device("board", path)
    assert adjusted(board, batch=4).cores == (3,)
    assert adjusted(board, threads=2).cores is None
    with pytest.raises(DeviceError, match=r"threads: .*got 0"):
        adjusted(board, threads=0)
