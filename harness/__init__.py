"""Score a language model on a task, and say how far the number may be believed."""

__version__ = "0.1.0"
