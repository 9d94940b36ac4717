"""What is rendered: boards, tables, plots, comments; from entries and verdicts to text, the same bytes every time."""
