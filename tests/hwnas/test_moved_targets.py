"""Boxes and masks follow their images through every change; images with a class each are changed as ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hwnas.dataflow import Augmentation, Batches, Dataset, Split
from hwnas.dataflow.augmentation import COLOURS, WARPS, augmented, operation_move
from hwnas.dataflow.geometry import Move, flip, shift, warp
from hwnas.dataflow.targets import BORDER, IGNORED, KINDS, LEAST_VISIBLE, NO_BOX
from hwnas.errors import RequestError

HEIGHT, WIDTH = 24, 32
WINDOW = torch.tensor([0.0, 0.0, WIDTH, HEIGHT])

CHANGES: Mapping[str, Augmentation] = MappingProxyType(
    {
        "flip": Augmentation(flip=True),
        "shift": Augmentation(shift=5),
        "crop": Augmentation(crop=0.3),
        "scale": Augmentation(scale=0.5),
        "mosaic": Augmentation(mosaic=0.7),
        "colour": Augmentation(colour=0.2),
    }
)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _painted(seed: int, num: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images with a box each, and these; what is within the box of image i is white in channel i alone."""
    generator = _generator(seed)
    images = torch.zeros(num, num, HEIGHT, WIDTH, dtype=torch.uint8)
    boxes = torch.zeros(num, 2, 5)
    boxes[:, 1, 0] = NO_BOX
    for i in range(num):
        x1, x2 = torch.randint(0, WIDTH - 5, (2,), generator=generator).sort().values + torch.tensor([0, 6])
        y1, y2 = torch.randint(0, HEIGHT - 5, (2,), generator=generator).sort().values + torch.tensor([0, 6])
        x2, y2 = x2.clamp(max=WIDTH), y2.clamp(max=HEIGHT)
        images[i, i, y1:y2, x1:x2] = 255
        boxes[i, 0] = torch.stack([torch.tensor(i), x1, y1, x2, y2]).float()
    return images, boxes


def _bounds(channel_HW: torch.Tensor) -> torch.Tensor:
    """Return x1, y1, x2, y2 of what is white."""
    rows, columns = torch.nonzero(channel_HW > 127, as_tuple=True)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in ("mosaic", "colour")])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_boxes_stay_around_what_they_hold(name: str, seed: int) -> None:
    images, boxes = _painted(seed)
    found, moved = augmented(images, boxes, CHANGES[name], _generator(seed), kind="boxes")
    KINDS["boxes"].require(moved, num_classes=len(images), size=(HEIGHT, WIDTH))
    for i, (image, box) in enumerate(zip(found, moved[:, 0], strict=True)):
        seen = image[i]
        if box[0] == i and (box[3:] - box[1:3] >= 2).all():  # of thinner ones no pixel may be left
            torch.testing.assert_close(_bounds(seen), box[1:], atol=1.01, rtol=0)
        elif box[0] == NO_BOX:
            before = (boxes[i, 0, 3:] - boxes[i, 0, 1:3]).prod()
            enlarged = 4  # by a scale of 1.5, or a crop of 0.3
            assert (seen > 127).sum() <= LEAST_VISIBLE * before * enlarged + 2 * (HEIGHT + WIDTH)


