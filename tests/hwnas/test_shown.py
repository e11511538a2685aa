"""What the report shows of test images, for every kind of network."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from detectors import grid
from PIL import Image
from torch import nn

from hwnas.artifacts import ShownBox, ShownImage, ShownPredictions, ShownView
from hwnas.augmentation import Augmentation
from hwnas.dataflow import Batches, Dataset, Split
from hwnas.errors import RunError
from hwnas.export.contents import Kind
from hwnas.export.detector import BOX_MODELS, PROOF_IMAGES, Detector
from hwnas.records import as_record
from hwnas.report.classes import class_accuracies, confusion
from hwnas.report.images import image_sections
from hwnas.stages.predictions import agreement, mean_overlap, predictions_of
from hwnas.stages.thumbnails import MOST_PIXELS, mask_png, thumbnail
from onnx_models.box_limits import BoxLimits
from onnx_models.boxes import Boxes
from onnx_models.export import export_module
from search_spaces.point_grid import PointGrid

SIZE, STRIDE, NUM = 32, 8, 20


class Cells(nn.Module):
    """Tells a box of each cell: class 1 where it is bright, half of it being red; class 0 where it is blue."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        cells_NPC = nn.functional.avg_pool2d(x_NCHW, STRIDE).flatten(2).transpose(1, 2)
        logits_NP2 = cells_NPC[:, :, [2, 0]] * 3 - 2
        return torch.cat([torch.ones_like(cells_NPC[:, :, [0, 0, 0, 0]]) * 0.9, logits_NP2], dim=2)


def _data(kind: str, targets_N: torch.Tensor, classes: tuple[str, ...]) -> Dataset:
    shape = (len(targets_N), 3, SIZE, SIZE)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    split = Split(images_NCHW=images, targets_N=targets_N)
    plain = Augmentation()
    return Dataset(
        name="few", classes=classes, train=split, test=split, augmentation=plain, target_kind=cast(Any, kind)
    )


def _predictions(tmp_path: Path, module: nn.Module, dataset: Dataset, kind: Kind, **space: object) -> ShownPredictions:
    export_module(module, tmp_path / "m.onnx", input_shapes=[(1, 3, SIZE, SIZE)])
    task = SimpleNamespace(dataset=dataset, batches=lambda split, size: Batches.of(dataset, split, size))
    found = predictions_of(tmp_path / "m.onnx", cast(Any, task), kind, cast(Any, SimpleNamespace(**space)))
    assert as_record(ShownPredictions, found.as_dict(), tmp_path) == found
    return found


def _opened(png: str) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(png)))


def test_mistakes_of_a_classifier(tmp_path: Path) -> None:
    targets_N = torch.arange(NUM) % 3
    dataset = _data("classes", targets_N, ("a", "<b>", "c"))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 3, SIZE), nn.Flatten()).eval()
    found = _predictions(tmp_path, module, dataset, "classification", ending=None)
    with torch.inference_mode():
        x_NCHW = torch.cat([x for x, _ in Batches.of(dataset, dataset.test, NUM).in_order()])
        shares_NK = module(x_NCHW).softmax(dim=1)
    best_N = shares_NK.argmax(dim=1)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (targets_N.numpy(), best_N.numpy()), 1)
    assert {(a, b): num for a, b, num in found.confusion} == {
        (a, b): expected[a, b] for a in range(3) for b in range(3) if expected[a, b]
    }
    assert found.num_images == NUM and len(found.images) == min(12, int((best_N != targets_N).sum())) > 3
    assert all(image.target.kind != image.prediction.kind for image in found.images)
    scores = [image.score for image in found.images]
    wrong = shares_NK.amax(dim=1)[best_N != targets_N]
    assert scores == pytest.approx(sorted(wrong.tolist(), reverse=True)[: len(scores)], abs=1e-4)
    page = image_sections(found)
    assert page.count("<svg") == len(found.images) and "&lt;b&gt;" in page and "<b><b>" not in page
    picture, table = confusion(found), class_accuracies(found)
    assert picture is not None and table is not None
    assert [layer["type"] for layer in picture.data] == ["heatmap", "heatmap"]
    right, mistaken = (np.array(layer["z"], dtype=float) for layer in picture.data)
    assert np.allclose(np.nansum(right, axis=1) + np.nansum(mistaken, axis=1), 100, atol=0.1)
    assert np.isnan(right[~np.eye(3, dtype=bool)]).all() and np.isnan(np.diag(mistaken)).all()
    for kind in range(3):
        assert f"{expected[kind, kind] / expected[kind].sum():.1%}" in table
    assert "&lt;b&gt;" in table and "<b>" not in table
    assert sum(int(row[2]) for row in picture.rows) == int((best_N != targets_N).sum())


