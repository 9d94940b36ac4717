"""Compares stored completions with lm-eval's own judgements of them.

Its public face is one module for each tool; only commands import it.
"""
