"""The memory that training frees and takes again with every step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings (malloc.h)."""

MOST_FROM_HEAP = 32 * 2**20
"""The largest tensor, in bytes, that comes from the heap: glibc allows no more."""

MOST_FREE = 2**31 - 1
"""Free memory at the end of the heap, in bytes, that is kept: as much as the setting's type holds."""


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for its next tensors.

    glibc otherwise gives it back to the system after every step, which then clears each page anew: with small networks
    that is a fifth of the time. Does nothing where the C library has no such setting.
    """
    if sys.platform != "linux":
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, such as musl
        return
    set_option(M_MMAP_THRESHOLD, MOST_FROM_HEAP)
    set_option(M_TRIM_THRESHOLD, MOST_FREE)
