"""Run one engine in several processes, one on each GPU, behind a single generator.

Start with `gpus.assign_gpus` and `distributed.MultiGpuStarter`.
"""
