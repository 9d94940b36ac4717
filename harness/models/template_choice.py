"""Choose a model's chat template by name, and the values of the variables that it reads, such as enable_thinking."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.types import Value
from baseline_bench.core.untrusted import parse_json, read_text

DEFAULT_TEMPLATE = "default"


@dataclass(frozen=True, slots=True)
class TemplateChoice:
    """The chat template that a user asks for.

    Attributes:
        name: of one of the model's templates, or of a file, without its folder; None is the model's default.
        arguments: values of variables that the template reads.
        text: of the template, if it is a file's.
    """

    name: str | None = None
    arguments: Mapping[str, Value] = field(default_factory=dict)
    text: str | None = None

    @classmethod
    def parse(cls, name: str | None, pairs: Sequence[str]) -> "TemplateChoice":
        """Parse the texts of `--template`, a name or the path of a .jinja file, and `--template-arg`.

        A value is what JSON makes of it (true, false, null, a number, a quoted text), else the text itself.

        Raises:
            BenchError: not KEY=VALUE, a key that is given twice, or a list or an object.
        """
        arguments: dict[str, Value] = {}
        for pair in pairs:
            key, sign, text = pair.partition("=")
            value = _parse_value(text)
            fault = "not KEY=VALUE" if not (sign and key.isidentifier()) else "given twice" if key in arguments else ""
            if not fault and isinstance(value, list | dict):
                fault = "a list or an object"
            if fault:
                way_out = "write it as --template-arg enable_thinking=false"
                raise BenchError(f"--template-arg {pair} is {fault}", way_out)
            arguments[key] = value
        if name is not None and name.endswith(".jinja"):
            way_out = "give a .jinja file in UTF-8; `bench verify` looks for it in the current folder"
            return cls(Path(name).name, arguments, read_text(Path(name).expanduser(), way_out))
        return cls(None if name == DEFAULT_TEMPLATE else name, arguments)

    def choose(self, template: object, owner: Path) -> str | None:
        """Return the text of the chosen template.

        Args:
            template: as transformers read it: one text, several by name, or None.

        Raises:
            BenchError: no such template, or it is not a text.
        """
        if self.text is not None:
            return self.text
        templates = template if isinstance(template, dict) else {} if template is None else {DEFAULT_TEMPLATE: template}
        if not all(isinstance(text, str) for text in templates.values()):
            raise BenchError(f"the chat template in {owner} is not a text", "restore it from its model")
        name = self.name or DEFAULT_TEMPLATE
        if name in templates:
            return str(templates[name])
        if self.name is None and not templates:
            return None
        if self.name is None:
            known = ", ".join(sorted(templates))
            what = f"the chat templates in {owner} are named {known}, and none is named {DEFAULT_TEMPLATE}"
            raise BenchError(what, "choose one with --template NAME")
        way_out = suggest_name(name, sorted(templates), "or the path of a .jinja file")
        raise BenchError(f"{owner} has no chat template '{name}'", way_out)

    def bind(self, tokenizer: Any) -> None:
        """Make the tokenizer pass the arguments to its template; BenchError if it reads none such, or bench sets it."""
        render: Callable[..., str] = tokenizer.apply_chat_template
        reserved = {"messages", *inspect.signature(render).parameters}
        for key in self.arguments:
            if key in reserved:
                raise BenchError(f"--template-arg {key} is a value that bench sets itself", "leave it out")
            if not re.search(rf"\b{key}\b", tokenizer.chat_template or ""):
                raise BenchError(f"the chat template reads no variable '{key}'", "read the template, or leave it out")
        if self.arguments:
            tokenizer.apply_chat_template = partial(render, **self.arguments)


def _parse_value(text: str) -> Any:
    try:
        return parse_json(text.encode(), "", None)
    except (BenchError, UnicodeEncodeError):
        return text
