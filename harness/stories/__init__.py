"""One story a file: what a command does, step by step; `harness/bench.py` has those that train and score."""
