"""Pages of the site that are no Markdown files in docs: README as its start, the tutorial, the help of all commands."""

import base64
import io
import json
import os
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from baseline_bench import cli
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ALONE = "---\nhide: [navigation]\n---\n"  # the one page of its section: a menu of one line would narrow it


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {
        "index.md": ALONE + re.sub(r"\]\((?!https?:)", "](../", readme).replace("](../docs/", "]("),
        "tutorial.md": ALONE + convert_notebook(json.loads((ROOT / "docs/tutorial.ipynb").read_text(encoding="utf-8"))),
        "reference/commands.md": list_commands(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Let links that leave docs lead to the repository's files, or to nothing if its address is unknown."""
    top = "../" * (1 + page.file.src_uri.count("/"))
    outside = re.compile(rf"\[([^]]*)\]\({re.escape(top)}([^)]*)\)")
    target = rf"[\1]({config.repo_url.rstrip('/')}/blob/main/\2)" if config.repo_url else r"\1"
    return outside.sub(target, markdown).replace("tutorial.ipynb)", "tutorial.md)")


def convert_notebook(notebook: dict[str, Any]) -> str:
    """Convert a notebook to Markdown: its texts, its code, and the outputs that are stored in it."""
    return "\n\n".join(part for cell in notebook["cells"] for part in _convert_cell(cell))


def _convert_cell(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    shown = [f"```python\n{source}\n```"]
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text", [])})
        text = "".join(next(iter(data.values()))).rstrip()
        if "image/svg+xml" in data:  # as an image: Markdown would take the text of an inline one for paragraphs
            picture = base64.b64encode(text.encode()).decode()
            shown.append(f'<img alt="What the cell draws" src="data:image/svg+xml;base64,{picture}">')
        else:
            shown.append(f"```text\n{text}\n```")
    return shown


def list_commands() -> str:
    """Write what `--help` says of every command, in the order of `bench --help`."""
    os.environ["COLUMNS"] = "100"
    parts = [
        "# Commands",
        "What `bench COMMAND --help` prints. [What you do with bench](../commands.md) begins with the question.",
    ]
    for group, commands in cli.COMMANDS.items():
        parts += [f"## {group}", *(f"### bench {name}\n\n```text\n{_get_help(name)}\n```" for name in commands)]
    return "\n\n".join(parts)


def _get_help(command: str) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        cli.parse_options(command, ["--help"])
    return printed.getvalue().replace(str(Path.home()), "~").strip()
