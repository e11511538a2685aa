"""Bundles that people ship, and the comparison of any models side by side."""
