"""The memory that training frees and takes again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from hwnas.training.memory import keep_freed_memory

keep_freed_memory()

def faults():
    tensors = [torch.ones(5 * 2**20) for _ in range(5)]  # 100 MiB, 20 each
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

known = [faults() for _ in range(10)]
print((known[-1] - known[-5]) * resource.getpagesize() / 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library has no such setting")
def test_freed_memory_is_used_again() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 40  # MiB that the system gave anew, of the 400 that were taken
