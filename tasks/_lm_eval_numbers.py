"""lm-eval's filters and metric for one number as an answer, applied to a text and a gold alone; no data is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_eval.api.registry import get_metric
from lm_eval.filters import build_filter_ensemble

from tasks import _lm_eval_files as files

# What lm-eval's regex filters give where nothing matched.
NOTHING = "[invalid]"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one filter takes out of a text (None where nothing matched), and whether the metric calls it right."""

    text: str | None
    correct: bool


class NumberJudge:
    """The filters and the exact match of a task such as lm-eval's gsm8k.

    Args:
        name: of the task.
    """

    def __init__(self, name: str) -> None:
        found = files.find(name)
        named = found.members[0].config.to_dict()
        self.label = f"lm-eval/{found.name}@{found.version}"
        self.rules: Mapping[str, Any] = json.loads(
            json.dumps({key: named[key] for key in ("metric_list", "filter_list")}, default=str)
        )
        (metric,) = self.rules["metric_list"]
        self._metric = get_metric(metric["metric"])
        known = ("metric", "aggregation", "higher_is_better")
        self._settings = {key: value for key, value in metric.items() if key not in known}
        self._filters = {
            each["name"]: build_filter_ensemble(
                each["name"], [[step["function"], {k: v for k, v in step.items() if k != "function"}]
                               for step in each["filter"]]
            )
            for each in self.rules["filter_list"]
        }  # fmt: skip

    def readings(self, gold: str, text: str) -> dict[str, Reading]:
        """What each filter takes out of an answer, and whether it is the gold's text."""
        found = {}
        for name, ensemble in self._filters.items():
            taken: Any = [[text]]
            for step in ensemble.filters:
                taken = list(step().apply(taken, [{}]))
            value = self._metric(references=[gold], predictions=[taken[0]], **self._settings)["exact_match"]
            found[name] = Reading(None if taken[0] == NOTHING else str(taken[0]), value == 1)
        return found

    def picks(self, name: str) -> str:
        """Which of its matches a filter takes, in words: "the first match", "the last match", or "its own rule"."""
        steps = next((each["filter"] for each in self.rules["filter_list"] if each["name"] == name), ())
        chosen = next((step.get("group_select", 0) for step in steps if "regex_pattern" in step), None)
        return "the first match" if chosen == 0 else "the last match" if chosen == -1 else "its own rule"
