"""Models of transformers that take pictures or sounds: their class, and the processor that makes these ready."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from harness import media
from harness.errors import BenchError
from harness.types import Request

_OTHER = "name a model that takes them, or a task of text alone"


class Processor:
    """A model's processor: it puts a picture's or a sound's tokens in its place, and makes numbers of it.

    Args:
        folder: of the model.

    Raises:
        BenchError: the model takes no pictures or sounds, or a library is missing that its processor needs.
    """

    def __init__(self, folder: Path) -> None:
        media.require_processor(folder)
        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (ImportError, OSError, ValueError) as error:
            told = next(iter(str(error).strip().splitlines()), type(error).__name__)
            what = f"transformers {transformers.__version__} cannot load the processor in {folder}: {told}"
            raise BenchError(what, "install what it names (pillow, torchvision), or restore the folder") from error

    def inputs(self, request: Request, room: int) -> Mapping[str, Any]:
        """What the network is given: the prompt's ids with all tokens of a picture or sound, and their numbers.

        Args:
            request: with media.
            room: tokens that the prompt may have.

        Raises:
            BenchError: the prompt is too long, has not a place for each of them, or is told otherwise by its text.
        """
        tokenizer = self._processor.tokenizer
        text = tokenizer.decode(list(request.token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if tokenizer.encode(text, add_special_tokens=False) != list(request.token_ids):
            raise BenchError(f"the prompt of {request.id} does not come back from its text, which a picture needs")
        shown: dict[str, Any] = {}
        for kind, name in (("image", "images"), ("audio", "audio")):
            if found := [each for each in request.media if each.kind == kind]:
                opened = [media.opened(each) for each in found]
                shown[name] = [opened] if kind == "image" else opened
        if rates := {each.rate for each in request.media if each.rate is not None}:
            shown["sampling_rate"] = rates.pop()
        try:
            made: Mapping[str, Any] = self._processor(
                text=[text], return_tensors="pt", add_special_tokens=False, **shown
            )
        except (IndexError, TypeError, ValueError) as error:
            told = next(iter(str(error).strip().splitlines()), type(error).__name__)
            what = f"the model's processor refuses {request.id} with {len(request.media)} pictures or sounds: {told}"
            raise BenchError(what, _OTHER) from error
        if (long := made["input_ids"].shape[1]) > room:
            what = f"{request.id} has {long} tokens with what it shows or plays, and {room} fit beside its answer"
            raise BenchError(what, "score a model with a longer context")
        return made

    def moved(self, inputs: Any, network: Any) -> Mapping[str, Any]:
        """The same on the network's device and in its dtype."""
        found: Mapping[str, Any] = inputs.to(network.device, network.dtype)
        return found


def network_class(folder: Path) -> Any:
    """What reads the weights: a language model's class, or that of models known for taking pictures or sounds alone."""
    kind = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).model_type
    return AutoModelForCausalLM if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else AutoModelForMultimodalLM
