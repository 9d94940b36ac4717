"""Finds, reads, converts, tokenises, prompts, checks and merges model weights.

Its public face is `registry.resolve` for a name, `weights` for a folder, `tokenizer.load` and `merge.merge`.
"""
