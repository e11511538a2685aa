"""A Raspberry Pi 4 without the board: its programs run under user-mode QEMU.

Exercises the whole path to a board; the times are not those of a board. Needs a Debian or Ubuntu machine with the
package qemu-user, and gcc-aarch64-linux-gnu and libc6-dev-arm64-cross to link for it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from profilers.errors import DeviceError

PACKAGES = ("apache-tvm==0.27.0.post1", "apache-tvm-ffi==0.1.14.post0", "numpy", "onnxruntime")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")

CPU_INFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4 Model B, emulated
"""
"""ONNX Runtime reads the processor's features here, and crashes on another architecture's."""

WRAPPER = """\
#!/bin/sh
here={folder}
export PYTHONHOME="$here/root/usr" PYTHONPATH="$here/site" TVM_USE_RUNTIME_LIB=1
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
exec {qemu} -cpu cortex-a72 -0 "$here/python" -L "$here/root" "$here/root/usr/bin/{python}" "$@"
"""

NEEDED = "install them: sudo apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross"


def boards() -> Path:
    """Return the folder where emulated boards are kept."""
    return user_cache_path("hwnas") / "boards"


def set_up_rpi4(say: Callable[[str], None] = lambda _: None) -> Path:
    """Make the emulated board unless it is there; gives its python.

    Fetches an arm64 python from Debian's or Ubuntu's packages and wheels for it from PyPI, about 300 MB.

    Raises:
        DeviceError: a needed program is missing, or a download fails.
    """
    folder = boards() / "rpi4"
    python = folder / "python"
    if python.exists():
        return python
    qemu = shutil.which("qemu-aarch64")
    missing = [name for name in ("apt-get", "apt-cache", "dpkg", "aarch64-linux-gnu-gcc") if not shutil.which(name)]
    if qemu is None or missing:
        raise DeviceError(
            f"cannot emulate a board without {', '.join([*missing, *([] if qemu else ['qemu-user'])])}; {NEEDED}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    debs, root, site = folder / "debs", folder / "root", folder / "site"
    for path in (debs, root, site):
        path.mkdir(parents=True)
    if "arm64" not in _run("dpkg", "--print-foreign-architectures"):
        say("adding the arm64 package lists")
        _run("dpkg", "--add-architecture", "arm64")
        _run("apt-get", "update", "-qq")
    version = _python_version()
    names = _closure([f"libpython{version}-stdlib:arm64", f"python{version}-minimal:arm64", "libstdc++6:arm64"])
    say(f"fetching python {version} for arm64, {len(names)} packages")
    _run("apt-get", "download", "-qq", *names, cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        _run("dpkg", "-x", str(deb), str(root))
    shutil.rmtree(debs)
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(CPU_INFO, encoding="utf-8")
    say("fetching wheels for arm64")
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(site)),
        *(argument for platform in PLATFORMS for argument in ("--platform", platform)),
        *("--only-binary=:all:", "--implementation", "cp", "--python-version", version),
        *PACKAGES,
    )
    draft = folder / "python.draft"
    draft.write_text(WRAPPER.format(folder=folder, qemu=qemu, python=f"python{version}"), encoding="utf-8")
    draft.chmod(0o755)
    draft.replace(python)
    return python


def _python_version() -> str:
    """Return the version of the distribution's python3 for arm64, such as 3.11: the release decides, no constant."""
    match = re.search(r"Depends: (?:libpython|python)(3\.\d+)", _run("apt-cache", "depends", "python3-minimal:arm64"))
    if match is None:
        raise DeviceError("apt-cache knows no python3-minimal:arm64; run apt-get update")
    return match[1]


def _closure(names: list[str]) -> list[str]:
    """Return the packages and everything they depend on, for arm64."""
    left_out = [f"--no-{k}" for k in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    lines = _run("apt-cache", "depends", "--recurse", *left_out, *names).splitlines()
    return sorted({line for line in lines if line.endswith(":arm64") and line[0].isalnum()})


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=1800)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"cannot run {command[0]}: {error}; {NEEDED}") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise DeviceError(f"{' '.join(command[:3])} failed: {words[-1] if words else done.returncode}; {NEEDED}")
    return done.stdout
