"""Compute outcomes from numbers: statistics, comparisons of two rows, corrections for many tests, and claims.

Start with `compare`, `statistics` and `claims`. Nothing here renders text.
"""
