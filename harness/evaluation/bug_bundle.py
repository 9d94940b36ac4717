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
# Bytes. Records are far smaller; completions and problems, which may be private, are .jsonl and left out.
_RECORD_LIMIT = 2**20
_SECRET_NAME = re.compile("token|key|secret|passw|credential|auth", re.IGNORECASE)
# Shorter values are switches and numbers, which would be hidden everywhere.
_SECRET_LENGTH = 6
_NAMED = "(?:key|token|secret|passw(?:or)?d)"
_PATTERNS = (
    (r"\b(?:hf_|sk-|gh[a-z]_|github_pat_|glpat-|xox[a-z]-|A[KS]IA|AIza|nvapi-|eyJ)[\w.-]{8,}", "***"),
    (r"\b(bearer|basic) +[^\s\"']+", r"\1 ***"),
    # A value in quotes, a word in quotes, and a flag's value may hold blanks, or follow one.
    (rf"({_NAMED}[\"']?\s*[=:]\s*(\\?[\"'])).*?(?=(?<!\\)\2)", r"\1***"),
    (rf"([\"'][\w.-]*{_NAMED}=)[^\"']+", r"\1***"),
    (rf"(--?[\w-]*{_NAMED}\s+)[^\s\"']+", r"\1***"),
    # A number is a setting, such as pad_token=0.
    (rf"({_NAMED}[\"']?\s*[=:]\s*[\"']?)(?!null\b|-?[\d.]+(?:[\s,}}]|$))[^\s\"',}}]+", r"\1***"),
    (r"(://)[^/\s\"']+", r"\1***"),
    (r"(/(?:home|users)/)[^/\s\"']+", r"\1***"),
)


def collect_sections(command: str, commit: str | None, run: Path | None) -> dict[str, str]:
    """Return the redacted text of each part by its name: the versions, and each record of a run of score or train.

    Args:
        command: the words typed, quoted for a shell.
        commit: the commit of bench if it runs without its repository.

    Raises:
        BenchError: the run's folder has no records.
    """
    program = provenance.describe_program(command, commit, *provenance.describe_hardware("cuda"))
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
    for pattern, shown in (*_list_private_texts(), *_PATTERNS):
        text = re.sub(pattern, shown, text, flags=re.IGNORECASE)
    return text


def _list_private_texts() -> Iterator[tuple[str, str]]:
    """Yield patterns of this user's and machine's texts, and what to show; secrets first, which may hold the others."""
    from huggingface_hub import get_token  # the one that `hf auth login` stored, too

    secrets = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)} | {get_token() or ""}
    hidden = dict.fromkeys((one for one in sorted(secrets, key=len, reverse=True) if len(one) >= _SECRET_LENGTH), "***")
    hidden |= {str(home): "~" for home in (Path.home().resolve(), Path.home()) if home != Path("/")}
    for value, shown in hidden.items():
        yield "|".join(map(re.escape, (value, json.dumps(value)[1:-1]))), shown
    names = {socket.gethostname(), socket.gethostname().partition(".")[0], platform.node()}
    with suppress(OSError, KeyError):  # a container's user may have no name
        names.add(getpass.getuser())
    for name in sorted(names - {""}, key=len, reverse=True):
        yield rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", "***"
