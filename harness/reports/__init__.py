"""The report of a study, drawn from measured runs: Markdown with figures, and a page to read every answer on."""
