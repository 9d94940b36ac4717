"""Renders everything that a person looks at: boards, tables, plots, claims and comments, the same bytes each time.

Its public face is `leaderboard.write`, `comment.render` and `comparison_text`.
"""
