"""Run the tutorial's notebook without jupyter; `python tests/support/notebook.py` writes the outputs that it keeps.

Kept are outputs of cells that read committed rows. What a model answers differs from machine to machine.
"""

import ast
import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


def read_notebook() -> dict[str, Any]:
    """Read the tutorial as it is committed."""
    notebook: dict[str, Any] = json.loads(TUTORIAL.read_text(encoding="utf-8"))
    return notebook


def list_code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """List the code cells."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def keeps_outputs(cell: dict[str, Any]) -> bool:
    """Tell whether a cell's outputs are those of committed rows."""
    return "../leaderboards" in "".join(cell["source"])


def run_cells(cells: list[dict[str, Any]], change: Callable[[str], str] = lambda source: source) -> list[list[Any]]:
    """Run code cells in order, in one namespace; return the outputs of each as the file would hold them."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    return [_run_cell(change("".join(cell["source"])), number, namespace) for number, cell in enumerate(cells, 1)]


def _run_cell(source: str, number: int, namespace: dict[str, Any]) -> list[Any]:
    tree, printed, value = ast.parse(source), io.StringIO(), None
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), namespace)
    text = printed.getvalue()
    outputs: list[Any] = [{"output_type": "stream", "name": "stdout", "text": text.splitlines(True)}] if text else []
    if value is not None:
        picture = getattr(value, "_repr_svg_", None)
        data = {"text/plain": repr(value)} if picture is None else {"image/svg+xml": picture()}
        data_lines = {kind: shown.splitlines(True) for kind, shown in data.items()}
        shown = {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data_lines}
        outputs.append(shown)
    return outputs


def main() -> None:
    """Run the imports and the cells that keep their outputs, and write these."""
    notebook = read_notebook()
    os.chdir(TUTORIAL.parent)
    first, *others = list_code(notebook)
    kept = [first, *filter(keeps_outputs, others)]
    for cell, outputs in zip(kept, run_cells(kept), strict=True):
        cell["outputs"] = outputs
    TUTORIAL.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
