"""Run one engine in several processes, one on each GPU, behind a single generator.

Start with `distributed.build_starter` and `gpus.assign_gpus`.
"""
