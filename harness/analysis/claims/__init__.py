"""Judges claims that were written down before their rows existed.

Its public face is `claims_file` to read a file of claims and `judge` to decide each of them.
"""
