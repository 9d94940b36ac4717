"""Run the tutorial's notebook without jupyter.

`python -P tests/support/notebook.py` runs it as it is and writes its outputs, which takes minutes. With assignments as
an argument it prints the outputs of a run in which they follow the cell tagged `parameters`, as papermill has it.
"""

import ast
import io
import json
import os
import sys
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


def reads_committed_rows(cell: dict[str, Any]) -> bool:
    """Tell whether a cell's outputs are the same on every machine."""
    return "../leaderboards" in "".join(cell["source"])


def run_cells(cells: list[dict[str, Any]], parameters: str = "") -> list[list[Any]]:
    """Run code cells in order, in one namespace; return the outputs of each as the file would hold them."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for number, cell in enumerate(cells, 1):
        outputs.append(_run_cell("".join(cell["source"]), number, namespace))
        if "parameters" in cell["metadata"].get("tags", ()):
            exec(parameters, namespace)
    return outputs


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


def main(parameters: str = "") -> None:
    """Run all cells; print their outputs where parameters are given, else write them."""
    notebook = read_notebook()
    cells = list_code(notebook)
    if parameters:
        print(json.dumps(run_cells(cells, parameters)))  # noqa: T201
        return
    os.chdir(TUTORIAL.parent)
    for cell, outputs in zip(cells, run_cells(cells), strict=True):
        cell["outputs"] = outputs
    TUTORIAL.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
