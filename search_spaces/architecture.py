"""The architecture: what is chosen in every decision of a search space."""

Architecture = tuple[int, ...]
"""One choice index per decision."""