@pytest.mark.parametrize("num_classes", [2, 30, 31, 1000])
def test_confusion_of_few_and_many_classes(num_classes: int) -> None:
    names = tuple(f"class {number}" for number in range(num_classes))
    pairs = tuple((kind, (kind * 7 + 1) % num_classes, kind + 1) for kind in range(num_classes))
    found = ShownPredictions(classes=names, measure="m", num_images=9, confusion=pairs)
    picture = confusion(found)
    assert picture is not None and len(str(picture.data)) < 60_000 and 0 < len(picture.rows) <= 25
    assert picture.data[0]["type"] == ("heatmap" if num_classes <= 30 else "bar")
    if num_classes == 1000:
        assert picture.rows[0][:3] == ("class 999", f"class {(999 * 7 + 1) % 1000}", "1000")
    perfect = replace(found, confusion=tuple((kind, kind, 1) for kind in range(num_classes)))
    assert (confusion(perfect) is not None) == (num_classes <= 30)
    table = class_accuracies(perfect)
    assert table is not None and table.count("100.0%") == 2 * min(num_classes, 30)
    assert confusion(None) is None and class_accuracies(None) is None and image_sections(None) == ""


def test_boxes_of_a_detector(tmp_path: Path) -> None:
    points_P2, strides_P = grid(SIZE // STRIDE, STRIDE)
    points = PointGrid(points_P2=torch.from_numpy(points_P2), strides_P=torch.from_numpy(strides_P))
    targets = torch.tensor([[1.0, 0, 0, 16, 16], [-1, 0, 0, 0, 0]]).repeat(NUM, 1, 1)
    targets[3, 0, 0] = -1.0
    dataset = _data("boxes", targets, ("blue", "red & more"))
    found = _predictions(tmp_path, Cells(), dataset, "detection", point_grid=points)
    groups = [image.group for image in found.images]
    assert groups == ["worst"] * 6 + ["typical"] * 6 and found.num_images == NUM
    worst = [image.score for image in found.images[:6]]
    assert worst == sorted(worst) and all(box.score is None for box in found.images[7].target.boxes)
    page = image_sections(found)
    assert page.count("<svg") == 24 and "F1" in page and "red &amp; more" in page and "<rect" in page
    boxes = sum(len(image.target.boxes) + len(image.prediction.boxes) for image in found.images)
    assert page.count("<rect") == boxes


def test_the_models_that_give_boxes_are_proven_on_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PROOF_IMAGES == 500
    monkeypatch.setattr("hwnas.export.detector.PROOF_IMAGES", 20)
    points_P2, strides_P = grid(SIZE // STRIDE, STRIDE)
    points = PointGrid(points_P2=torch.from_numpy(points_P2), strides_P=torch.from_numpy(strides_P))
    targets = torch.tensor([[[1.0, 0, 0, 16, 16]]]).repeat(23, 1, 1)
    dataset = _data("boxes", targets, ("blue", "red"))
    export_module(Cells(), tmp_path / "model.onnx", input_shapes=[(3, 3, SIZE, SIZE)])
    detector = Detector(folder=tmp_path, grid=points, limits=BoxLimits(), dataset=dataset)
    mean, std = (part.tolist() for part in dataset.channel_statistics())
    detector.write(mean=mean, std=std)
    names = [name for name in BOX_MODELS if (tmp_path / name).exists()]
    assert names == ["model.boxes.onnx", "model.pixels.onnx"]
    for name, parity in detector.proven(names).items():
        assert parity.holds and parity.num_images == 20 and parity.num_boxes > 5 * 20
        assert 0 <= detector.metrics(name)["map"] <= detector.metrics(name)["ap50"] <= 1
    few = torch.tensor([[[1.0, 0, 0, 16, 16]]]).repeat(NUM, 1, 1)
    others = replace(
        detector, dataset=_data("boxes", few, ("blue", "red")), grid=replace(points, points_P2=points.points_P2 + 0.01)
    )
    assert others.parity("model.boxes.onnx").num_unequal == NUM
    with pytest.raises(RunError, match=f"model.boxes.onnx finds other boxes .* on {NUM} of {NUM} test images"):
        others.proven(["model.boxes.onnx"])


def test_masks_of_a_segmentation(tmp_path: Path) -> None:
    masks = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (NUM, SIZE, SIZE)).astype(np.uint8))
    masks[0] = 255
    masks[1, :9] = 255
    dataset = _data("masks", masks, ("sky", "sea", "land"))
    found = _predictions(tmp_path, nn.Conv2d(3, 3, 1), dataset, "segmentation")
    assert len(found.images) == 12 and 0.0 < found.images[0].score < 0.5
    with _opened(found.images[0].prediction.mask) as mask:
        assert mask.size == (SIZE, SIZE) and mask.mode == "P"
    page = image_sections(found)
    assert page.count("<svg") == 24 and page.count('opacity="0.6"') == 24 and page.count("<i style=") == 6
    assert "src=" not in page


