"""Training agents: what a task's loss and its measure of success are."""

from __future__ import annotations

from hwnas.agents.agent import Batch, Forward, TrainingAgent, score_of
from hwnas.agents.classification import ClassificationAgent
from hwnas.agents.detection import DetectionAgent
from hwnas.agents.segmentation import SegmentationAgent
from hwnas.agents.verification import VerificationAgent

TASKS: dict[str, type[TrainingAgent]] = {
    "classification": ClassificationAgent,
    "detection": DetectionAgent,
    "segmentation": SegmentationAgent,
    "verification": VerificationAgent,
}
"""Training agents by the task's name."""

__all__ = [
    "TASKS",
    "Batch",
    "ClassificationAgent",
    "DetectionAgent",
    "Forward",
    "SegmentationAgent",
    "TrainingAgent",
    "VerificationAgent",
    "score_of",
]
