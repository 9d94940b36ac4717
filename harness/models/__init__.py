"""Find, read, convert, check and merge models, and build their prompts.

Start with `registry.resolve_model` (a name), `weights` (a folder), `tokenizer.load_tokenizer`, `merge.merge_adapter`.
"""
