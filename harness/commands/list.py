"""`bench list`: list what is available. It imports no reader of runs and no tables, to stay fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from baseline_bench.core import plugins
from baseline_bench.core.command_options import argument
from baseline_bench.core.display import Console
from baseline_bench.models import registry
from baseline_bench.training import recipes


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to list."""

    kind: Literal["models", "tasks", "engines", "trainers", "recipes"] = argument("what to list")


def run(options: Options, console: Console) -> int:
    """Print one name per line with a description."""
    console.write("".join(f"{name:<26} {text}\n" for name, text in _list_names(options.kind)))
    return 0


def _list_names(kind: str) -> Sequence[tuple[str, str]]:
    if kind == "models":
        sources = ((listed.name, listed.source) for listed in registry.read_registry())
        return [(name, f"hub {at}" if isinstance(at, str) else f"wheel {', '.join(at.wheels)}") for name, at in sources]
    if kind == "recipes":
        return [(name, str(recipes.find_recipe_file(name))) for name in recipes.list_recipes()]
    plugin_kind = next(each for each in plugins.PACKAGES if kind == f"{each}s")
    return list(plugins.list_plugins(plugin_kind))