@pytest.mark.parametrize("name", sorted(WARPS))
@given(strength=st.floats(-0.6, 0.6), seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_boxes_are_the_bounds_of_turned_and_sheared_ones(name: str, strength: float, seed: int) -> None:
    images, boxes = _painted(seed)
    move = operation_move(name, torch.full((4,), strength), height=HEIGHT, width=WIDTH)
    found, corners = move.pixels(images, 0, "bilinear"), move.corners(boxes[:, :, 1:])[:, 0]
    is_inside = (corners[:, :2] >= 1).all(dim=1) & (corners[:, 2:] <= WINDOW[2:] - 1).all(dim=1)
    assume(is_inside.any())
    for i in torch.nonzero(is_inside)[:, 0].tolist():
        # The tip of a turned corner may fill less than half of a pixel.
        torch.testing.assert_close(_bounds(found[i, i]), corners[i], atol=2.0, rtol=0)


@given(seed=st.integers(0, 10_000), portion=st.sampled_from([0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_mosaics_hold_boxes_of_four_images(seed: int, portion: float) -> None:
    images, boxes = _painted(seed)
    found, moved = augmented(images, boxes, Augmentation(mosaic=portion), _generator(seed), kind="boxes")
    KINDS["boxes"].require(moved, num_classes=len(images), size=(HEIGHT, WIDTH))
    assert moved.shape[1] <= 4
    for image, rows in zip(found, moved, strict=True):
        for class_, x1, y1, x2, y2 in rows[rows[:, 0] != NO_BOX].tolist():
            within = image[int(class_), round(y1) + 1 : round(y2) - 1, round(x1) + 1 : round(x2) - 1]
            assert (within > 127).all()  # white throughout, one pixel from the edge


def test_a_mosaic_of_all_images_covers_its_canvas_and_of_none_changes_nothing() -> None:
    images = torch.full((8, 3, HEIGHT, WIDTH), 200, dtype=torch.uint8)
    masks = torch.ones(8, HEIGHT, WIDTH, dtype=torch.uint8)
    found, moved = augmented(images, masks, Augmentation(mosaic=1.0), _generator(0), kind="masks")
    assert (found == 200).all() and (moved == 1).all()
    images, boxes = _painted(5)
    none = augmented(images, boxes, Augmentation(mosaic=1e-9), _generator(0), kind="boxes")
    assert torch.equal(none[0], images) and torch.equal(none[1], boxes[:, :1])


@pytest.mark.parametrize("name", sorted(CHANGES))
@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_masks_follow_their_images(name: str, seed: int) -> None:
    """A mask is nearest to what a bilinear image shows: a quarter of a corner's pixel is the least it can differ by."""
    images, _ = _painted(seed)
    white = images.amax(dim=1, keepdim=True)
    masks = (white[:, 0] > 0).to(torch.uint8)
    found, moved = augmented(white, masks, CHANGES[name], _generator(seed), kind="masks")
    assert moved.dtype == torch.uint8 and moved.shape == masks.shape
    assert (found[:, 0][moved == 1] >= 50).all() and (found[:, 0][moved == 0] <= 205).all()
    assert ((found[:, 0][moved == IGNORED].int() - BORDER).abs() <= 72).all()


@pytest.mark.parametrize(
    "move",
    [
        shift(torch.tensor([0, 2, 7]), torch.tensor([4, 1, 0]), margin=4),
        flip(torch.tensor([True, False, True]), width=WIDTH),
        warp(torch.tensor([[[0.5, 0.1, 0.2], [-0.2, 0.8, -0.1]]]).repeat(3, 1, 1), height=HEIGHT, width=WIDTH),
    ],
    ids=["shift", "flip", "warp"],
)
def test_a_move_of_points_is_the_move_of_pixels(move: Move) -> None:
    """A bright pixel is found where its centre is moved to."""
    images = torch.zeros(3, 1, HEIGHT, WIDTH, dtype=torch.uint8)
    images[:, 0, 11:14, 15:18] = 255
    found = move.pixels(images, 0, "bilinear").double()[:, 0]
    centre = move.matrix_N23.double() @ torch.tensor([16.5, 12.5, 1.0], dtype=torch.float64)
    weight = found.sum(dim=(1, 2))
    x = (found.sum(dim=1) * (torch.arange(WIDTH) + 0.5)).sum(dim=1) / weight
    y = (found.sum(dim=2) * (torch.arange(HEIGHT) + 0.5)).sum(dim=1) / weight
    torch.testing.assert_close(torch.stack([x, y], dim=1), centre, atol=0.15, rtol=0)


RECORDED = [
    (Augmentation(shift=2, flip=True), "b2f638bd82b1405f", 606220, 588712, 1879603694),
    (Augmentation(shift=2, flip=True, cutout=4), "a3670db5f139b0d4", 605884, 605764, 202873313),
    (Augmentation(crop=0.2, flip=True), None, 741289, 712759, 202873313),
    (Augmentation(operations=2, magnitude=0.6), None, 591255, 645930, 1938096892),
    (
        Augmentation(crop=0.3, shift=1, flip=True, operations=3, magnitude=0.5, cutout=3),
        None,
        500143,
        634261,
        190146164,
    ),
]
"""Digest, sum, a sum that the order changes, and next random number, of the code before there were boxes."""


@pytest.mark.parametrize(("changes", "digest", "total", "weighted", "following"), RECORDED)
def test_images_of_classes_are_changed_as_before(
    changes: Augmentation, digest: str | None, total: int, weighted: int, following: int
) -> None:
    images = torch.randint(0, 256, (16, 3, 12, 10), generator=_generator(3)).to(torch.uint8)
    generator, targets = _generator(7), torch.arange(16)
    found, same = augmented(images, targets, changes, generator)
    assert int(torch.randint(2**31, (1,), generator=generator)) == following
    assert torch.equal(same, targets)
    scattered = found.long() * torch.arange(found.numel()).view(found.shape) % 251
    rounding = 0 if digest else 40  # of warps, which other processors compute a bit differently
    assert abs(int(found.long().sum()) - total) <= rounding
    assert abs(int(scattered.sum()) - weighted) <= rounding * 251
    if digest:
        assert hashlib.sha256(found.contiguous().numpy().tobytes()).hexdigest().startswith(digest)


def _dataset(kind: str, targets: torch.Tensor, **changes: float) -> Dataset:
    images = torch.zeros(len(targets), 3, HEIGHT, WIDTH, dtype=torch.uint8)
    split = Split(images_NCHW=images, targets_N=targets)
    augmentation = Augmentation(**changes)  # type: ignore[arg-type]
    return Dataset(
        name="t",
        classes=("a", "b", "c", "d"),
        train=split,
        test=split,
        augmentation=augmentation,
        target_kind=kind,  # type: ignore[arg-type]
    )


MASKS = torch.zeros(4, HEIGHT, WIDTH, dtype=torch.uint8)
BOXES = torch.tensor([[[1.0, 2, 3, 20, 12], [-1, 0, 0, 0, 0]]]).repeat(4, 1, 1)


@pytest.mark.parametrize(
    ("kind", "targets", "words"),
    [
        ("boxes", BOXES * torch.tensor([9.0, 1, 1, 1, 1]), "classes of boxes must be 0 to 3"),
        ("boxes", BOXES * torch.tensor([1.0, 1, 1, 2, 1]), "within 32x24 pixels"),
        ("boxes", BOXES[:, :, [0, 3, 2, 1, 4]], "must have an area"),
        ("boxes", BOXES.log(), "must be finite"),
        ("boxes", BOXES.double(), r"must be float32 \[N, M, 5\]"),
        ("masks", MASKS + 4, "must hold 0 to 3, or 255"),
        ("masks", MASKS[:, :5], r"must be uint8 \[N, 24, 32\]"),
        ("classes", BOXES, "must be int64"),
    ],
)
def test_wrong_targets_are_refused(kind: str, targets: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _dataset(kind, targets)


@pytest.mark.parametrize(("kind", "targets"), [("boxes", BOXES), ("masks", MASKS)])
def test_what_needs_a_class_per_image_is_refused_with_other_targets(kind: str, targets: torch.Tensor) -> None:
    dataset, rng = _dataset(kind, targets), np.random.default_rng(0)
    for work in (
        lambda: dataset.train.divided_by_class(0.5, rng),
        lambda: dataset.train.numbered_anew(),
        lambda: dataset.holding_out_classes(0.5, rng),
        lambda: Batches.of(dataset, dataset.train, 2, images_per_class=2),
    ):
        with pytest.raises(RequestError, match="needs a class per image, found boxes or masks"):
            work()
    first, second = dataset.train.divided(0.5, rng)
    assert len(first) == len(second) == 2 and len(dataset.train.limited(3, rng)) == 3
    with pytest.raises(RequestError, match=r"set augmentation.cutout to 0"):
        _dataset(kind, targets, cutout=3)
    with pytest.raises(RequestError, match=r"set augmentation.random_erasing to 0"):
        _dataset(kind, targets, random_erasing=0.5)


def test_a_mosaic_of_classes_is_refused() -> None:
    with pytest.raises(RequestError, match=r"set augmentation.mosaic to 0"):
        _dataset("classes", torch.arange(4), mosaic=0.5)


def test_resizing_takes_targets_along() -> None:
    boxes = _dataset("boxes", BOXES).resized((48, 16))
    assert boxes.train.targets_N[0].tolist() == [[1, 1, 6, 10, 24], [-1, 0, 0, 0, 0]]
    masks = MASKS.clone()
    masks[:, :12, 16:] = 2
    halved = _dataset("masks", masks).resized((12, 16)).train.targets_N
    assert halved.shape == (4, 12, 16) and (halved[:, :6, 8:] == 2).all() and halved.sum() == 4 * 48 * 2
    assert boxes.classes_of(boxes.train).tolist() == [1]


def test_boxes_of_whole_images_stay_within_at_every_size() -> None:
    whole = _dataset("boxes", torch.tensor([[[1.0, 0, 0, WIDTH, HEIGHT]]]))
    for side in range(1, 60):
        resized = whole.resized((side, 3 * side))
        torch.testing.assert_close(resized.train.targets_N[0, 0], torch.tensor([1.0, 0, 0, 3 * side, side]))


def test_batches_move_boxes_along_and_leave_them_in_order() -> None:
    dataset = _dataset("boxes", BOXES, flip=True)
    shuffled = [targets for _, targets in Batches.of(dataset, dataset.train, 4).shuffled(_generator(1))]
    found = {tuple(row) for row in shuffled[0][:, 0].tolist()}
    assert found == {(1.0, 2.0, 3.0, 20.0, 12.0), (1.0, 12.0, 3.0, 30.0, 12.0)}
    assert torch.equal(next(iter(Batches.of(dataset, dataset.train, 4).in_order()))[1], BOXES)


@pytest.mark.parametrize("name", sorted(COLOURS))
def test_changes_of_colour_move_nothing(name: str) -> None:
    images, _ = _painted(0)
    changed = COLOURS[name](images[:, :3], torch.full((4,), 0.3))
    assert changed.shape == images[:, :3].shape and changed.dtype == torch.uint8
