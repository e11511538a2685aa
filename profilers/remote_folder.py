"""The folder on a board where models and workers lie."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from onnx_models.external_data import parcel

SLOW_BYTES_PER_S = 250_000
"""A copy over a slower line than this is given up."""


class RemoteFolder:
    """A folder that a shell over there reads, where files lie under names that tell their content.

    So an interrupted sweep finds those that are there already. A file comes into a folder beside first and is moved
    once it is whole: what lies under its name is never half a file.

    Args:
        path: of the folder there.
        run: gives a line to the shell there and returns what that printed.
        copy: copies files of this machine into a folder there, under the names that they have here, within so many
            seconds beyond those of any other command.
    """

    def __init__(
        self, path: str, *, run: Callable[[str], str], copy: Callable[[Sequence[str], str, float], None]
    ) -> None:
        self._path = path
        self._run = run
        self._copy = copy
        self._there: set[str] | None = None

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Copy what is not there yet, all at once; return the paths of all of them there.

        Raises:
            WorkerLostError: the board cannot be reached.
        """
        if self._there is None:
            folder = shlex.quote(self._path)
            self._there = set(self._run(f"mkdir -p {folder}/incoming && ls {folder}").split())
        with tempfile.TemporaryDirectory() as scratch:
            parcels = [parcel(path, Path(scratch)) for path in paths]
            wanted = {name: file for files in parcels for name, file in files.items() if name not in self._there}
            if wanted:
                self._bring(wanted)
                self._there |= wanted.keys()
        return [f"{self._path}/{list(files)[-1]}" for files in parcels]

    def _bring(self, wanted: Mapping[str, Path]) -> None:
        num_bytes = sum(file.stat().st_size for file in wanted.values())
        with tempfile.TemporaryDirectory() as links:
            for name, file in wanted.items():
                (Path(links) / name).symlink_to(file.resolve())
            sources = [str(Path(links) / name) for name in wanted]
            self._copy(sources, f"{self._path}/incoming/", num_bytes / SLOW_BYTES_PER_S)
        folder = shlex.quote(self._path)
        moves = " ".join(f"{folder}/incoming/{name}" for name in wanted)
        self._run(f"mv {moves} {folder}/")
