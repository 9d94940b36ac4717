"""Renders a study's report: a Markdown README with figures, and an HTML page with every answer.

Start at `data.gather_study`, `deck.render_readme` and `html.render_page`.
"""
