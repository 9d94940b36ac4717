"""evaluation.provenance: an entry names the commit of the program that made it."""

import shutil
import subprocess

import pytest
from baseline_bench.evaluation import provenance
from paths import ROOT


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="this copy has no git history")
def test_a_checkout_s_commit_is_in_the_record():
    """It is the one that git reports in the repository's root."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert provenance.describe_program("bench list models", None, "CPU", None).git_commit == commit
