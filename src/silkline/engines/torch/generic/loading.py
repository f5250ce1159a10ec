"""Loads a model without an adapter, and finds out by trying how it is asked.

Processors and models differ in what they accept. Nothing is assumed from a model's name: before it
serves, it is asked about two images, alone and together, and without an image.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GenerationMixin

from silkline.core import Image, ImagePart, Message, Role, TextPart
from silkline.engines.kv_budget import USUAL_CONTEXT, kv_budget
from silkline.engines.torch.constraint import open_matchers
from silkline.engines.torch.families.base import Prompt
from silkline.engines.torch.families.token_ids import as_ids
from silkline.engines.torch.generic.architectures import generic_classes
from silkline.engines.torch.generic.batch import Limits, StaticBatch
from silkline.engines.torch.generic.model import (
    PROCESSOR_ERRORS,
    CallForm,
    GenericModel,
    GenericParts,
)
from silkline.engines.torch.loading import LOCAL, checked, load_config, load_model, unusable
from silkline.engines.torch.prompt import Tokenizer
from silkline.engines.torch.quantised import compute_quantised
from silkline.errors import ConfigError, EnvironmentFault, InvalidRequest
from silkline.models.chat_template import read_chat_template

logger = logging.getLogger("silkline.engines.torch")

_SIZES = ((64, 64), (1024, 1024), (2048, 2048), (4096, 1024), (1024, 4096))
"""Widths and heights for which image tokens are counted; the largest count is the maximum."""

_SIZE = (96, 72)
_QUESTION = "What is this?"
_NEAR = 0.25
"""In a batch, the logits of a request may differ from those alone by this share of the difference
between two requests; rounding is far below."""


def load_generic(
    folder: Path, *, dtype: torch.dtype, device: torch.device, max_batch: int
) -> GenericModel:
    """Loads the model in a folder whose `model_type` is one of `generic_classes`.

    Args:
        folder: The folder.
        dtype: Type of the weights in memory.
        device: Device of the weights.
        max_batch: Maximum number of requests in a batch.

    Raises:
        ConfigError: The engine does not support it, files are missing or damaged, transformers
            cannot load it, or it does not answer about images.
        EnvironmentFault: A library that it needs is not installed.
    """
    model_type = checked(folder).config.text("model_type") or ""
    kind = getattr(transformers, generic_classes()[model_type])
    processor = _load_processor(folder)
    model = load_model(folder, kind, load_config(folder, kind), dtype)
    model = model.to(device).eval().requires_grad_(requires_grad=False)
    compute_quantised(model, batch=max_batch, dtype=dtype)
    tokenizer = Tokenizer(processor.tokenizer)
    ends = _end_ids(model, tokenizer)
    _make_plain(model.generation_config)
    parts = GenericParts(
        model=model,
        processor=processor,
        tokenizer=tokenizer,
        template=read_chat_template(folder),
        end_ids=ends,
        matchers=open_matchers(tokenizer.wrapped, ends),
    )
    return _first_that_works(folder, parts)


def batch_of(
    model: GenericModel, *, max_batch: int, kv_cache_bytes: int, spare: int
) -> StaticBatch:
    """Builds the batch of a loaded model, within the memory for keys and values.

    Args:
        model: The model.
        max_batch: Maximum number of requests in a batch.
        kv_cache_bytes: Memory for keys and values; 0 chooses.
        spare: Bytes of memory that they may take if `kv_cache_bytes` is 0.
    """
    with torch.inference_mode():
        prompts = [model.prepare((_asked(1),), (image,)) for image in _images(2)]
        first = _generate(model, prompts[:1])
        token_bytes = _token_bytes(first, len(prompts[0].ids))
        batches = max_batch > 1 and _batches(model, prompts, first.scores[0].float())
    if not batches and max_batch > 1:
        logger.warning("this model's answers differ in a batch: it answers one request at a time")
    budget = kv_budget(
        kv_cache_bytes,
        requests=max_batch,
        tokens=min(model.context_length, USUAL_CONTEXT),
        token_bytes=token_bytes,
        spare=spare,
    )
    return StaticBatch(model, Limits(max_batch if batches else 1, budget, token_bytes))


def _load_processor(folder: Path) -> Any:
    try:
        processor = transformers.AutoProcessor.from_pretrained(folder, **LOCAL)
    except ImportError as error:
        raise EnvironmentFault(
            f"The processor in {folder} needs a library that is not installed: "
            f"{str(error).strip().splitlines()[0]}",
            remedy="pip install torchvision",
        ) from error
    except Exception as error:  # transformers and its libraries raise any class of error
        raise unusable(folder, "processor", error) from error
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise ConfigError(
            f"transformers {transformers.__version__} has no processor for text and images for "
            f"{folder}. Use the engine remote with a server that supports it, such as vLLM."
        )
    return processor


def _end_ids(model: Any, tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that end an answer: as `generate` knows them, else the tokenizer's."""
    value = model.generation_config.eos_token_id
    return as_ids(tokenizer.wrapped.eos_token_id if value is None else value)


