"""What came out, and stays: entries, completions, candidates, and the pages rendered from them."""
