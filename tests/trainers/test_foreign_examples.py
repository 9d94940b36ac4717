"""docs/foreign-trainers.md: each example is a whole foreign trainer, and renders what the page shows."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_training
import yaml
from baseline_bench.core import plugins
from baseline_bench.trainers import _foreign, _options
from datasets import load_from_disk
from paths import ROOT

PAGE = (ROOT / "docs" / "foreign-trainers.md").read_text(encoding="utf-8")
NAMES = ("axolotl", "LLaMA-Factory")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model, said to lie where the page says."""
    return tiny_training.model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(params=NAMES)
def example(request, base, tmp_path):
    """(section of the page, the module it shows, a job for it)."""
    section = PAGE.partition(f"\n## {request.param}\n")[2].partition("\n## ")[0]
    path = tmp_path / f"{request.param.lower().replace('-', '_')}.py"
    path.write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    trainer = plugins.load_trainer(str(path))
    job = tiny_training.job(base, tiny_training.rows(base, 4), tmp_path / "run", trainer.Options())
    return section, trainer.module, replace(job, base=replace(base, folder=Path("/models/base")))


def test_an_example_renders_what_the_page_shows(example):
    """Its configuration word for word, and its command line."""
    section, module, job = example
    shown = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1]
    assert module.files(job)["train.yaml"] == shown
    assert f"`{shlex.join(module.command(job))}`" in section


def test_a_rendered_number_is_a_number(example):
    """YAML reads 1e-05 as a text; a small rate must not become one."""
    _, module, job = example
    job = replace(job, options=replace(job.options, lr=1e-5))
    told = yaml.safe_load(module.files(job)["train.yaml"])
    assert told["learning_rate"] == 1e-5
    assert all(name in told for name in ("output_dir", "seed", "logging_steps"))
    assert told["output_dir"] == module.weights(job)


def test_an_example_s_rows_are_ours(example, tmp_path):
    """Token ids, mask and labels, as the file format of each holds them."""
    _, module, job = example
    _foreign._write_files(module.files(job), tmp_path / "place")
    if (tmp_path / "place" / "rows").is_dir():
        found = load_from_disk(tmp_path / "place" / "rows")["train"].to_list()
    else:
        found = [yaml.safe_load(line) for line in (tmp_path / "place" / "rows.jsonl").read_text().splitlines()]
    assert found == _foreign.build_columns(job.rows)


def test_the_page_tells_every_key_that_foreign_recipes_share():
    """python, time_limit and batch."""
    assert [key for key in _options.ExternalOptions.__dataclass_fields__ if f"`{key}`" not in PAGE] == []