def _make_plain(config: Any) -> None:
    """Leaves sampling and the end of an answer to the engine; the model's other rules stay."""
    plain = transformers.GenerationConfig()
    for name in (
        "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff",
        "eta_cutoff", "repetition_penalty", "num_beams", "num_beam_groups", "early_stopping",
        "length_penalty", "diversity_penalty", "num_return_sequences", "penalty_alpha",
        "max_length", "min_length", "min_new_tokens", "max_time", "stop_strings", "eos_token_id",
        "forced_eos_token_id", "cache_implementation", "guidance_scale", "prompt_lookup_num_tokens",
    ):  # fmt: skip
        if hasattr(config, name):
            setattr(config, name, getattr(plain, name, None))
    if config.pad_token_id is None:
        config.pad_token_id = 0


def _first_that_works(folder: Path, parts: GenericParts) -> GenericModel:
    """Returns the model with the first way of calling its processor that it answers to."""
    reason = ""
    for form in _forms(parts):
        try:
            found = GenericModel(parts, form)
            with torch.inference_mode():
                if not _sees(found):
                    reason = "its answer does not depend on the image"
                elif not _chooses(found):
                    reason = "its generate takes no logits processor"
                else:
                    _measure(found)
                    return found
        except (ConfigError, InvalidRequest) as error:
            reason = repr(error.__cause__) if error.__cause__ else error.message
        except PROCESSOR_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
        logger.info("%s does not work with %s: %s", folder.name, form, reason)
    raise ConfigError(
        f"The engine torch has no adapter for {folder}, and generate of transformers "
        f"{transformers.__version__} does not answer about an image with its processor ({reason}). "
        "Use the engine remote with a server that supports it, such as vLLM."
    )


def _forms(parts: GenericParts) -> Iterator[CallForm]:
    """The ways to call a processor, in the order in which they are tried.

    Without a template, a processor may place images itself. It may then not notice a marker, so
    the form without one comes first.
    """
    markers = _markers(parts)
    for marker in markers if parts.template is not None else (None, *markers):
        for nested in (True, False):
            yield CallForm(marker, nested)


def _markers(parts: GenericParts) -> list[str]:
    """The texts that may stand for an image in a prompt."""
    named = [getattr(parts.processor, name, None) for name in ("image_token", "boi_token")]
    added = parts.tokenizer.added.texts.values()
    known = [str(text) for text in named if text] + [text for text in added if "image" in text]
    if parts.template is None:
        return [*dict.fromkeys(known)]
    plain, seen = (_rendered(parts, images) for images in (0, 1))
    written = [text for text in added if seen.count(text) == plain.count(text) + 1]
    return sorted(dict.fromkeys([*written, *known]), key=lambda text: text not in written)


