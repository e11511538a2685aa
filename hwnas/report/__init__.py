"""A run as one page that explains itself, without a network."""

from hwnas.report.facts import Facts, Subject
from hwnas.report.page import render
from hwnas.report.tensorboard import write_events

__all__ = ["Facts", "Subject", "render", "write_events"]
