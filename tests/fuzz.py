"""Read mutated inputs for as long as you like: `python -m tests.fuzz --minutes 60`.

Prints every input that ends in neither success nor one line, and exits with 1 if there was one.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("support")))

import fuzzers
from baseline_bench.core import bounded

_MOST_MIB = 300  # what one mutated input may add to the peak of memory: the largest bodies and files are 64 MiB


def main() -> int:
    """Draw targets and inputs until the time is up; a seed gives the same inputs again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of a target's name")
    options = parser.parse_args()
    bounded.SECONDS = 1.0
    draw, cases, faults = random.Random(options.seed), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        targets = [target for target in fuzzers.build_targets(Path(folder)) if options.only in target.name]
        end = time.monotonic() + 60 * options.minutes
        while time.monotonic() < end:
            target = draw.choice(targets)
            case = fuzzers.mutate(draw.choice(target.samples), draw)
            cases[target.name] += 1
            before = _read_peak_memory()
            try:
                fuzzers.run_case(target, case)
                grown = _read_peak_memory() - before
                assert grown <= _MOST_MIB, f"the peak of memory rose by {grown} MiB"
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                where = traceback.extract_tb(error.__traceback__)[-1]
                fault = f"{target.name}: {type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
                faults[fault] += 1
                if faults[fault] == 1:
                    sys.stdout.write(f"{fault}: {error!s:.300}\n  {case[:1000]!r}\n")
                    sys.stdout.flush()
                    traceback.print_exc(limit=-6)
    memory = _read_peak_memory()
    sys.stdout.write(f"{sum(cases.values())} cases of {len(cases)} kinds, up to {memory} MiB, faults {dict(faults)}\n")
    return 1 if faults else 0


def _read_peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main())
