"""Block families, one a module."""
