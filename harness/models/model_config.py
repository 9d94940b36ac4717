"""Load a model's config.json as transformers reads it. Imports transformers, and no torch."""

from pathlib import Path
from typing import Any

from baseline_bench.core.errors import describe_error
from baseline_bench.models.weights import read_config
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

CONFIG_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError),
    *(ValueError, StrictDataclassError),
)
"""What transformers raises for a config.json that it does not know or accept."""

RESTORE_CONFIG = "restore the config.json that the weights were saved with"


def load_config(folder: Path) -> Any:
    """Load config.json, with one text model in it; raises one of `CONFIG_ERRORS`."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config.get_text_config().to_dict()  # several of them are a ValueError, what is no configuration an AttributeError
    return config


def find_config_fault(folder: Path) -> str | None:
    """Describe a value that config.json must not have; None if it loads, or its model type is unknown."""
    model_type = read_config(folder).get("model_type", "")
    if isinstance(model_type, str) and model_type not in CONFIG_MAPPING_NAMES:
        return None
    try:
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except CONFIG_ERRORS as error:
        return describe_error(error)
    return None
