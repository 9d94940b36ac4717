"""benchmarks.mutation: every mutant is a small fault that compiles, and the draw follows its seed."""

import ast

import pytest
from paths import ROOT

from benchmarks import mutation

SOURCE = b'''
"""Text is no code: 1 < 2."""
@cache(size=1)
def first(values: "list[1]", least=3) -> "int | 2":
    if least < 4 and values:
        raise ValueError(f"{least + 1}")
    close(values)
    return any(value for value in values[least:] if not value)
'''


def test_each_kind_of_fault_is_put_in_and_annotations_and_messages_are_left_alone():
    """Comparisons, boundaries, `and`, dropped raises, calls and filters, constants, slices, any and all."""
    found = {(mutant.line, mutant.text) for mutant in mutation.list_mutants(SOURCE)}
    assert found == {
        (4, "(4)"),
        (4, "(2)"),
        (5, "(least <= 4)"),
        (5, "(5)"),
        (5, "(3)"),
        (5, "(least < 4 or values)"),
        (5, "(values)"),
        (5, "(least < 4)"),
        (5, "(not (least < 4 and values))"),
        (6, "pass"),
        (7, "pass"),
        (8, "(all((value for value in values[least:] if not value)))"),
        (8, "((value for value in values[least:]))"),
        (8, "least + 1:"),
        (8, "(value)"),
    }


@pytest.mark.parametrize("module", mutation.TESTS)
def test_every_mutant_of_the_modules_compiles_and_is_another_program(module):
    """The table names files that are there."""
    assert all((ROOT / name).is_file() for name in mutation.TESTS[module])
    source = (ROOT / module).read_bytes()
    plain = ast.dump(ast.parse(source))
    for mutant in mutation.draw_mutants(module, 20, 0):
        assert ast.dump(ast.parse(mutation.apply_mutant(source, mutant))) != plain


def test_the_draw_follows_its_seed():
    """The same mutants again; another seed draws others."""
    first, again, other = (mutation.draw_mutants("tasks/_answers.py", 9, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 9
