"""A run: its folder, its configuration, and the order of its stages.

Stages are functions from records to a record. Only this package knows where their inputs come from, and where the
results are kept: `run.Run` is one run, and `order.run_stages` works through its stages.
"""
