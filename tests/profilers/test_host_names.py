"""Hosts whose names are not known, or that nobody resolves."""

from __future__ import annotations

import socket
import stat
import threading
from pathlib import Path

import pytest

from profilers import Device, Model, Profiler
from profilers.device import UNKNOWN
from profilers.errors import DeviceError, MeasurementError
from profilers.host_names import require_resolved, ssh_host
from profilers.ways import Rpc, Ssh


def test_names_that_are_not_known_are_said() -> None:
    require_resolved("127.0.0.1")
    require_resolved("localhost")
    for name in ("x" * 300, "a..b"):  # no resolver is asked for those
        with pytest.raises(OSError, match="is not known"):
            require_resolved(name)


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: end.wait(60))
    with pytest.raises(OSError, match=r"'slow' was not resolved within 0\.05 s"):
        require_resolved("slow", timeout_s=0.05)
    end.set()


@pytest.mark.parametrize(
    "device",
    [
        Device(name="b", runtime="tvm", target="native", rpc=Rpc(host="nowhere")),
        Device(name="b", runtime="onnxruntime", ssh=Ssh(host="nowhere")),
    ],
    ids=["rpc", "ssh"],
)
def test_nothing_is_started_for_a_host_without_an_address(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(host: str, _: object) -> None:
        raise socket.gaierror(-2, f"never heard of {host}")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("profilers.profiler.ssh_host", lambda host, _: host)
    monkeypatch.setattr("profilers.session.Session.start_worker", lambda _: pytest.fail("a worker was started"))
    profiler = Profiler(device=device, rounds=2)
    for ask in (profiler.require_reachable, lambda: profiler.measure([Model(key="m", path=tmp_path)], tmp_path / "j")):
        with pytest.raises(MeasurementError, match=r"cannot reach b: .*'nowhere' is not known \(never heard of"):
            ask()


def test_what_ssh_looks_up_is_what_its_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    (tmp_path / "ssh").write_text(f"#!/bin/sh\ncat {told}\n")
    (tmp_path / "ssh").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for text, name in (
        ("user me\nhostname board.lan\nproxyjump none\n", "board.lan"),
        ("hostname board.lan\nproxyjump bastion\n", None),
        ("hostname board.lan\nproxycommand nc %h\n", None),
        ("", None),
    ):
        told.write_text(text)
        assert ssh_host("board", ()) == name
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert ssh_host("board", ()) is None


def test_a_device_of_unknown_runtime_measures_nothing(tmp_path: Path) -> None:
    profiler = Profiler(device=Device(name="phone", runtime=UNKNOWN))
    for ask in (profiler.require_reachable, lambda: profiler.measure([Model(key="m", path=tmp_path)], tmp_path / "j")):
        with pytest.raises(DeviceError, match="phone: nothing can be measured on a device of unknown runtime"):
            ask()
