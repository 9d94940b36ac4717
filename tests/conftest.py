"""What every test file shares: no test depends on the speed of a machine, and real data is found or missed loudly."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("bench", deadline=None)
settings.load_profile("bench")
os.environ.pop("COLUMNS", None)  # output is as wide as in a pipe, whoever runs the tests

# Folders with the files that take a minute each.
SLOW = ("whole", "trainers", "training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files, so that one worker is not left with one of them while the others are done."""
    items.sort(key=lambda item: item.path.parent.name not in SLOW)


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Git in a new repository in `tmp_path`, without the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)

    def run(*arguments: str) -> str:
        command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "-q", "-b", "main")
    return run


@pytest.fixture(scope="module")
def forked_children():
    """The program's children are forked, with their libraries imported already; see forked_children.py."""
    import forked_children

    with forked_children.forking():
        yield


@pytest.fixture(scope="session")
def gsm8k_mirror() -> Path:
    """The folder that holds openai/gsm8k in the hub's layout."""
    named = os.environ.get("BENCH_DATASETS")
    if named is None:
        if os.environ.get("CI"):
            pytest.fail("CI must set BENCH_DATASETS to a folder with openai/gsm8k")
        pytest.skip("BENCH_DATASETS names no folder with openai/gsm8k")
    return Path(named)
