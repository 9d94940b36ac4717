"""Weights on disk: find them, read them, convert them, fold adapters into them, and prove what was written."""
