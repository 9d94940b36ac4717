"""Holds one module for each command: its `Options`, and `run`, the function that runs it.

Start at `COMMANDS` in `baseline_bench.cli`, which imports a command's module when the command runs.
"""
