"""What the rest asks of tasks: their data, criteria, networks and predictions, or why they cannot be had."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from task_samples import GRID, PointSpace, TinyDetector, dataset_for, made_agent, targets_for
from torch import nn

from hwnas.agents import TASKS, DetectionAgent
from hwnas.config import DataConfig, TrainingConfig
from hwnas.criteria import SmoothedCrossEntropy, Varifocal
from hwnas.errors import RequestError
from hwnas.evaluators.zero_cost import PROXIES
from hwnas.export.accuracy import NoAccuracyError, accuracy
from hwnas.stages.data import prepare_data
from hwnas.training.randomness import numpy_rng
from hwnas.training.task import LearningTask, require_trainable
from onnx_models.export import export_module
from onnx_models.parity import parity_of
from onnx_models.torch_parity import compare_with_onnx


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("kind", ["classes", "boxes", "masks"])
def test_data_of_another_kind_are_refused_and_the_tasks_for_them_named(task: str, kind: str) -> None:
    prepare = partial(prepare_data, dataset_for(kind), DataConfig(name="toy"), TASKS[task])
    suitable = [name for name, each in TASKS.items() if each.target_kind == kind]
    if task == "verification" and kind == "classes":
        with pytest.raises(RequestError, match="holding out classes needs at least six"):
            prepare(partial(numpy_rng, 0), task_name=task)
    elif task in suitable:
        prepare(partial(numpy_rng, 0), task_name=task)
    else:
        wanted = TASKS[task].target_kind
        with pytest.raises(RequestError, match=f"{task} learns from {wanted}, toy has {kind}: .* --task {suitable[0]}"):
            prepare(partial(numpy_rng, 0), task_name=task)


@pytest.mark.parametrize(("kind", "task", "nothing"), [("boxes", "detection", -1), ("masks", "segmentation", 255)])
def test_data_that_show_no_class_are_refused(kind: str, task: str, nothing: int) -> None:
    dataset = dataset_for(kind)
    targets_N = torch.full_like(dataset.test.targets_N, nothing)
    if kind == "boxes":
        targets_N[..., 1:] = 0
    empty = replace(dataset, test=replace(dataset.test, targets_N=targets_N))
    with pytest.raises(RequestError, match=rf"no image of toy \(test\) shows any of the classes: expected {kind}"):
        prepare_data(empty, DataConfig(name="toy"), TASKS[task], partial(numpy_rng, 0), task_name=task)


@pytest.mark.parametrize(
    ("task", "criterion"),
    [
        ("detection", "cross-entropy"),
        ("detection", "focal"),
        ("detection", "arcface"),
        ("segmentation", "arcface"),
        ("segmentation", "triplet"),
    ],
)
def test_criteria_that_make_no_sense_for_a_task_are_refused(task: str, criterion: str) -> None:
    config = TrainingConfig(epochs=1, criterion=criterion)
    with pytest.raises(RequestError, match=f"criterion {criterion} is not for {task}: take binary-cross-entropy, "):
        require_trainable(config, TASKS[task], task_name=task)
    require_trainable(TrainingConfig(epochs=1), TASKS[task], task_name=task)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_batches_of_so_many_images_a_class_need_images_with_one_class(task: str) -> None:
    config = TrainingConfig(epochs=1, images_per_class=4)
    with pytest.raises(RequestError, match=f"images_per_class is for tasks whose images have one class each, {task}"):
        require_trainable(config, TASKS[task], task_name=task)
    require_trainable(config, TASKS["classification"], task_name="classification")


@pytest.mark.parametrize(("task", "criterion"), [("detection", Varifocal), ("segmentation", SmoothedCrossEntropy)])
def test_agents_are_made_for_the_space_with_the_tasks_own_criterion(task: str, criterion: type) -> None:
    dataset = dataset_for(TASKS[task].target_kind)
    learning = LearningTask(agent_class=TASKS[task], space=PointSpace(), dataset=dataset, seed=0)
    training = learning.training_inputs(TrainingConfig(epochs=1, batch_size=10), dataset.train)
    for agent in (learning.agent, learning.test_agent, training.agent):
        assert isinstance(agent, TASKS[task]) and isinstance(agent.criterion, criterion)
        assert not isinstance(agent, DetectionAgent) or agent.point_grid is GRID
    own = learning.training_inputs(TrainingConfig(epochs=1, criterion="quality-focal"), dataset.train)
    assert own.criterion is own.agent.criterion and not isinstance(own.criterion, criterion)


@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_proxies_score_detectors(proxy: str) -> None:
    torch.manual_seed(0)
    x_NCHW = torch.randn(4, 3, 32, 32)
    agent = DetectionAgent(point_grid=TinyDetector.grid)
    targets = targets_for("boxes", 4)
    targets[..., 0].clamp_(max=1)
    assert np.isfinite(PROXIES[proxy](TinyDetector(), x_NCHW, targets, agent.loss))


def test_models_predict_the_same_where_points_have_the_same_class() -> None:
    agent = made_agent("detection")
    expected = np.zeros((1, 20, 8), dtype=np.float32)
    expected[..., 4] = 1.0
    found = expected.copy()
    found[0, 3, 7] = 2.0
    found[..., :4] = 9.0  # distances are no predictions
    said = parity_of([(expected, found)], lambda values: agent.predictions(torch.from_numpy(values)).numpy())
    assert said.equal_predictions == pytest.approx(19 / 20) and said.num_images == 1


def test_parity_of_a_detector_counts_its_points(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = TinyDetector().eval(), tmp_path / "m.onnx"
    export_module(network, path, input_shapes=[(1, 3, 32, 32)], dynamic_batch=True)
    dataset = dataset_for("boxes")
    learning = LearningTask(agent_class=DetectionAgent, space=PointSpace(), dataset=dataset, seed=0)
    batches = [(torch.randn(4, 3, 32, 32), torch.zeros(4))]
    parity = compare_with_onnx(network, path, batches, learning.predictions)
    assert parity.holds and parity.num_images == 4


def test_the_accuracy_of_a_model_is_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export_module(nn.Flatten(), path, input_shapes=[(1, 1, 8, 8)])
    with pytest.raises(NoAccuracyError, match="toy has boxes, expected a class for each image"):
        accuracy(path, None, dataset_for("boxes"))
