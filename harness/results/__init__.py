"""Read and write stored files: entries, completions, records and board folders, with their git history.

Start with `entry.Entry` (a stored result), `entries` (its files) and `board.Board` (a folder of entries).
"""
