"""transformers processors for images and text without their video half.

`Qwen2VLProcessor(...)` and `AutoProcessor.from_pretrained` both build a video processor, which
needs torchvision. Reward models here read images, and torchvision wheels exist only for some
builds of torch, so the video half is left out.
"""

from __future__ import annotations

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer, ProcessorMixin
from transformers.utils import cached_file

from mmreward.errors import UserError

# Processors whose images were tried to reach the model as they do in transformers' own forward.
# Others expand images by rules of their own or pass more than pixels, and would be silently wrong.
TRIED = ("LlavaProcessor", "Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor")


@cache
def image_text_processor(base: Any) -> type[ProcessorMixin]:
    """A subclass of a Qwen-VL processor class that takes an image processor and a tokenizer.

    It keeps its base's name, so that what it saves names the class everyone else can load.
    """

    def __init__(
        self: Any,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **unused: Any,
    ) -> None:
        for name, token in {
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
        }.items():
            setattr(self, name, token)
            setattr(self, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    def __reduce__(self: Any) -> tuple[Any, ...]:
        return _restore, (base, self.__dict__)

    # transformers reads the parts a processor has from the signature of its __init__.
    members = {"__init__": __init__, "__reduce__": __reduce__, "__module__": base.__module__}
    made: type[ProcessorMixin] = type(base.__name__, (base,), members)
    return made


def _restore(base: Any, state: dict[str, Any]) -> Any:
    """Unpickles: under its base's name pickle would find the base (data workers need this)."""
    processor = image_text_processor(base).__new__(image_text_processor(base))
    processor.__dict__.update(state)
    return processor


def load_processor(
    path: str | Path,
    revision: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> tuple[Any, Any | None]:
    """(tokenizer, processor or None) from a folder or hub id, without torchvision.

    The processor's class is the one the files name; if it wants a video processor it gets none.
    min_pixels, max_pixels: images are scaled to an area within; None keeps what the files say.

    Raises UserError for a processor that is not one of `TRIED`.
    """
    revision = revision or "main"
    name = _processor_class(path, revision)
    base = getattr(transformers, name, None) if name else None
    if base is None:
        return AutoTokenizer.from_pretrained(path, revision=revision), None
    if name not in TRIED:
        raise UserError(
            f"model.backbone.path={path}: images of a {name} are not read yet; backbones with "
            f"images are those of {', '.join(TRIED)}"
        )
    if "video_processor" in inspect.signature(base.__init__).parameters:
        base = image_text_processor(base)
    limits = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    given: dict[str, Any] = {name: pixels for name, pixels in limits.items() if pixels is not None}
    processor = base.from_pretrained(path, revision=revision, **given)
    return processor.tokenizer, processor


def _processor_class(path: str | Path, revision: str) -> str | None:
    """What processor_config.json or preprocessor_config.json names, or None for a text model."""
    for file in ("processor_config.json", "preprocessor_config.json"):
        found = cached_file(
            path, file, revision=revision, _raise_exceptions_for_missing_entries=False
        )
        if found:
            name = json.loads(Path(found).read_text()).get("processor_class")
            if name:
                return str(name)
    return None