def test_pictures_are_small() -> None:
    large = torch.randint(0, 256, (3, 400, 900), dtype=torch.uint8)
    picture = thumbnail(large)
    assert (picture.width, picture.height) == (MOST_PIXELS, round(400 * MOST_PIXELS / 900))
    assert picture.width == pytest.approx(picture.scale * 900) and len(picture.png) < 150_000
    assert thumbnail(large[:1, :20, :20]).scale == 1.0
    mask = torch.zeros(40, 30, dtype=torch.uint8)
    mask[:20], mask[20:30] = 255, 1
    with _opened(mask_png(mask)) as image:
        colours = image.convert("RGBA")
    assert colours.getpixel((3, 3))[3] == 0 and colours.getpixel((3, 25))[3] == 255
    assert colours.getpixel((3, 25)) != colours.getpixel((3, 35))


def test_scores_of_single_images() -> None:
    target = np.array([[0, 0, 0, 10, 10], [1, 20, 20, 30, 30]], np.float32)
    none = np.zeros((0, 5), np.float32)

    def boxes(*rows: tuple[int, float, float, float, float]) -> Boxes:
        values = np.array(rows, np.float32).reshape(-1, 5)
        return Boxes(
            boxes_D4=values[:, 1:], scores_D=np.ones(len(values), np.float32), classes_D=values[:, 0].astype(np.int64)
        )

    assert agreement(boxes(), none) == 1.0 and agreement(boxes(), target) == 0.0
    assert agreement(boxes((0, 0, 0, 10, 10), (1, 20, 20, 30, 30)), target) == 1.0
    assert agreement(boxes((0, 0, 0, 10, 10), (0, 0, 0, 10, 9)), target) == pytest.approx(0.5)  # found once only
    assert agreement(boxes((1, 0, 0, 10, 10)), target) == 0.0 and agreement(boxes((0, 0, 0, 10, 10)), none) == 0.0
    half = torch.tensor([[0, 0], [1, 255]])
    assert mean_overlap(torch.zeros(2, 2, dtype=torch.int64), half, 3) == pytest.approx((2 / 3 + 0) / 2)
    assert mean_overlap(half, half, 3) == 1.0 and mean_overlap(half, torch.full((2, 2), 255), 3) == 1.0


def test_unknown_classes_are_no_record() -> None:
    for part in (
        {"confusion": ((0, 2, 1),)},
        {"images": (ShownImage(**_FIELDS, target=ShownView(kind=5), prediction=ShownView()),)},
        {"images": (ShownImage(**_FIELDS, target=ShownView(), prediction=ShownView(boxes=(_BOX,))),)},
    ):
        with pytest.raises(ValueError, match="expected classes 0 to 1, got"):
            ShownPredictions(classes=("a", "b"), measure="m", num_images=1, **part)  # type: ignore[arg-type]


_FIELDS: dict[str, Any] = {"group": "worst", "png": "", "width": 9, "height": 9, "score": 0.5}
_BOX = ShownBox(kind=2, box=(0, 0, 1, 1))


def test_no_text_becomes_markup() -> None:
    evil = "<script>alert(1)</script>"
    view = ShownView(boxes=(ShownBox(kind=0, box=(0, 0, 1, 1), score=0.5),))
    image = ShownImage(group="worst", png='"/><script>', width=9, height=9, score=0.5, target=view, prediction=view)
    found = ShownPredictions(classes=(evil,), measure=evil, num_images=1, images=(image,))
    assert not re.search("<script", image_sections(found))
