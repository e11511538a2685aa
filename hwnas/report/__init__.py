"""A run as one page that explains itself, without a network."""

from hwnas.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
