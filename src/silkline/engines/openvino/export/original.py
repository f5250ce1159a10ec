"""The model to export, as transformers alone loads and asks it: no code of Silkline's engines."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import torch
import transformers
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from silkline.core import Image
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.chat_template import read_chat_template
from silkline.models.documents import Document
from silkline.models.families import find_family
from silkline.models.token_rules import Documents

_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_PILLOW: dict[str, Any] = (
    {"use_fast": False} if transformers.__version__.startswith("4.") else {"backend": "pil"}
)
"""Arguments of `AutoImageProcessor` for the processor on Pillow."""


@dataclass(frozen=True, slots=True)
class Original:
    """A loaded model.

    Attributes:
        model: In evaluation mode.
        tokenizer: Its tokenizer.
        image_processor: Its image processor on Pillow, with which models are trained.
        processor: Its processor for text and images.
    """

    model: Any
    tokenizer: Any
    image_processor: Any
    processor: Any

    def ask(self, question: str, image: Image, tokens: int) -> tuple[list[int], list[float]]:
        """Asks about an image, greedily.

        Returns:
            The tokens of the answer, and the natural log-probabilities of all tokens as the first.
        """
        pillow = PIL.Image.frombytes("RGB", (image.width, image.height), image.pixels)
        content = [{"type": "image", "image": pillow}, {"type": "text", "text": question}]
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.model.dtype)
        # Tokenizers may return inputs that the model does not take, such as token_type_ids.
        taken = inspect.signature(self.model.forward).parameters.keys()
        with torch.inference_mode():
            output = self.model.generate(
                **{name: value for name, value in inputs.items() if name in taken},
                max_new_tokens=tokens,
                do_sample=False,
                num_beams=1,
                output_logits=True,
                return_dict_in_generate=True,
            )
        first = torch.log_softmax(output.logits[0][0].float(), -1)
        return output.sequences[0, -len(output.logits) :].tolist(), first.tolist()


def load_original(folder: Path, files: Documents, dtype: torch.dtype | None) -> Original:
    """Loads the model in a folder: safetensors only, and no code but transformers' own.

    Args:
        folder: The model's folder.
        files: Its JSON files.
        dtype: Type of the weights in memory; None takes the type in the files.

    Raises:
        ConfigError: Files are missing or damaged.
        EnvironmentFault: transformers does not have the model's class.
    """
    tokenizer = _loaded("tokenizer", folder, transformers.AutoTokenizer)
    image_processor = _image_processor(folder, files.image)
    return Original(
        model=_model(folder, files, dtype),
        tokenizer=tokenizer,
        image_processor=image_processor,
        processor=_processor(folder, files, tokenizer, image_processor),
    )


def _model(folder: Path, files: Documents, dtype: torch.dtype | None) -> Any:
    family = find_family(files.config)
    known = frozenset[str]() if family is None else family.architectures
    named: Sequence[str] = [name for name in files.config.texts("architectures") if name in known]
    name = (*named, *sorted(known), "none")[0]
    kind = getattr(transformers, name, None)
    if kind is None:
        raise EnvironmentFault(
            f"transformers {transformers.__version__} does not have the class {name}. Serve the "
            "model with another engine, such as --engine torch."
        )
    config = _loaded("configuration", folder, kind.config_class)
    # It may name a hub repository, whose attention code would be downloaded and run.
    config._attn_implementation = None  # noqa: SLF001 - transformers' own switch
    model, report = _loaded(
        "model",
        folder,
        kind,
        config=config,
        dtype="auto" if dtype is None else dtype,
        use_safetensors=True,
        output_loading_info=True,
    )
    absent = sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"])))
    if absent:
        raise ConfigError(
            f"{folder} does not hold all weights of its model: {len(absent)} are missing or have "
            f"another shape, such as {absent[0]}. Get the files again from where the model was "
            "published."
        )
    return model.eval().requires_grad_(requires_grad=False)


def _image_processor(folder: Path, image: Document) -> Any:
    kind, options = transformers.AutoImageProcessor, _PILLOW
    named = (image.text("image_processor_type") or "").removesuffix("Fast")
    if found := getattr(transformers, f"{named}Pil", None):
        kind, options = found, {}  # for some of these, AutoImageProcessor asks for torchvision
    processor = _loaded("image processor", folder, kind, **options)
    size = image.section("size")
    if hasattr(processor, "min_pixels") and size:
        # Qwen2VLImageProcessor of 4.57 takes its defaults instead of the file's `size`.
        processor.min_pixels = image.number("min_pixels") or size.number("shortest_edge")
        processor.max_pixels = image.number("max_pixels") or size.number("longest_edge")
    return processor


def _processor(folder: Path, files: Documents, tokenizer: Any, image_processor: Any) -> Any:
    """The model's processor; its parts for videos and sound, which need more libraries, are empty.

    AutoProcessor would load these parts, too.
    """
    name = PROCESSOR_MAPPING_NAMES[files.config.text("model_type") or ""]
    kind = getattr(transformers, name)
    parts: dict[str, Any] = {"image_processor": image_processor, "tokenizer": tokenizer}
    taken = inspect.signature(kind.__init__).parameters
    parts |= dict.fromkeys(taken.keys() & {"video_processor", "feature_extractor"})
    said = {key: value for key, value in files.processor.values.items() if key in taken}
    loose = type(name, (kind,), {"check_argument_for_proper_class": _any_class})
    template = read_chat_template(folder)
    try:
        return loose(**{**said, **parts}, chat_template=template)
    except Exception as error:  # transformers and its libraries raise any class of error
        raise _unusable(folder, "processor", error) from error


def _any_class(processor: Any, name: str, part: Any) -> type:
    """Replaces the check that each part has the class that its name says."""
    del processor, name
    return type(part)


def _loaded(part: str, folder: Path, kind: Any, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder, **options, **_LOCAL)
    except Exception as error:  # transformers and its libraries raise any class of error
        raise _unusable(folder, part, error) from error


def _unusable(folder: Path, part: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"transformers {transformers.__version__} cannot load the {part} in {folder} "
        f"({type(error).__name__}: {error}). Get the files again from where the model was "
        "published."
    )
