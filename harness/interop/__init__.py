"""Reads and writes the formats of other tools: lm-eval and the Hugging Face hub.

Its public face is one module for each format; only commands import it.
"""
