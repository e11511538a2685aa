"""Detection by hand, against slow references, and whether it can be learnt."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ToySpace
from task_samples import GRID, PointSpace, TinyDetector, forward_for, made_agent, targets_for
from torch.nn import functional

from hwnas.agents import DetectionAgent
from hwnas.agents.assignment import LEAST_QUALITY, NUM_POINTS, assigned
from hwnas.agents.average_precision import average_precision
from hwnas.agents.boxes import Detections, generalised_iou, iou, suppressed, suppressed_in_images
from hwnas.agents.teaching import DetectionDistillation
from hwnas.criteria import BinaryCrossEntropy
from hwnas.errors import RequestError
from onnx_models.box_limits import BoxLimits
from search_spaces import SpaceSpec


class PointlessSpace(ToySpace):
    spec = SpaceSpec(name="toy", input_size=8, num_classes=4)


EMPTY = [-1.0, 0.0, 0.0, 0.0, 0.0]


def test_overlaps_by_hand() -> None:
    one, other = torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert float(iou(one, other)) == pytest.approx(1 / 7)
    assert float(generalised_iou(one, other)) == pytest.approx(1 / 7 - 2 / 9)
    apart = torch.tensor([4.0, 0.0, 6.0, 2.0])
    assert float(iou(one, apart)) == 0 and float(generalised_iou(one, apart)) == pytest.approx(-1 / 3)
    assert float(iou(one, one)) == float(generalised_iou(one, one)) == 1
    point = torch.tensor([1.0, 1.0, 1.0, 1.0])
    assert float(iou(point, point)) == 0


@pytest.mark.parametrize("other", [[0.0, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0], [2.0, 2.0, 1.0, 1.0]])
def test_gradients_of_overlaps_with_empty_boxes_are_finite(other: list[float]) -> None:
    box = torch.tensor(other, requires_grad=True)
    generalised_iou(box, torch.tensor([5.0, 5.0, 5.0, 5.0])).backward()
    assert box.grad is not None and torch.isfinite(box.grad).all()


def _slowly_suppressed(
    boxes: torch.Tensor, scores: torch.Tensor, *, min_score: float, max_iou: float, max_boxes: int
) -> list[tuple[float, int, int]]:
    """Score, class and point of each box that is left: class by class, the best first."""
    left = []
    for kind in range(scores.shape[1]):
        order = sorted(range(len(boxes)), key=lambda point: (-float(scores[point, kind]), point))
        kept: list[int] = []
        for point in order:
            is_new = all(float(iou(boxes[point], boxes[other])) <= max_iou for other in kept)
            if float(scores[point, kind]) > min_score and is_new:
                kept.append(point)
        left += [(float(scores[point, kind]), kind, point) for point in kept]
    return sorted(left, key=lambda each: (-each[0], each[2], each[1]))[:max_boxes]


corners = st.tuples(*(st.integers(0, 12) for _ in range(4))).map(
    lambda four: [min(four[0], four[2]), min(four[1], four[3]), max(four[0], four[2]) + 1, max(four[1], four[3]) + 1]
)
points = st.lists(st.tuples(corners, st.tuples(*(st.integers(0, 20) for _ in range(2)))), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(points=points, max_iou=st.sampled_from([0.0, 0.3001, 0.5999, 1.0]), max_boxes=st.integers(1, 8))
def test_suppression_is_that_of_every_class_alone(
    points: list[tuple[list[int], tuple[int, int]]], max_iou: float, max_boxes: int
) -> None:
    boxes, scores = torch.tensor([box for box, _ in points]).float(), torch.tensor([s for _, s in points]) / 20
    limits = {"min_score": 0.11, "max_iou": max_iou, "max_boxes": max_boxes}
    found = suppressed(boxes, scores, BoxLimits(**limits))
    expected = _slowly_suppressed(boxes, scores, **limits)
    assert found[1].tolist() == pytest.approx([score for score, _, _ in expected])
    assert found[2].tolist() == [kind for _, kind, _ in expected]
    assert found[0].tolist() == [boxes[point].tolist() for _, _, point in expected]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_images_of_a_batch_are_suppressed_alone(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first = 20 * torch.rand(3, 30, 2, generator=generator)
    boxes = torch.cat([first, first + 12 * torch.rand(3, 30, 2, generator=generator)], dim=2)
    scores = torch.rand(3, 30, 4, generator=generator) * torch.tensor([1.0, 0.2, 0.0])[:, None, None]
    together = suppressed_in_images(boxes, scores, BoxLimits(max_boxes=20))
    for image in range(3):
        alone = suppressed(boxes[image], scores[image], BoxLimits(max_boxes=20))
        num = len(alone[1])
        for found, expected in zip(together, alone, strict=True):
            assert torch.equal(found[image, :num], expected)
        assert (together.classes_NB[image, num:] == -1).all() and not together.scores_NB[image, num:].any()


def _slowly_assigned(
    scores: torch.Tensor, boxes: torch.Tensor, targets: torch.Tensor, reach: float
) -> dict[int, tuple[int, float]]:
    """Row of the target, and quality, of every point of one image that is to find something."""
    alignment, overlap, wanted = {}, {}, {}
    for row, (kind, *goal) in enumerate(targets.tolist()):
        if kind < 0:
            continue
        box = torch.tensor(goal)
        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        inside = []
        for point, place in enumerate(GRID.points_P2):
            if bool(((place - centre).abs() <= half.clamp(min=reach)).all()):
                overlap[row, point] = float(iou(box, boxes[point]))
                alignment[row, point] = float(scores[point, int(kind)]) * overlap[row, point] ** 6
                inside.append(point)
        for point in sorted(inside, key=lambda p: -alignment[row, p])[:NUM_POINTS]:
            wanted.setdefault(point, []).append(row)
    finds = {point: max(rows, key=lambda row: overlap[row, point]) for point, rows in wanted.items()}
    found = {}
    for point, row in finds.items():
        own = [p for p, r in finds.items() if r == row]
        largest = max(alignment[row, p] for p in own)
        share = alignment[row, point] / largest if largest else 0.0
        found[point] = row, max(LEAST_QUALITY, share * max(overlap[row, p] for p in own))
    return found


def test_assignment_is_that_of_a_loop_over_boxes_and_points() -> None:
    outputs, targets = forward_for("boxes")(255 * torch.rand(6, 1, 8, 8)), targets_for("boxes", 6)
    targets[0] = torch.tensor([[3.0, 2.1, 2.1, 2.9, 2.9], EMPTY, EMPTY])  # smaller than any cell
    targets[1, 2] = torch.tensor([2.0, 0.0, 0.0, 8.0, 8.0])  # around more points than may find it
    scores, boxes = outputs[..., 4:].sigmoid(), GRID.decoded(outputs[..., :4])
    found = assigned(scores, boxes, targets, GRID.points_P2, reach=1.0)
    for image in range(6):
        expected = _slowly_assigned(scores[image], boxes[image], targets[image], reach=1.0)
        assert torch.nonzero(found.classes_NP[image] >= 0)[:, 0].tolist() == sorted(expected)
        for point, (row, quality) in expected.items():
            assert found.classes_NP[image, point] == targets[image, row, 0]
            assert torch.equal(found.boxes_NP4[image, point], targets[image, row, 1:])
            assert float(found.qualities_NP[image, point]) == pytest.approx(quality, rel=1e-4)
    assert set(found.classes_NP[0].tolist()) == {-1, 3}


def test_assignment_by_hand() -> None:
    """The point that finds the box exactly gets quality 1, one that half covers it 1/64 of that times its score."""
    boxes = torch.zeros(1, 20, 4)
    boxes[0, 5], boxes[0, 6] = torch.tensor([2.0, 2.0, 6.0, 4.0]), torch.tensor([2.0, 2.0, 4.0, 4.0])
    targets = torch.tensor([[[1.0, 2.0, 2.0, 6.0, 4.0]]])
    found = assigned(torch.full((1, 20, 2), 0.5), boxes, targets, GRID.points_P2, reach=1.0)
    assert float(found.qualities_NP[0, 5]) == 1 and float(found.qualities_NP[0, 6]) == pytest.approx(1 / 64)
    assert found.scores(2)[0, 5].tolist() == [0, 1]
    torch.testing.assert_close(found.scores(2).sum(dim=2), found.qualities_NP)


def test_the_loss_by_hand() -> None:
    """One image with one box; every point gives the same distances and scores."""
    agent = DetectionAgent(criterion=BinaryCrossEntropy()).for_space(PointSpace())
    outputs = torch.cat([torch.full((1, 20, 4), 1.0), torch.full((1, 20, 1), -2.0)], dim=2)
    targets = torch.tensor([[[0.0, 2.0, 2.0, 6.0, 6.0]]])
    goal = assigned(outputs[..., 4:].sigmoid(), GRID.decoded(outputs[..., :4]), targets, GRID.points_P2, 1.0)
    total = max(1.0, float(goal.qualities_NP.sum()))
    classes = functional.binary_cross_entropy_with_logits(outputs[0, :, 4], goal.qualities_NP[0], reduction="sum")
    misses = [
        float(quality) * (1 - float(generalised_iou(box, goal.boxes_NP4[0, point])))
        for point, (quality, box) in enumerate(
            zip(goal.qualities_NP[0], GRID.decoded(outputs[..., :4])[0], strict=True)
        )
    ]
    assert float(agent.loss(outputs, targets)) == pytest.approx((float(classes) + 2 * sum(misses)) / total, rel=1e-5)


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e4])
@pytest.mark.parametrize("logit", [-100.0, 0.0, 100.0])
def test_gradients_are_finite_whatever_a_network_says(distance: float, logit: float) -> None:
    agent = made_agent("detection")
    outputs = torch.cat([torch.full((4, 20, 4), distance), torch.full((4, 20, 4), logit)], dim=2).requires_grad_()
    loss = agent.loss(outputs, targets_for("boxes", 4))
    loss.backward()
    assert torch.isfinite(loss) and outputs.grad is not None and torch.isfinite(outputs.grad).all()


def test_half_precision_loses_little() -> None:
    agent, outputs = made_agent("detection"), forward_for("boxes")(255 * torch.rand(6, 1, 8, 8))
    halved, targets = outputs.bfloat16(), targets_for("boxes", 6)
    assert float(agent.loss(halved, targets)) == pytest.approx(float(agent.loss(halved.float(), targets)))


def test_teachers_boxes_count_where_they_see_something() -> None:
    teacher = torch.full((1, 20, 8), 1.0)
    teacher[..., 4:] = -20.0
    teacher[0, 3, 5] = 5.0
    unseen, seen = teacher.clone(), teacher.clone()
    unseen[0, 7, :4], seen[0, 3, :4] = 3.0, 3.0
    distillation = DetectionDistillation()
    assert float(distillation(unseen, teacher)) == pytest.approx(0.0, abs=1e-6)
    expected = 2 * (1 - 1 / 9) * float(torch.sigmoid(torch.tensor(5.0)))
    assert float(distillation(seen, teacher)) == pytest.approx(expected, rel=1e-4)


def _found(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, classes = zip(*rows, strict=True)
    return Detections(torch.tensor([boxes]), torch.tensor([scores]), torch.tensor([classes]))


def test_average_precision_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    square = [0.0, 0.0, 10.0, 10.0]
    targets = [torch.tensor([[[1.0, *square], [1.0, 20.0, 20.0, 30.0, 30.0], EMPTY]])]
    both = _found((square, 0.9, 1), ([20.0, 20.0, 30.0, 30.0], 0.8, 1))
    assert average_precision([both], targets) == pytest.approx((1.0, 1.0))
    # Recall 0.5 at precision 1: 51 of the 101 recalls that are looked at.
    assert average_precision([_found((square, 0.9, 1))], targets) == pytest.approx((51 / 101, 51 / 101))
    # IoU 0.72 holds at the first five of the ten thresholds; the other box is of a class that no image shows.
    low = _found(([0.0, 0.0, 10.0, 7.2], 0.9, 1), (square, 0.95, 0))
    assert average_precision([low], targets) == pytest.approx((51 / 101 / 2, 51 / 101))
    # A better score for what is nothing halves the precision.
    wrong = _found(([40.0, 40.0, 50.0, 50.0], 0.99, 1), (square, 0.9, 1))
    assert average_precision([wrong], targets) == pytest.approx((51 / 101 / 2, 51 / 101 / 2))
    assert capsys.readouterr() == ("", "")


def test_average_precision_is_of_classes_alike_and_of_all_batches() -> None:
    square = [0.0, 0.0, 10.0, 10.0]
    targets = [torch.tensor([[[0.0, *square]]]), torch.tensor([[[2.0, *square]]]), torch.tensor([[EMPTY]])]
    right, nothing = _found((square, 0.9, 0)), Detections(torch.zeros(1, 0, 4), torch.zeros(1, 0), torch.zeros(1, 0))
    assert average_precision([right, nothing, nothing], targets) == pytest.approx((0.5, 0.5))
    assert average_precision([right], [torch.tensor([[EMPTY]])]) == (0.0, 0.0)


def test_batches_divided_otherwise_have_the_same_metrics() -> None:
    agent, images = made_agent("detection"), 255 * torch.rand(6, 1, 8, 8)
    targets, forward = targets_for("boxes", 6), forward_for("boxes")
    whole = agent.metrics(forward, [(images, targets)])
    parts = agent.metrics(forward, [*zip(images.split(1), targets.split(1), strict=True)])
    assert parts == pytest.approx(whole, rel=1e-5)


def test_a_space_must_say_where_its_points_are() -> None:
    agent = DetectionAgent()
    with pytest.raises(RequestError, match="give your own a point_grid"):
        agent.for_space(PointlessSpace())
    with pytest.raises(ValueError, match="points first"):
        agent.loss(torch.zeros(1, 20, 5), torch.tensor([[EMPTY]]))
    assert agent.for_space(PointSpace()).point_grid is GRID


def _squares(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images of 32 pixels with a bright and a dark square each, and their boxes."""
    generator = torch.Generator().manual_seed(0)
    images, targets = 0.3 * torch.randn(num, 3, 32, 32, generator=generator), torch.zeros(num, 2, 5)
    for image in range(num):
        for kind in range(2):
            side = int(torch.randint(6, 13, (), generator=generator))
            x = int(torch.randint(0, 32 - side, (), generator=generator))
            y = 16 * kind + int(torch.randint(0, 17 - side, (), generator=generator))
            images[image, :, y : y + side, x : x + side] += 2 - 4 * kind
            targets[image, kind] = torch.tensor([kind, x, y, x + side, y + side])
    return images, targets


def test_a_small_network_learns_eight_images_by_heart() -> None:
    torch.manual_seed(0)
    images, targets = _squares(8)
    network, agent = TinyDetector(), DetectionAgent(point_grid=TinyDetector.grid)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    before = agent.metrics(network.eval(), [(images, targets)])
    network.train()
    for _ in range(80):
        optimizer.zero_grad()
        agent.loss(network(images), targets).backward()
        optimizer.step()
    after = agent.metrics(network.eval(), [(images, targets)])
    assert before["map"] < 0.1 and after["map"] > 0.5 and after["ap50"] >= after["map"]
    assert after["exp_minus_loss"] > before["exp_minus_loss"]
    assert math.isclose(after["exp_minus_loss"], agent.search_score(network, [(images, targets)]), rel_tol=1e-6)
