"""Keeps TVM's RPC server alive on a board. Stands alone: copy this file anywhere with python and apache-tvm.

TVM's own server stops accepting once a kernel has crashed, and every later client waits forever. Here the server is a
child process that is started again when it ends, or when it does not answer a connection in time while it is idle.

    python rpc_supervisor.py --port 9090                          # loopback only
    python rpc_supervisor.py --host 0.0.0.0 --port 9090           # anyone who reaches it can run any code here
    python rpc_supervisor.py --tracker 192.168.1.2:9190 --key rpi4 --host 0.0.0.0
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

MAGIC = 0xFF271
"""First word of every client of TVM's RPC."""

ESTABLISHED = "01"
"""The state of an established connection in Linux's table of connections."""

HEALTH_PERIOD_S = 5.0
HEALTH_DEADLINE_S = 10.0
START_DEADLINE_S = 60.0
RESTART_PAUSE_S = 0.5


def main() -> int:
    """Supervise, or, as the child, serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; others than loopback run anyone's code"
    )
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--key", default="", help="what clients and the tracker ask for")
    parser.add_argument("--tracker", help="HOST:PORT of a TVM RPC tracker to offer this board to")
    parser.add_argument("--advertise", help="address that the tracker gives to clients [what the tracker sees]")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options)
    if options.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"warning: whoever reaches {options.host}:{options.port} can run any code as this user", flush=True)
    return Supervisor(options).run()


class Supervisor:
    """Starts the server again whenever it ends or hangs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Supervise until this process is told to end."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            while True:
                self.start_child()
                reason = self.watch()
                print(f"the server {reason}; starting it again", flush=True)
                self.end_child()
                time.sleep(RESTART_PAUSE_S)
        except KeyboardInterrupt:
            return 0
        finally:
            self.end_child()

    def start_child(self) -> None:
        """Start a server in a process group of its own, and wait until it answers."""
        self.child = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--serve"], start_new_session=True
        )
        deadline = time.monotonic() + START_DEADLINE_S
        while self.child.poll() is None and time.monotonic() < deadline:
            if is_listening(self.options.host, self.options.port):
                print(f"serving on {self.options.host}:{self.options.port}", flush=True)
                return
            time.sleep(0.2)

    def watch(self) -> str:
        """Return, with the reason, once the server has to be started again."""
        assert self.child is not None
        next_check = time.monotonic() + HEALTH_PERIOD_S
        while True:
            if self.child.poll() is not None:
                return f"ended with code {self.child.returncode}"
            if time.monotonic() >= next_check and not has_client(self.options.port):
                if not answers(self.options.host, self.options.port) and not has_client(self.options.port):
                    return f"did not answer within {HEALTH_DEADLINE_S:g} s"
                next_check = time.monotonic() + HEALTH_PERIOD_S
            time.sleep(0.2)

    def end_child(self) -> None:
        """Kill the server and its sessions."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(self.child.pid, signal.SIGKILL)
                else:
                    self.child.kill()
            self.child.wait()
            self.child = None


def serve(options: argparse.Namespace) -> int:
    """TVM's accept loop in this process: when a session's kernel crashes it raises, and the process ends with it."""
    from tvm.rpc import base
    from tvm.rpc.server import _listen_loop

    address = (options.host, options.port)
    listener = socket.socket(base.get_addr_family(address), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(8)
    tracker = None
    if options.tracker:
        host, _, port = options.tracker.rpartition(":")
        tracker = (host, int(port))
    _listen_loop(listener, options.port, options.key, tracker, None, options.advertise)
    return 1


def has_client(port: int) -> bool:
    """Return whether a client is connected: then the server is busy with it, and does not accept others.

    A client that is gone does not count, though its session may still run, or never end.
    """
    for table in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _, local, _, state, *_, inode = row.split()[:10]
            # Without an inode the connection waits in the queue: a server that hangs has not accepted it.
            if state == ESTABLISHED and inode != "0" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def is_listening(host: str, port: int) -> bool:
    """Return whether a connection is accepted."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def answers(host: str, port: int) -> bool:
    """Return whether the accept loop answers a client, by a key that it must turn down."""
    key = b"client:health-check-of-the-supervisor"
    try:
        with socket.create_connection((host, port), timeout=HEALTH_DEADLINE_S) as connection:
            connection.settimeout(HEALTH_DEADLINE_S)
            connection.sendall(struct.pack("<ii", MAGIC, len(key)) + key)
            return len(connection.recv(4)) == 4
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
