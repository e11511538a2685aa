"""Devices by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from profilers import DeviceError, load_devices
from profilers.device import adjusted, find_device
from safe_files.code_trust import code_limited_to


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
        ('"a\\e[2Jb": {runtime: onnxruntime}', r"expected printable characters, found 'a\\x1b\[2Jb'"),
        ('cpu: {runtime: tvm, target: "a\\nb"}', r"target: .*expected printable characters, found 'a\\nb'"),
        (
            "p: {runtime: onnxruntime, adb: {serial: -x}}",
            r"adb\.serial: .*expected a serial number as `adb devices` prints",
        ),
        ('p: {runtime: onnxruntime, adb: {serial: "a\\nb"}}', r"adb\.serial: .*expected a serial number"),
        (
            "p: {runtime: onnxruntime, adb: {folder: hwnas}}",
            r"adb\.folder: .*expected a folder .* from the root on, .*'hwnas'",
        ),
        ("p: {runtime: onnxruntime, adb: {folder: /}}", r"adb\.folder: .*expected a folder there"),
        ('p: {runtime: onnxruntime, adb: {folder: "/a\\0b"}}', r"adb\.folder: .*expected printable characters"),
        (
            "p: {runtime: onnxruntime, adb: {python: ~/python3}}",
            r"adb\.python: .*expected a program there, by its name or",
        ),
        ("p: {runtime: onnxruntime, adb: {python: -c}}", r"adb\.python: .*expected a program there"),
        ("p: {runtime: onnxruntime, adb: {host: x}}", r"adb\.host: Unexpected keyword"),
        ("p: {runtime: onnxruntime, adb: {}, ssh: {host: b}}", "one of ssh, adb and a command, not behind ssh and adb"),
        ("p: {runtime: tvm, target: native, adb: {}}", "adb belongs to devices of runtime onnxruntime or"),
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


def test_paths_of_this_machine_expand_and_those_of_boards_are_from_the_home_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "d.yaml"
    path.write_text(
        "one: {runtime: ~/w.py, command: [~/run, ~/there], copy: [~/cp, '{local}', ~/x]}\n"
        "two: {runtime: onnxruntime, ssh: {host: b, python: ~/env/bin/python, folder: ~/models}}\n"
    )
    one, two = load_devices(path).values()
    assert one.runtime == "/home/me/w.py" and one.command == ("/home/me/run", "~/there")
    assert one.copy == ("/home/me/cp", "{local}", "~/x")
    assert two.ssh is not None and (two.ssh.python, two.ssh.folder) == ("env/bin/python", "models")


def test_a_folder_on_a_phone_ends_without_a_slash(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("p: {runtime: onnxruntime, adb: {folder: /data/local/tmp/x/}}\n")
    (phone,) = load_devices(tmp_path / "d.yaml").values()
    assert phone.adb is not None and phone.adb.folder == "/data/local/tmp/x" and not phone.is_here


def test_a_worker_in_a_file_of_code_may_be_used_where_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("mine: {runtime: ./w.py}\nplain: {runtime: onnxruntime}\n")
    assert find_device("mine", path).runtime == "./w.py"
    with code_limited_to(["profile", "--devices", str(path)]):
        assert find_device("plain", path).name == "plain"
        with pytest.raises(DeviceError, match=r"device 'mine' would run the code in \./w\.py, .*give --trust-code"):
            find_device("mine", path)


def test_an_unknown_device_says_where_ones_own_are_named() -> None:
    with pytest.raises(DeviceError, match=r"unknown device 'mine'; .*--devices FILE"):
        find_device("mine")
