"""Judging: one row, two rows, a family of comparisons, a claim; numbers in, verdicts out, no files but claims."""
