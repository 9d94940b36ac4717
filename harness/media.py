"""What a question shows or plays beside its words: pictures and sounds, as bytes that a process can be sent."""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from harness.errors import BenchError

Kind = Literal["image", "audio"]

# Where a conversation shows or plays one, as lm-eval writes it.
PLACES: dict[Kind, str] = {"image": "<image>", "audio": "<audio>"}
# How tokenizers of transformers call the token that a prompt has there: what opens a picture (Gemma), else the picture.
_TOKENS: dict[Kind, tuple[str, ...]] = {"image": ("boi_token", "image_token"), "audio": ("boa_token", "audio_token")}
_BORDERS = re.compile(f"({'|'.join(PLACES.values())})")
# What stands in the folder of a model that takes them.
_PROCESSOR = ("processor_config.json", "preprocessor_config.json")
# What a PNG holds without loss; other pictures become RGB.
_EXACT = ("1", "L", "LA", "RGB", "RGBA", "I;16")


@dataclass(frozen=True, slots=True)
class Medium:
    """One picture or one sound.

    Attributes:
        kind: which of the two.
        data: a picture as a PNG file; a sound as float32 samples of one channel, little-endian.
        sha256: over the pixels or samples themselves, so that no encoder's version matters.
        rate: samples a second of a sound.
    """

    kind: Kind
    data: bytes
    sha256: str
    rate: int | None = None


def picture(image: Any) -> Medium:
    """A PIL image; one with a palette becomes RGB, or RGBA where it is transparent somewhere."""
    if image.mode not in _EXACT:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
    file = io.BytesIO()
    image.save(file, "PNG")
    return Medium("image", file.getvalue(), digest)


def sound(samples: Any, rate: int) -> Medium:
    """Samples of one channel between -1 and 1, `rate` of them a second."""
    data = import_module("numpy").asarray(samples, dtype="<f4").tobytes()
    return Medium("audio", data, hashlib.sha256(f"{rate} ".encode() + data).hexdigest(), rate)


def opened(medium: Medium) -> Any:
    """The PIL image, or the samples as an array; Pillow must be installed for pictures."""
    if medium.kind == "audio":
        return import_module("numpy").frombuffer(medium.data, dtype="<f4")
    image = import_module("PIL.Image").open(io.BytesIO(medium.data))
    image.load()
    return image


def parts(text: str) -> list[dict[str, str]]:
    """A turn's text as chat templates take it where something is shown or played: a list of parts, in order."""
    kinds = {place: kind for kind, place in PLACES.items()}
    found = [piece for piece in _BORDERS.split(text) if piece]
    return [{"type": kinds[piece]} if piece in kinds else {"type": "text", "text": piece} for piece in found]


def placed(text: str, tokenizer: Any) -> str:
    """A plain text with the model's own tokens where something is shown or played, as chat templates write them."""
    for kind, names in _TOKENS.items():
        own = next((found for name in names if (found := getattr(tokenizer, name, None)) is not None), PLACES[kind])
        text = text.replace(PLACES[kind], str(own))
    return text


def require_places(name: str, text: str, shown: Sequence[Medium]) -> None:
    """Refuse a question that shows more or less than its words have places for.

    Raises:
        BenchError: naming the question.
    """
    places = [part["type"] for part in parts(text) if part["type"] != "text"]
    if places != [medium.kind for medium in shown]:
        what = (
            f"{name} shows or plays {len(shown)} pictures or sounds, and its words have {len(places)} places for them"
        )
        raise BenchError(what, f"write {' or '.join(PLACES.values())} where each belongs, in order")


def require_processor(folder: Path) -> None:
    """Refuse a model that takes no pictures or sounds, before its weights are loaded.

    Raises:
        BenchError: its folder says nothing of a processor.
    """
    if not any((folder / name).is_file() for name in _PROCESSOR):
        what = f"{folder} holds no {_PROCESSOR[0]}: the model takes no pictures or sounds"
        raise BenchError(what, "name a model that takes them, or a task of text alone")
