"""Renders all that people read: boards, tables, plots, claims and comments. The same input gives the same bytes.

Start at `leaderboard.update_pages`, `comment.render_comment` and `comparison_text.describe_comparison`.
"""
