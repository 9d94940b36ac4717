"""Draw a trace of `--trace` as an SVG, a band for each process: `python -m benchmarks.timeline TRACE OUT.svg`."""

import argparse
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from baseline_bench.core import trace

from benchmarks.verdict import GROUPS

_HUES = ("#8b97a8", "#56b4e9", "#e69f00", "#cc79a7", "#0072b2", "#009e73", "#f0e442", "#c9ced6")
_COLOURS = dict(zip((*GROUPS, "rest"), _HUES, strict=True))
_NAMES = {"train_in_child": "training", "merge_in_child": "merge", "measure_in_child": "references", "vllm": "vLLM"}
_WIDTH, _LEFT, _ROW, _TOP = 960, 100, 34, 46
_LEAST = 0.3  # seconds; shorter spans cannot be seen
_LEVELS = 3  # spans around a span are drawn behind it


def main(words: Sequence[str] | None = None) -> int:
    """Draw the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args(words)
    given.out.write_text(draw(given.trace), encoding="utf-8")
    return 0


def draw(file: Path) -> str:
    """Return the SVG of a trace."""
    events = [event for event in trace.read_events(file) if event["dur"] >= _LEAST * 1e6 and event["name"] != "wait"]
    start = min(event["ts"] for event in events)
    seconds = (max(event["ts"] + event["dur"] for event in events) - start) / 1e6
    names, scale = _read_names(file), (_WIDTH - _LEFT - 10) / seconds
    pids = list(dict.fromkeys(event["pid"] for event in sorted(events, key=lambda event: event["ts"])))
    height = _TOP + _ROW * len(pids) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="Timeline of {len(pids)} processes over {seconds:.0f} seconds">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        *_draw_legend(),
    ]
    for row, pid in enumerate(pids):
        top = _TOP + _ROW * row
        parts.append(f'<text x="4" y="{top + 18}" fill="#1f2933">{escape(names.get(pid, "process"))}</text>')
        own = sorted((event for event in events if event["pid"] == pid), key=lambda event: (event["ts"], -event["dur"]))
        for event in own:
            depth = min(_LEVELS, sum(_holds(other, event) for other in own))
            left, width = _LEFT + (event["ts"] - start) / 1e6 * scale, event["dur"] / 1e6 * scale
            parts.append(
                f'<rect x="{left:.1f}" y="{top + 3 * depth}" width="{width:.1f}" height="{24 - 6 * depth}" '
                f'fill="{_COLOURS[find_group(event["name"])]}"><title>{escape(event["name"])}, '
                f"{event['dur'] / 1e6:.1f} s</title></rect>"
            )
    parts += [
        f'<text x="{_LEFT + mark * scale:.1f}" y="{height - 6}" fill="#1f2933">{mark} s</text>'
        for mark in range(0, int(seconds) + 1, 10)
    ]
    return "\n".join([*parts, "</svg>\n"])


def find_group(name: str) -> str:
    """Return the kind of a phase."""
    return next((group for group, begins in GROUPS.items() if name.startswith(begins)), "rest")


def _holds(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    """Return whether a span is within another one."""
    ends = outer["ts"] + outer["dur"] >= inner["ts"] + inner["dur"]
    return outer is not inner and outer["ts"] <= inner["ts"] and ends and outer["dur"] > inner["dur"]


def _draw_legend() -> list[str]:
    """Draw one square and word for each kind."""
    return [
        f'<rect x="{4 + 118 * index}" y="10" width="12" height="12" fill="{colour}"/>'
        f'<text x="{22 + 118 * index}" y="20" fill="#1f2933">{group}</text>'
        for index, (group, colour) in enumerate(_COLOURS.items())
    ]


def _read_names(file: Path) -> dict[int, str]:
    """Return what each process is, by its id."""
    lines = (json.loads(line.rstrip(",")) for line in file.read_text(encoding="utf-8").splitlines()[1:] if line)
    names = {line["pid"]: str(line["args"]["name"]) for line in lines if line.get("ph") == "M"}
    return {
        pid: next((short for long, short in _NAMES.items() if long in name), name.rpartition(":")[2][:14])
        for pid, name in names.items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
