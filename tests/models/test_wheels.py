"""models.wheels: a model file out of Python packages, through the real pip."""

import hashlib
import subprocess
import sys
import zipfile

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.models import wheels

CONTENT = bytes(range(256)) * 4096
WHOLE = wheels.WheelFile(
    wheels=("toy-model==1.0",),
    files=("toy_model/toy.gguf",),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
)
PARTS = wheels.WheelFile(
    wheels=("toy-part1==1.0", "toy-part2==1.0"),
    files=("toy_part1/data/toy.gguf.part00", "toy_part2/data/toy.gguf.part01"),
    sha256=WHOLE.sha256,
    size=WHOLE.size,
)


def wheel(folder, project, files):
    """Write a package that holds these files."""
    name = project.replace("-", "_")
    meta = {
        "METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, data in {**files, **{f"{name}-1.0.dist-info/{key}": text for key, text in meta.items()}}.items():
            archive.writestr(path, data)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of packages that pip takes for its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    half = len(CONTENT) // 2
    wheel(folder, "toy-model", {WHOLE.files[0]: CONTENT})
    wheel(folder, "toy-part1", {PARTS.files[0]: CONTENT[:half]})
    wheel(folder, "toy-part2", {PARTS.files[1]: CONTENT[half:]})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.parametrize("wanted", [WHOLE, PARTS], ids=["whole", "parts"])
def test_a_file_is_taken_out_of_wheels(index, tmp_path, wanted):
    """One wheel or several: the file lies in the cache under its own name, and nothing else does."""
    place = wheels.fetch_file(wanted, tmp_path / "cache")
    assert place == tmp_path / "cache" / "files" / "toy.gguf"
    assert place.read_bytes() == CONTENT
    assert list(place.parent.iterdir()) == [place]


def test_a_file_that_is_there_needs_no_network(tmp_path, monkeypatch):
    """A machine without network is served by copying the file into the cache."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    place = tmp_path / "files" / "toy.gguf"
    place.parent.mkdir()
    place.write_bytes(CONTENT)
    assert wheels.fetch_file(WHOLE, tmp_path) == place


def test_a_wrong_file_in_the_cache_is_refused_with_both_digests(tmp_path):
    """What lies in the cache is checked on every call, and never silently replaced."""
    place = tmp_path / "files" / "toy.gguf"
    place.parent.mkdir()
    place.write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(BenchError, match=f"{found}, not {WHOLE.sha256}: remove it"):
        wheels.fetch_file(WHOLE, tmp_path)
    assert place.read_bytes() == b"other"


def test_a_wheel_with_another_content_is_refused_with_both_digests(index, tmp_path):
    """A package that changed under its version leaves nothing in the cache."""
    wheel(index, "toy-model", {WHOLE.files[0]: b"other"})
    with pytest.raises(BenchError, match=f"{hashlib.sha256(b'other').hexdigest()}, not {WHOLE.sha256}"):
        wheels.fetch_file(WHOLE, tmp_path)
    assert list((tmp_path / "files").iterdir()) == []


def test_a_wheel_without_the_file_is_told(index, tmp_path):
    """The name that was looked for is in the message."""
    wheel(index, "toy-model", {"toy_model/else.gguf": CONTENT})
    with pytest.raises(BenchError, match=r"toy-model==1\.0: no file toy_model/toy\.gguf inside"):
        wheels.fetch_file(WHOLE, tmp_path)


def test_no_such_package_is_told_with_the_way_round(tmp_path, monkeypatch):
    """Without an index the message has pip's own reason and the place to copy the file to."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(BenchError, match=r"No matching distribution.*copy toy\.gguf to .*files/toy\.gguf") as caught:
        wheels.fetch_file(WHOLE, tmp_path)
    assert "\n" not in str(caught.value)


def test_too_little_disk_is_told_before_pip_is_asked(tmp_path, monkeypatch):
    """The size is known beforehand."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    huge = wheels.WheelFile(WHOLE.wheels, WHOLE.files, WHOLE.sha256, 2**60)
    with pytest.raises(BenchError, match=r"fetching toy\.gguf needs .* GiB of disk"):
        wheels.fetch_file(huge, tmp_path)


def test_two_processes_may_fetch_at_once(index, tmp_path):
    """Each works by itself and the last move wins with the same bytes."""
    script = "from pathlib import Path; from baseline_bench.models.wheels import *; "
    script += f"fetch_file({WHOLE!r}, Path({str(tmp_path)!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert (tmp_path / "files" / "toy.gguf").read_bytes() == CONTENT
    assert len(list((tmp_path / "files").iterdir())) == 1
