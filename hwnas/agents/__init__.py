"""Training agents: what a task's loss and its measure of success are."""

from __future__ import annotations

from hwnas.agents.agent import Forward, TrainingAgent, score_of
from hwnas.agents.classification import ClassificationAgent
from hwnas.agents.verification import VerificationAgent

TASKS: dict[str, type[TrainingAgent]] = {"classification": ClassificationAgent, "verification": VerificationAgent}
"""Training agents by the task's name."""

__all__ = ["TASKS", "ClassificationAgent", "Forward", "TrainingAgent", "VerificationAgent", "score_of"]
