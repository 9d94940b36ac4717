"""List what there is; a module of its own, so that a list costs no reader of runs and no table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baseline_bench.core import plugins
from baseline_bench.core.display import Screen
from baseline_bench.models import registry
from baseline_bench.training import recipes


@dataclass(frozen=True, slots=True)
class Listing:
    """What to list."""

    kind: str


def listing(order: Listing, screen: Screen) -> int:
    """Print one name a line with what it stands for."""
    screen.write("".join(f"{name:<26} {text}\n" for name, text in _listed(order.kind)))
    return 0


def _listed(kind: str) -> Sequence[tuple[str, str]]:
    if kind == "models":
        return [(each.name, _source(each)) for each in registry.read(registry.LISTED.read_text(encoding="utf-8"))]
    if kind == "recipes":
        return [(name, str(recipes.path(name))) for name in recipes.names()]
    of_kind: dict[str, plugins.Kind] = {
        "tasks": "task",
        "engines": "engine",
        "trainers": "trainer",
    }
    return list(plugins.known(of_kind[kind]))


def _source(listed: Any) -> str:
    source = listed.source
    return f"hub {source}" if isinstance(source, str) else f"wheel {', '.join(source.wheels)}"
