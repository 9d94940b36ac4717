"""Reads and writes the files that stay: entries, completions, records and board folders, with their git history.

Its public face is `entry.Entry`, `entries` for files and `board.Board` for a folder.
"""