def _rendered(parts: GenericParts, images: int) -> str:
    """A question as the chat template writes it; empty if it takes no parts."""
    content = [{"type": "image"}] * images + [{"type": "text", "text": _QUESTION}]
    try:
        text: str = parts.tokenizer.wrapped.apply_chat_template(
            [{"role": "user", "content": content}], chat_template=parts.template, tokenize=False
        )
    except Exception:  # noqa: BLE001 - templates raise any class of error
        return ""
    return text


def _sees(model: GenericModel) -> bool:
    """Whether the model's first logits depend on the image."""
    one, other = (
        _first_logits(model, [model.prepare((_asked(1),), (image,))]) for image in _images(2)
    )
    model.vocabulary = one.shape[1]
    return not torch.equal(one, other)


class _Seen:
    """A logits processor that tells whether `generate` calls it."""

    called = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Called by `generate`."""
        del input_ids
        self.called = True
        return scores


def _chooses(model: GenericModel) -> bool:
    """Whether tokens can be chosen; some classes' `generate` leave logits processors out."""
    prompt = model.prepare((_asked(1),), _images(1))
    for generate in (model.model.generate, partial(GenerationMixin.generate, model.model)):
        model.generate, seen = generate, _Seen()
        _generate(model, [prompt], logits_processor=[seen])
        if seen.called:
            return True
    return False


def _measure(model: GenericModel) -> None:
    """Counts the tokens of images, and finds out whether a question needs one."""
    for size in _SIZES:
        try:
            prompt = model.prepare((_asked(1),), _images(1, size))
        except InvalidRequest:
            continue
        model.image_tokens = max(model.image_tokens, prompt.images[0].tokens)
    try:
        _first_logits(model, [model.prepare((_asked(0),), ())])
    except (InvalidRequest, *PROCESSOR_ERRORS):
        model.needs_image = True


def _batches(model: GenericModel, prompts: Sequence[Prompt], first: torch.Tensor) -> bool:
    """Whether two requests in a batch get the logits that each gets alone; `first` has those."""
    alone = torch.cat([first, _first_logits(model, prompts[1:])])
    try:
        together = _first_logits(model, prompts)
    except PROCESSOR_ERRORS:
        return False
    finite = alone.isfinite().all(0)
    apart = (alone[0] - alone[1])[finite].abs().max()
    return bool((together - alone)[:, finite].abs().max() <= _NEAR * apart)


def _first_logits(model: GenericModel, prompts: Sequence[Prompt]) -> torch.Tensor:
    """The logits of the first token of each prompt, computed in one batch; `[N, vocabulary]`."""
    made = _generate(model, prompts)
    logits: torch.Tensor = made.scores[0]
    return logits.float()


def _generate(model: GenericModel, prompts: Sequence[Prompt], **options: Any) -> Any:
    return model.generate(
        **model.placed([prompt.inputs for prompt in prompts]),
        **options,
        max_new_tokens=1,
        return_dict_in_generate=True,
        output_scores=True,
    )


def _token_bytes(made: Any, tokens: int) -> int:
    """Bytes of a token's keys and values, measured after a prompt; 0 if the model keeps none."""
    kept = getattr(made, "past_key_values", None)
    return -(-_bytes(kept, set()) // max(1, tokens))


def _bytes(value: Any, seen: set[int]) -> int:
    """The size of all tensors inside an object."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(_bytes(each, seen) for each in value.values())
    if isinstance(value, list | tuple):
        return sum(_bytes(each, seen) for each in value)
    return _bytes(vars(value), seen) if hasattr(value, "__dict__") else 0


def _asked(images: int) -> Message:
    return Message(Role.USER, (*map(ImagePart, range(images)), TextPart(_QUESTION)))


def _images(count: int, size: tuple[int, int] = _SIZE) -> tuple[Image, ...]:
    """Images of noise, each another one."""
    width, height = size
    made = []
    for seed in range(count):
        noise = torch.Generator().manual_seed(seed)
        pixels = torch.randint(256, (3 * width * height,), generator=noise, dtype=torch.uint8)
        made.append(Image(width, height, pixels.numpy().tobytes(), f"noise {seed}"))
    return tuple(made)
