"""Engines take token ids and return completions; each file without a leading underscore is one engine.

Every engine fulfils the contract `core.contracts.Engine`; `multi_gpu` runs one engine on several GPUs.
"""
