"""Claims files and rows as the tests of claims need them: two trainings and their base, right on the items named."""

from dataclasses import dataclass, replace

from baseline_bench.analysis.claims.claims_file import ClaimsFile, parse_claims
from baseline_bench.analysis.claims.judge import JudgedClaims, JudgedContrast, judge_claims
from baseline_bench.analysis.claims.registration import Registration, RegistrationCommit
from baseline_bench.core.types import Score
from baseline_bench.results import entries
from baseline_bench.results.bits import Bits, bits_to_hex
from baseline_bench.results.entry import Entry
from paths import ROOT
from samples import entry, result

LEADERBOARDS = ROOT / "leaderboards"
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z"
TOTAL = 60
HEAD = """
schema = 1
name = "mine"
board = "counting"
task = "counting-0shot@v1"
alpha = 0.05
least_items = 60
[families]
base = "against the base"
"""
CLAIM = """
[[claims]]
id = "it-helps"
hypothesis = "the fine-tune scores higher"
published = ""
"""
PAIRED = """
[[claims.contrasts]]
test = "mcnemar"
family = "base"
better = { recipe = "tune", base = "b", seed = 0 }
worse = { base = "b" }
"""
LOSS = """
[[claims.contrasts]]
test = "loss"
better = { recipe = "tune", base = "b", seed = 0 }
worse = { recipe = "other", base = "b", seed = 0 }
"""
RATIO = """
[[claims.contrasts]]
test = "ratio"
measure = "samples_per_second"
first = { recipe = "tune", base = "b", seed = 0 }
second = { recipe = "other", base = "b", seed = 0 }
at_most = 1.25
"""


@dataclass(frozen=True, slots=True)
class Filed:
    """An entry and its file's name."""

    file: str
    entry: Entry


def real(until: str = "2026-11-22T19:00:00Z") -> list[Filed]:
    """The rows of gsm8k that were scored until then."""
    found = [Filed(path.name, entries.read_entry(path)) for path in sorted((LEADERBOARDS / "gsm8k").glob("*.json"))]
    return [row for row in found if row.entry.created <= until]


TRAINING = next(row.entry.result.training for row in real() if row.entry.result.training is not None)


def base(right: range, created: str = LATE, file: str = "base.json", total: int = TOTAL) -> Filed:
    """The base's row, right on these items."""
    flags = [place in right for place in range(total)]
    none = bits_to_hex([False] * total)
    bits = Bits(bits_to_hex(flags), bits_to_hex(flags), none, none)
    of = result("b")
    selection = replace(of.selection, total=total, scored=total)
    return Filed(
        file,
        entry(replace(of, bits=bits, selection=selection, counts=Score(total, sum(flags), sum(flags), 0, 0)), created),
    )


def tuned(right: range, recipe: str = "tune", loss: float = 0.6, speed: float | None = 10.0, **told: str) -> Filed:
    """A candidate's row; the training began when the row was made."""
    row = base(right, told.get("created", LATE), told.get("file", f"{recipe}.json"))
    assert TRAINING is not None
    assert TRAINING.candidate is not None
    made = TRAINING.candidate
    cost = replace(made.cost, samples_per_second=speed, device=told.get("device", made.cost.device))
    made = replace(made, recipe=recipe, seed=0, base=replace(made.base, name="b"), final_loss=loss, cost=cost)
    made = replace(made, created=told.get("trained", row.entry.created))
    training = replace(TRAINING, candidate=made)
    return Filed(row.file, entry(replace(row.entry.result, training=training), row.entry.created))


def claims(*contrasts: str) -> ClaimsFile:
    """A file with one claim."""
    return parse_claims((HEAD + CLAIM + "".join(contrasts)).encode(), "mine.toml")


def ahead(count: int = 1, time: str = EARLY) -> Registration:
    """Every contrast was committed at that time."""
    return Registration(True, (RegistrationCommit("0" * 40, time),) * count)


def judged(
    of: ClaimsFile, *rows: Filed, registered: Registration | None = None, retracted: tuple[str, ...] = ()
) -> JudgedClaims:
    """The claims over these rows, registered early unless told otherwise."""
    return judge_claims(of, rows, lambda: registered or ahead(len(of.contrasts)), retracted)


def only(findings: JudgedClaims) -> JudgedContrast:
    """The one contrast of a file that has one."""
    ((one,),) = [finding.judged for finding in findings.findings]
    return one
