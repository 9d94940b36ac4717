"""Turns a recipe into a candidate and merges its weights.

Its public face is `recipes.read`, `train` and `merging`.
"""
