"""Trains a candidate from a recipe and merges its weights.

Its public face is `recipes.read_recipe`, `train` and `merging`.
"""
