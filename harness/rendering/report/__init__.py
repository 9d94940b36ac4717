"""Renders a study's report: Markdown with figures, and a page with every answer.

Its public face is `data.gather`, `deck.render` and `html.render`.
"""
