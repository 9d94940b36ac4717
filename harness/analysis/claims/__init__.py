"""Judge claims that were written down before their rows existed.

Start with `claims_file`, which reads a file of claims, and `judge`, which decides each of them.
"""
