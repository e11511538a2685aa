"""Average precision of detections as the COCO benchmark has it (Lin et al. 2014), by its own library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch

from hwnas.agents.boxes import Detections
from onnx_models.box_limits import USUAL_LIMITS


def average_precision(found: Sequence[Detections], targets: Sequence[torch.Tensor]) -> tuple[float, float]:
    """Return the mean average precision over IoU 0.5 to 0.95, and that at 0.5, both over classes and in 0 to 1.

    Classes that no image shows are left out; where there is no box at all, both are 0.

    Args:
        found: of batches of images.
        targets: [N, M, 5] of the same batches: class and box; class -1 for none.
    """
    with redirect_stdout(io.StringIO()):  # the library tells its progress
        return _evaluated(_rows(found), [box for batch in targets for box in batch])


def _rows(found: Sequence[Detections]) -> list[dict[str, object]]:
    """Return all boxes that were found as the library takes them."""
    rows: list[dict[str, object]] = []
    first = 0
    for boxes_NB4, scores_NB, classes_NB in found:
        for image, place in torch.nonzero(classes_NB >= 0).tolist():
            row = _annotation(boxes_NB4[image, place], int(classes_NB[image, place]), first + image, len(rows))
            row["score"] = float(scores_NB[image, place])
            rows.append(row)
        first += len(classes_NB)
    return rows


def _annotation(box_4: torch.Tensor, kind: int, image: int, num_before: int) -> dict[str, object]:
    x1, y1, x2, y2 = box_4.tolist()
    width, height = x2 - x1, y2 - y1
    return {
        "id": num_before + 1,  # the library takes 0 for "not matched"
        "image_id": image,
        "category_id": kind,
        "bbox": [x1, y1, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _evaluated(rows: list[dict[str, object]], targets: Sequence[torch.Tensor]) -> tuple[float, float]:
    from pycocotools.cocoeval import COCOeval as Evaluator  # that other tasks need not wait for

    wanted: list[dict[str, object]] = []
    for image, boxes_M5 in enumerate(targets):
        for row in boxes_M5[boxes_M5[:, 0] >= 0]:
            wanted.append(_annotation(row[1:], int(row[0]), image, len(wanted)))
    if not wanted:
        return 0.0, 0.0
    evaluator = Evaluator(_indexed(wanted, len(targets)), _indexed(rows, len(targets)), "bbox")
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, np.inf]], ["all"]
    evaluator.params.maxDets = [USUAL_LIMITS.max_boxes]
    evaluator.evaluate()
    evaluator.accumulate()
    precision_TRK = evaluator.eval["precision"][..., 0, 0]  # by threshold, recall and class that some image shows
    return float(precision_TRK.mean()), float(precision_TRK[0].mean())


def _indexed(annotations: list[dict[str, object]], num_images: int) -> Any:
    """Return boxes as the library's own record of a data set."""
    from pycocotools.coco import COCO

    classes = sorted({row["category_id"] for row in annotations}, key=str)
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": image} for image in range(num_images)],
        "categories": [{"id": kind} for kind in classes],
        "annotations": annotations,
    }
    dataset.createIndex()
    return dataset
