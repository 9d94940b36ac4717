"""Turns a plan into completions, judgements and a stored entry, and resumes where it was interrupted.

Its public face is `plan` and `pipeline.score`; it renders nothing and knows no command.
"""
