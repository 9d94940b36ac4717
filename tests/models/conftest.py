"""Fixtures that several tests of models share."""

from gguf_file import file  # noqa: F401
