"""Judging subnets of a trained supernet."""

from hwnas.supernet.evaluation import SupernetEvaluator
from hwnas.supernet.inheritance import inherit_weights

__all__ = ["SupernetEvaluator", "inherit_weights"]
