"""What makes candidates: one file a trainer."""
