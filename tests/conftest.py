"""What every test file shares: the machine's speed is nobody's fault, and the real data set is found or missed loudly."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("bench", deadline=None)
settings.load_profile("bench")


@pytest.fixture(scope="session")
def gsm8k_mirror() -> Path:
    """The folder that holds openai/gsm8k in the hub's layout."""
    named = os.environ.get("BENCH_DATASETS")
    if named is None:
        if os.environ.get("CI"):
            pytest.fail("CI must set BENCH_DATASETS to a folder with openai/gsm8k")
        pytest.skip("BENCH_DATASETS names no folder with openai/gsm8k")
    return Path(named)
