"""A web page to look at runs: what a folder of runs and tables holds, read and never written."""

from hwnas.ui.site import make_ui_server

__all__ = ["make_ui_server"]
