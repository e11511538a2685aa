"""Hides what Linux alone has, in every Python that starts with this folder on its path: how hwnas finds macOS.

Gone are the modules for limits and locks of files, the pinning to cores, groups of processes, room for files kept in
advance, functions of the C library by name, and everything below /proc and /sys.
"""

import ctypes
import importlib.abc
import io
import os
import sys

HIDDEN_MODULES = ("resource", "fcntl", "grp", "spwd", "termios")
HIDDEN_FUNCTIONS = ("sched_getaffinity", "sched_setaffinity", "posix_fallocate", "killpg", "eventfd", "pidfd_open")
HIDDEN_FOLDERS = ("/proc/", "/sys/")

_open = io.open
_library = ctypes.CDLL


class _Hider(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in HIDDEN_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class _Library(_library):
    def __init__(self, name, *arguments, **settings):
        if name is None:
            raise OSError("no C library by that name")
        super().__init__(name, *arguments, **settings)


def _open_unless_hidden(file, *arguments, **settings):
    if str(file).startswith(HIDDEN_FOLDERS):
        raise FileNotFoundError(2, "No such file or directory", str(file))
    return _open(file, *arguments, **settings)


sys.meta_path.insert(0, _Hider())
for _module in HIDDEN_MODULES:
    sys.modules.pop(_module, None)
for _function in HIDDEN_FUNCTIONS:
    if hasattr(os, _function):
        delattr(os, _function)
ctypes.CDLL = _Library
io.open = _open_unless_hidden
