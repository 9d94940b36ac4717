"""Holds one module for each group of commands: its options, and the function that runs it.

Its public face is `table.COMMANDS`; `baseline_bench.cli` imports a command's module when the command runs.
"""
