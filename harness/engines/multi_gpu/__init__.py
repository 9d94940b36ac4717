"""Runs one engine in several processes, one on each GPU, behind a single generator.

Its public face is `fleet.start` and `gpus.shares`.
"""
