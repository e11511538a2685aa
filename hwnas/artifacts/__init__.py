"""The records that the stages of a run hand on, each checked when it is made and when it is read."""

from __future__ import annotations

from hwnas.artifacts.attempt import Decision, MissedWinner, NearestNetwork
from hwnas.artifacts.deployment import DeployedModel, Deployment, PairedChange, Recommendation, Suppression
from hwnas.artifacts.exported import Exported, ExportedNetwork
from hwnas.artifacts.fleet import DeviceLatency, DeviceSummary
from hwnas.artifacts.found import (
    ORIGINAL,
    REFERENCES,
    WINNER,
    FoundNetwork,
    FurtherNetworks,
    MeasuredFinalist,
    SearchOutcome,
)
from hwnas.artifacts.mixed import AssignedPrecisions, MixedPrecision
from hwnas.artifacts.proxies import ProxyValues
from hwnas.artifacts.shown import ShownBox, ShownImage, ShownPredictions, ShownView
from hwnas.artifacts.speed import TimedTable
from hwnas.artifacts.summary import NetworkSummary, Summary, duplicate_names
from hwnas.artifacts.times import RunTimes
from hwnas.artifacts.trained import RetrainedNetwork, TrainedSupernet

__all__ = [
    "ORIGINAL",
    "REFERENCES",
    "WINNER",
    "AssignedPrecisions",
    "Decision",
    "DeployedModel",
    "Deployment",
    "DeviceLatency",
    "DeviceSummary",
    "Exported",
    "ExportedNetwork",
    "FoundNetwork",
    "FurtherNetworks",
    "MeasuredFinalist",
    "MissedWinner",
    "MixedPrecision",
    "NearestNetwork",
    "NetworkSummary",
    "PairedChange",
    "ProxyValues",
    "Recommendation",
    "RetrainedNetwork",
    "RunTimes",
    "SearchOutcome",
    "ShownBox",
    "ShownImage",
    "ShownPredictions",
    "ShownView",
    "Summary",
    "Suppression",
    "TimedTable",
    "TrainedSupernet",
    "duplicate_names",
]
