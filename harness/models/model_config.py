"""Find what transformers does not accept in a config.json. Imports transformers, and no torch."""

from pathlib import Path

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
