"""Apply lm-eval's filters and metric for a numeric answer to a text and a gold answer; no data set is read."""

from typing import Any, NamedTuple

import datasets
from baseline_bench.tasks import _lm_eval_files as files
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask


class FilterReading(NamedTuple):
    """The answer that one filter extracts from a text (None without a match), and whether it is right."""

    text: str | None
    correct: bool


class NumberJudge:
    """lm-eval's own task object, such as gsm8k, that judges against gold answers without a data set."""

    def __init__(self, name: str) -> None:
        found_task = files.find_task(name)
        self.label = f"lm-eval/{found_task.name}@{found_task.version}"
        config = found_task.members[0].config.to_dict()
        self.rules: dict[str, Any] = {key: config[key] for key in ("metric_list", "filter_list")}
        rows = {"bench": datasets.Dataset.from_list([{"gold": ""}])}
        texts = dict.fromkeys(("doc_to_text", "doc_to_target"), "gold")
        self._task = ConfigurableTask(
            config={"task": name, "custom_dataset": lambda **_: rows, "test_split": "bench", **texts, **self.rules}
        )

    def readings(self, gold: str, text: str) -> dict[str, FilterReading]:
        """Return what each filter extracts from an answer, by the filter's name."""
        instance = Instance("generate_until", {"gold": gold}, ("", {}), 0, ("", 0, 1), [text])
        self._task._instances = [instance]
        self._task.apply_filters()
        return {
            name: FilterReading(
                None if filtered == "[invalid]" else str(filtered),
                self._task.process_results(instance.doc, [filtered])["exact_match"] == 1,
            )
            for name, filtered in instance.filtered_resps.items()
        }
