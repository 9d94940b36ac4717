"""Mutated inputs of every kind end in success or in one line, within limits of time; `tests.fuzz` runs more of them."""

import random

import fuzzers
import pytest
from baseline_bench.core import bounded

CASES = 15


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """What reads each kind of input."""
    return fuzzers.build_targets(tmp_path_factory.mktemp("fuzz"))


def test_every_sample_is_sound(targets):
    """A mutation of what is refused anyway would test nothing."""
    refused = {target.name: fuzzers.run_case(target, case) for target in targets for case in target.samples}
    assert {name: line for name, line in refused.items() if line is not None} == {}


def test_mutated_inputs_end_in_one_line(targets, monkeypatch):
    """Seeded, so that a fault comes back; its input is in the message. Every kind but printed text has refusals."""
    monkeypatch.setattr(bounded, "SECONDS", 0.3)
    draw, refused = random.Random(4), set()
    for target in targets:
        for number in range(CASES):
            case = fuzzers.mutate(draw.choice(target.samples), draw)
            try:
                if fuzzers.run_case(target, case) is not None:
                    refused.add(target.name)
            except Exception as error:
                raise AssertionError(f"{target.name}, case {number}: {case[:500]!r}") from error
    assert {target.name for target in targets} - refused == {"what is printed"}
