"""What generates: one file an engine."""
