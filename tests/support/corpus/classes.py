"""Every class of the corpus by name, and a table of what there is."""

from types import ModuleType

from corpus import (
    adapters,
    answers,
    bases,
    boards,
    candidates,
    data,
    entries,
    generated,
    hostile,
    imports,
    readings,
    servers,
    shots,
    templates,
    trainings,
)

# A class is a module with `CASES`, and with `look`, which returns what is found in a case.
CLASSES: dict[str, ModuleType] = {
    "candidates": candidates,
    "adapters": adapters,
    "templates": templates,
    "trainings": trainings,
    "generated": generated,
    "answers": answers,
    "readings": readings,
    "data": data,
    "shots": shots,
    "servers": servers,
    "imports": imports,
    "entries": entries,
    "boards": boards,
    "bases": bases,
    "hostile": hostile,
}


def list_codes(name: str) -> set[str]:
    """The codes that a class shows."""
    return {code for case in CLASSES[name].CASES for code, _ in case.expected}


def format_counts() -> str:
    """A line for each class: its bad cases, its sound twins, and the codes that the bad ones show."""
    rows = [
        (name, sum(bool(case.expected) for case in module.CASES), len(module.CASES), len(list_codes(name)))
        for name, module in CLASSES.items()
    ]
    lines = [f"{name:<12}{bad:>6}{total - bad:>8}{codes:>7}" for name, bad, total, codes in rows]
    bad, total = (sum(row[column] for row in rows) for column in (1, 2))
    return "\n".join((f"{'class':<12}{'bad':>6}{'sound':>8}{'codes':>7}", *lines, f"{'':<12}{bad:>6}{total - bad:>8}"))
