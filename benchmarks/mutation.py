"""Mutation testing: put small faults into critical modules, one at a time, and see whether their tests notice.

    python -m benchmarks.mutation --each 12 --seed 0 [harness/models/tokens.py ...]

The same seed draws the same mutants of the same source. Not part of CI: it takes minutes a module.
"""

import argparse
import ast
import copy
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

from baseline_bench.core import records

_ROOT = Path(__file__).parent.parent
# Of what was imported before pytest started; the suite makes every warning an error.
_IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
# Imported once before forking: a mutant's tests start with them in memory.
_SLOW_IMPORTS = ("torch", "transformers", "peft", "accelerate", "scipy.stats", "hypothesis", "rich.console")

# The tests that must notice a fault, the quickest first.
TESTS: dict[str, tuple[str, ...]] = {
    "harness/analysis/claims/judge.py": ("tests/analysis/test_judge.py", "tests/analysis/test_registration.py"),
    "harness/analysis/claims/predictions.py": ("tests/analysis/test_predictions.py",),
    "harness/analysis/compare.py": ("tests/analysis/test_compare.py",),
    "harness/analysis/differences.py": ("tests/analysis/test_differences.py", "tests/analysis/test_compare.py"),
    "harness/analysis/multiple_testing.py": (
        "tests/analysis/test_multiple_testing.py",
        "tests/rendering/test_comparison_text.py",
    ),
    "harness/analysis/noise.py": ("tests/results/test_noise.py", "tests/rendering/test_noise_table.py"),
    "harness/analysis/outcomes.py": ("tests/analysis/test_outcomes.py", "tests/analysis/test_compare.py"),
    "harness/analysis/recipe_contrast.py": ("tests/analysis/test_recipe_contrast.py",),
    "harness/analysis/recipe_key.py": (
        "tests/analysis/test_recipe_rows.py",
        "tests/analysis/test_board_comparisons.py",
    ),
    "harness/analysis/statistics.py": (
        "tests/analysis/test_statistics.py",
        "tests/analysis/test_paired_interval.py",
        "tests/analysis/test_outcomes.py",
    ),
    "harness/core/records.py": ("tests/core/test_records.py", "tests/results/test_entries.py"),
    "harness/evaluation/engine_pool.py": (
        "tests/core/test_early_processes.py",
        "tests/evaluation/test_engine_pool.py",
    ),
    "harness/evaluation/entry_builder.py": ("tests/evaluation/test_entry_builder.py",),
    "harness/evaluation/evaluate.py": ("tests/evaluation/test_evaluate.py", "tests/evaluation/test_solutions.py"),
    "harness/evaluation/protocol.py": ("tests/evaluation/test_protocol.py", "tests/evaluation/test_evaluate.py"),
    "harness/evaluation/runs.py": ("tests/evaluation/test_runs.py", "tests/evaluation/test_evaluate.py"),
    "harness/models/adapter.py": (
        "tests/models/test_adapter.py",
        "tests/models/test_weight_findings.py",
        "tests/models/test_merge.py",
    ),
    "harness/models/identity.py": ("tests/models/test_identity.py",),
    "harness/models/merge.py": ("tests/models/test_merge.py",),
    "harness/models/merge_tensors.py": ("tests/models/test_merge.py",),
    "harness/models/thoughts.py": ("tests/models/test_thoughts.py",),
    "harness/models/tokens.py": (
        "tests/models/test_tokens.py",
        "tests/models/test_template_choice.py",
        "tests/models/test_thoughts.py",
        "tests/tasks/test_choices.py",
        "tests/evaluation/test_evaluate.py",
    ),
    "harness/models/weights.py": (
        "tests/models/test_weights.py",
        "tests/models/test_soundness.py",
        "tests/models/test_weight_findings.py",
    ),
    "harness/rendering/checking.py": (
        "tests/rendering/test_checking.py",
        "tests/rendering/test_leaderboard.py",
        "tests/results/test_history.py",
        "tests/evaluation/test_regrading.py",
        "tests/commands/test_store.py",
        "tests/whole/test_tampering.py",
    ),
    "harness/rendering/stray_files.py": ("tests/rendering/test_checking.py", "tests/results/test_history.py"),
    "harness/results/advisories.py": ("tests/results/test_advisories.py",),
    "harness/results/audit.py": (
        "tests/results/test_candidate.py",
        "tests/results/test_entries.py",
        "tests/models/test_thoughts.py",
        "tests/evaluation/test_solutions.py",
    ),
    "harness/results/candidate.py": ("tests/results/test_candidate.py",),
    "harness/results/duplicates.py": ("tests/rendering/test_checking.py",),
    "harness/results/entries.py": (
        "tests/results/test_entries.py",
        "tests/results/test_merging_branches.py",
        "tests/results/test_verification.py",
    ),
    "harness/results/retractions.py": ("tests/results/test_retractions.py",),
    "harness/training/contamination.py": ("tests/training/test_leaks.py", "tests/training/test_origins.py"),
    "tasks/_answers.py": ("tests/tasks/test_answers.py", "tests/tasks/test_answer_properties.py"),
    "tasks/_numbers.py": ("tests/tasks/test_answers.py", "tests/tasks/test_answer_properties.py"),
    "trainers/_optimizer.py": ("tests/trainers/test_optimizer.py",),
    "trainers/_packing.py": ("tests/trainers/test_packing.py",),
    "trainers/_sft.py": ("tests/trainers/test_sft.py", "tests/trainers/test_resume.py"),
}

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_NOT_MUTATED = ("annotation", "returns", "decorator_list")
_LONGEST = 600.0  # seconds
_Part: TypeAlias = ast.expr | ast.stmt | ast.Slice
_FUNCTIONS = {"any": "all", "all": "any", "min": "max", "max": "min", "ceil": "int", "round": "int"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small fault: `source[begin:end]`, in bytes, becomes `text`."""

    begin: int
    end: int
    line: int
    before: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {' '.join(self.before.split())[:90]}  ->  {' '.join(self.text.split())[:90]}"


def list_mutants(source: bytes) -> list[Mutant]:
    """List every mutant of a module, in the order of its source."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    mutants = set()
    for node in _walk(ast.parse(source)):
        for part, variant in _vary(node):
            begin = starts[part.lineno - 1] + part.col_offset
            end = starts[(part.end_lineno or 0) - 1] + (part.end_col_offset or 0)
            text = ast.unparse(variant)
            bare = isinstance(part, ast.stmt | ast.Slice)
            mutants.add(Mutant(begin, end, part.lineno, ast.unparse(part), text if bare else f"({text})"))
    return sorted(mutants, key=lambda mutant: (mutant.begin, mutant.end, mutant.text))


def apply_mutant(source: bytes, mutant: Mutant) -> bytes:
    """Return the source with the fault in it."""
    return source[: mutant.begin] + mutant.text.encode() + source[mutant.end :]


def _walk(node: ast.AST) -> Iterator[_Part]:
    """Yield the nodes to mutate, without annotations, decorators and the texts of errors."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if name in _NOT_MUTATED or not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield child
            if not isinstance(child, ast.Raise):
                yield from _walk(child)


def _vary(node: _Part) -> Iterator[tuple[_Part, ast.AST]]:
    """Yield every small change of one node: the part to replace and what replaces it."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            yield node, _replace(node, ops=[_COMPARISONS[type(op)]()])
        case ast.BoolOp(op=op, values=values):
            yield node, _replace(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for dropped in values:
                yield node, _replace(node, values=[value for value in values if value is not dropped])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, operand
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(
            test, ast.Compare | ast.UnaryOp
        ):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield node, ast.Pass()
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for index, loop in enumerate(node.generators):
                if loop.ifs:
                    loops = [*node.generators[:index], _replace(loop, ifs=[]), *node.generators[index + 1 :]]
                    yield node, _replace(node, generators=loops)
        case _:
            yield from ((node, variant) for variant in _vary_value(node))


def _vary_value(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the small changes of a slice, a constant, an arithmetic operator, or a call such as `any` or `min`."""
    match node:
        case ast.Slice(lower=lower, upper=upper):
            for name, bound in (("lower", lower), ("upper", upper)):
                yield from [_replace(node, **{name: ast.BinOp(bound, ast.Add(), ast.Constant(1))})] if bound else []
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            yield _replace(node, op=_OPERATORS[type(op)]())
        case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            yield _replace(node, func=ast.Name(_FUNCTIONS[name]))


def _replace(node: Any, **fields: Any) -> Any:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def copy_tree(folder: Path) -> None:
    """Copy the files that git tracks or would add, and link the code under its import name."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=_ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (_ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_ROOT / name, folder / name)
    subprocess.run(["make", "--silent", "links"], cwd=folder, check=True)


def run_tests(folder: Path, tests: Sequence[str], seconds: float, *, compiled: bool = False) -> bool:
    """Return whether the tests pass in a copy of the tree; they run in a fork of this process.

    A fault can make them run for ever: after `seconds` they have failed. `compiled` keeps the bytecode of what they
    import, which is only sound without a fault; later runs read it.
    """
    process = multiprocessing.get_context("fork").Process(target=_test_here, args=(folder, tests, compiled))
    process.start()
    process.join(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # what the tests started ends with them
    process.join()
    return process.exitcode == 0


def _test_here(folder: Path, tests: Sequence[str], compiled: bool) -> None:
    """Run the tests in this process, silently, and exit with pytest's code."""
    import pytest

    os.setpgid(0, 0)
    os.chdir(folder)
    tempfile.tempdir = str(folder / ".temporary")  # removed with the copy
    Path(tempfile.tempdir).mkdir(exist_ok=True)
    settings = {
        "PYTHONPATH": str(folder / ".dev"),
        "PYTHONDONTWRITEBYTECODE": "" if compiled else "1",
        "TMPDIR": tempfile.tempdir,
    }
    os.environ.update(settings)
    sys.path.insert(0, str(folder / ".dev"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "baseline_bench"]:
        del sys.modules[name]  # of the tree that this process runs from
    sys.dont_write_bytecode = not compiled
    with Path(os.devnull).open("r+b") as silence:
        for descriptor in (1, 2):
            os.dup2(silence.fileno(), descriptor)
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", _IMPORTED, *tests]))


def try_module(folder: Path, module: str, mutants: Sequence[Mutant]) -> list[Mutant]:
    """Put each mutant into a copy of the tree and return those that no test notices.

    Raises:
        SystemExit: the tests fail without a mutant.
    """
    tests, source = TESTS[module], (_ROOT / module).read_bytes()
    start_time = monotonic()
    if not run_tests(folder, tests, _LONGEST, compiled=True):
        sys.exit(f"{' '.join(tests)} fail without a fault in {module}")
    limit = 30 + 5 * (monotonic() - start_time)
    survivors = []
    for mutant in mutants:
        (folder / module).write_bytes(apply_mutant(source, mutant))
        if run_tests(folder, tests, limit):
            survivors.append(mutant)
            say(f"{module}, {mutant}")
    (folder / module).write_bytes(source)
    return survivors


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def draw_mutants(module: str, each: int, seed: int) -> list[Mutant]:
    """Draw at most `each` mutants of a module, the same for the same source and seed."""
    mutants = list_mutants((_ROOT / module).read_bytes())
    return random.Random(f"{seed} {module}").sample(mutants, min(each, len(mutants)))


def main(words: Sequence[str] | None = None) -> int:
    """Print every survivor, then the killed mutants of each module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a key of TESTS; default: all")
    parser.add_argument("--each", type=int, default=12, help="mutants of a module (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep what came out, a module at a time")
    options = parser.parse_args(words)
    for name in _SLOW_IMPORTS:
        importlib.import_module(name)
    table = [f"{'module':40} killed  of"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=_ROOT, check=True, capture_output=True, text=True).stdout
    outcome: dict[str, Any] = {"commit": head.strip(), "seed": options.seed, "modules": {}}
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy_tree(Path(folder))
        for module in options.modules or TESTS:
            mutants = draw_mutants(module, options.each, options.seed)
            survivors = try_module(Path(folder), module, mutants)
            table.append(f"{module:40} {len(mutants) - len(survivors):6}  {len(mutants)}")
            say(table[-1])
            outcome["modules"][module] = {"mutants": len(mutants), "survivors": list(map(str, survivors))}
            if options.record is not None:
                options.record.write_bytes(records.encode_indented(outcome))
    say("\n".join(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
