"""Declares the command-line arguments of every command.

Its public face is one function for each command, which `commands.table` names.
"""
