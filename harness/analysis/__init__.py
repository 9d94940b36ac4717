"""Computes outcomes from numbers: statistics, comparisons of two rows, corrections for many tests, and claims.

Its public face is `compare`, `statistics` and `claims`; it renders nothing.
"""
