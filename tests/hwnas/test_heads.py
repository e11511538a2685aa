"""A run's networks end in what its task wants."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_networks import write_code
from samples import bare_table, small_spec

from hwnas.config_file import load_config
from hwnas.errors import RequestError
from hwnas.pipeline.latency import prepare_latency
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from lut import TableError, save_table
from search_spaces import make_space
from search_spaces.dense import DenseSpace

AGENT = """
from hwnas.agents.classification import ClassificationAgent


class Boxes(ClassificationAgent):
    head = "detection"
"""


def _run(folder: Path, **settings: object) -> Run:
    (folder / "boxes.py").write_text(AGENT)
    given = {"max_latency": "60%", "out": folder / "run", "task": f"{folder}/boxes.py:Boxes", **settings}
    return Run(load_config(None, given), Reporter(is_quiet=True))


def test_the_space_of_a_run_has_the_head_of_its_task(tmp_path: Path) -> None:
    space = _run(tmp_path, **{"space.name": "nasbench-macro", "space.width": 0.25}).space
    assert isinstance(space, DenseSpace) and space.spec.head == "detection"
    assert _run(tmp_path, task="classification").spec.head == "classifier"


def test_a_table_of_another_head_is_refused(tmp_path: Path) -> None:
    shape = {"input_size": 8, "in_channels": 1, "num_classes": 10, "width": 0.25}
    save_table(bare_table(make_space(small_spec("nasbench-macro", **shape))), tmp_path / "t.json")
    settings = {"space.name": "nasbench-macro", "space.width": 0.25, "lut": tmp_path / "t.json"}
    run = _run(tmp_path, **settings, **{"trust.accept_any": True})
    with pytest.raises(TableError, match=r"width 0\.25; this search is for .* detection head\. .* --head detection "):
        prepare_latency(run)


def test_networks_that_are_brought_keep_their_own_end(tmp_path: Path) -> None:
    run = _run(tmp_path, **{"space.model": write_code(tmp_path)})
    with pytest.raises(RequestError, match=r"makes networks with a detection head, .* give --task classification, or"):
        _ = run.space
