"""lm-eval's filters and metric for one number as an answer, applied to a text and a gold alone; no data set is read."""

from typing import Any, NamedTuple

import datasets
from baseline_bench.tasks import _lm_eval_files as files
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask


class FilterReading(NamedTuple):
    """What one filter takes out of a text (None where nothing matched), and whether that is right."""

    text: str | None
    correct: bool


class NumberJudge:
    """lm-eval's own object of a task such as gsm8k, around golds alone.

    Args:
        name: of the task.
    """

    def __init__(self, name: str) -> None:
        found = files.find_task(name)
        self.label = f"lm-eval/{found.name}@{found.version}"
        named = found.members[0].config.to_dict()
        self.rules: dict[str, Any] = {key: named[key] for key in ("metric_list", "filter_list")}
        rows = {"bench": datasets.Dataset.from_list([{"gold": ""}])}
        texts = dict.fromkeys(("doc_to_text", "doc_to_target"), "gold")
        self._task = ConfigurableTask(
            config={"task": name, "custom_dataset": lambda **_: rows, "test_split": "bench", **texts, **self.rules}
        )

    def readings(self, gold: str, text: str) -> dict[str, FilterReading]:
        """What each filter makes of an answer, by its name."""
        asked = Instance("generate_until", {"gold": gold}, ("", {}), 0, ("", 0, 1), [text])
        self._task._instances = [asked]
        self._task.apply_filters()
        return {
            name: FilterReading(
                None if taken == "[invalid]" else str(taken),
                self._task.process_results(asked.doc, [taken])["exact_match"] == 1,
            )
            for name, taken in asked.filtered_resps.items()
        }
