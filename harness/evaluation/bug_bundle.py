"""Collect in one text what an issue needs: versions, machine, and a run's records, without secrets and names."""

import getpass
import json
import os
import platform
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from baseline_bench.core import records
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import provenance

_OTHER_LIBRARIES = ("accelerate", "bitsandbytes", "huggingface_hub", "lm_eval", "peft", "safetensors", "scipy", "trl")
# Records are far smaller; completions and problems, which may be private, are .jsonl and left out.
_RECORD_LIMIT = 2**20
_HIDDEN = "***"
_SECRET_NAME = re.compile("token|key|secret|passw|credential|auth", re.IGNORECASE)
# Shorter values are switches and numbers, which would be hidden everywhere.
_SECRET_LENGTH = 6
_PATTERNS = (
    (re.compile(r"\b(?:hf_|sk-|gh[a-z]_|github_pat_|glpat-|xox[a-z]-|AKIA)[\w-]{8,}"), _HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic) +[^\s\"']+"), rf"\1 {_HIDDEN}"),
    # A number is a setting, such as pad_token=0.
    (
        re.compile(
            r"(?i)((?:key|token|secret|password)[\"']?\s*[=:]\s*[\"']?)(?!null\b|-?[\d.]+(?:[\s,}]|$))[^\s\"',}]+"
        ),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(://)[^/\s\"']+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(/(?:home|Users)/)[^/\s\"']+"), rf"\1{_HIDDEN}"),
)


def collect_sections(command: str, commit: str | None, run: Path | None) -> dict[str, str]:
    """Return the redacted text of each part by its name.

    Args:
        command: the words typed, quoted for a shell.
        commit: the commit of bench if it runs without its repository.
        run: the folder of a run of scoring or training, whose records to include.

    Raises:
        BenchError: the folder has no records.
    """
    device, driver = provenance.describe_hardware("cuda")
    program = provenance.describe_program(command, commit, device, driver)
    libraries = provenance.list_library_versions((*provenance.LIBRARIES, *_OTHER_LIBRARIES))
    versions = {**records.to_json_value(program), "libraries": libraries, "platform": platform.platform()}
    sections = {"versions": records.encode_indented(versions).decode()}
    for path in () if run is None else sorted(run.glob("*.json")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _RECORD_LIMIT:
            sections[path.name] = path.read_text(encoding="utf-8", errors="replace")
    if run is not None and len(sections) == 1:
        raise BenchError(f"{run} has no records of a run", "give the folder that a run printed as its files")
    return {name: redact(text) for name, text in sections.items()}


def redact(text: str) -> str:
    """Hide secrets, the home folder, the names of user and host, and the hosts of addresses."""
    for value, shown in _list_private_values():
        for form in (value, json.dumps(value)[1:-1]):
            text = text.replace(form, shown)
    for name in _list_names():
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", _HIDDEN, text, flags=re.IGNORECASE)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def _list_private_values() -> Iterator[tuple[str, str]]:
    """Yield texts to replace and what to show: secrets first, since a path may be part of one."""
    from huggingface_hub import get_token  # the file of `hf auth login` has one too

    secrets = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)} | {get_token() or ""}
    for value in sorted(secrets, key=len, reverse=True):
        if len(value) >= _SECRET_LENGTH:
            yield value, _HIDDEN
    for home in {str(Path.home()), str(Path.home().resolve())} - {"/"}:
        yield home, "~"


def _list_names() -> Iterator[str]:
    host = socket.gethostname()
    yield from {host, host.partition(".")[0], platform.node()} - {""}
    with suppress(OSError, KeyError):  # a container's user may have no name
        yield getpass.getuser()
