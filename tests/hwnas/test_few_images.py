"""A whole run on few images of one's own, from flags to a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run_cli
from PIL import Image
from samples import synthetic_table

from hwnas.dataflow import Split, load_dataset
from hwnas.errors import RequestError
from lut import save_table
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("short_runs")

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=3, num_classes=2, width=0.25)


def write_images(root: Path) -> None:
    """Dark and bright images in three splits, one of them broken."""
    rng = np.random.default_rng(0)
    for part, num in (("Train", 20), ("Val", 6), ("Test", 6)):
        for name, most in (("dark", 90), ("bright", 255)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(num):
                pixels = rng.integers(most - 90, most, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    (root / "Train" / "dark" / "0.png").write_bytes(b"no image")


@pytest.mark.slow
@pytest.mark.usefixtures("no_tvm")
def test_a_run_on_few_images_ends_in_a_bundle(tmp_path: Path) -> None:
    write_images(tmp_path / "data")
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), tmp_path / "t.json")
    flags = ("--data", "folder", "--data-root", tmp_path / "data", "--input-size", 8, "--width", 0.25)
    effort = ("--epochs", 1, "--evaluations", 1, "--retrain-epochs", 1, "--set", "retrain.references=false")
    command = (
        "search",
        *flags,
        *effort,
        "--lut",
        tmp_path / "t.json",
        "--max-latency",
        "70%",
        "--out",
        tmp_path / "run",
    )
    refused = run_cli(*command)
    assert refused.code == 2 and "0.png" in refused.err and "--skip-broken-images" in refused.err
    done = run_cli(*command, "--skip-broken-images", "--json")
    assert done.code == 0, done.err
    assert "not read: 1 unreadable (the first: " in done.err
    assert json.loads(done.out)["validation_score"] is not None  # the images of Val chose it
    bundled = run_cli("export", tmp_path / "run", "-o", tmp_path / "bundle", "--quiet")
    assert bundled.code == 0, bundled.err
    assert (tmp_path / "bundle" / "model.int8.onnx").is_file()


def test_one_image_cannot_be_divided() -> None:
    whole: Split = load_dataset("digits", Path()).train.subset(np.arange(1))
    with pytest.raises(RequestError, match="needs at least two, got 1"):
        whole.divided(0.8, np.random.default_rng(0))
    with pytest.raises(RequestError, match="dividing classes needs at least four, got 1"):
        whole.divided_by_class(0.8, np.random.default_rng(0))
