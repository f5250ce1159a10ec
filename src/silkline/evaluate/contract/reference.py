"""The reference: the model as transformers runs it.

It uses no code of Silkline's engines: processor and model come from the model's folder, images from
`upright`, and everything is computed in float32 on the CPU.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText

from silkline.errors import ConfigError
from silkline.evaluate.contract.case import Case
from silkline.evaluate.contract.expected import Expected, Untaken
from silkline.evaluate.contract.processor import LOCAL, UNREADABLE, load_processor
from silkline.evaluate.contract.upright import upright

_RANGE = 255
_ATTENTION = "eager"
"""The plain formula: transformers' faster attentions ignore Gemma 2's cap on the scores."""

_WITHOUT_TEMPLATE = {"blip-2": "Question: {words} Answer:", "paligemma": "{images}{words}"}
"""Prompts of model families without chat templates, from their authors' examples; {images} is
replaced by one image token per image."""


class Reference:
    """A transformers model, on the CPU in float32.

    Attributes:
        version: The version of transformers.
    """

    version: str = transformers.__version__

    def __init__(self, folder: Path) -> None:
        """Loads the model.

        Raises:
            ConfigError: transformers cannot load a model from the folder.
        """
        try:
            with _quiet():
                self._processor: Any = load_processor(folder)
                self._model: Any = AutoModelForImageTextToText.from_pretrained(
                    folder,
                    dtype=torch.float32,
                    use_safetensors=True,
                    attn_implementation=_ATTENTION,
                    **LOCAL,
                )
        except UNREADABLE as error:
            raise ConfigError(
                f"transformers cannot load the model in {folder} as the reference: {error}. "
                "Name the folder of the original model, with its processor: --reference FOLDER."
            ) from error
        self._model.eval()
        self._taken = inspect.signature(self._model.forward).parameters.keys()
        config = self._model.config
        self._template: str | None = (
            self._processor.chat_template or self._processor.tokenizer.chat_template
        )
        # Images as a list per prompt, as `apply_chat_template` returns them.
        self._nests = self._template is not None or config.model_type == "paligemma"
        self.image_token: int = getattr(config, "image_token_id", None) or config.image_token_index

    def truth(self, case: Case) -> Expected:
        """The result of transformers for a case.

        Raises:
            Untaken: transformers does not support the case.
        """
        images = tuple(upright(data) for data in case.images)
        if len(images) > 1 and not self._nests:
            raise Untaken("it takes only one image per prompt")
        return self.read(case, images)

    def read(self, case: Case, images: Sequence[Image.Image]) -> Expected:
        """The result of transformers for a case, with these images instead of its own.

        Raises:
            Untaken: transformers does not support them.
        """
        try:
            with _quiet(), torch.inference_mode():
                inputs = self._inputs(case, images)
                answer = self._model.generate(
                    **inputs,
                    do_sample=False,
                    max_new_tokens=1,
                    return_dict_in_generate=True,
                    output_logits=True,
                )
        except UNREADABLE as error:
            raise Untaken(_short(error)) from error
        ids = inputs["input_ids"][0]
        return Expected(
            images=tuple(images),
            pixels=_rows(inputs["pixel_values"].float().numpy()),
            prompt_ids=tuple(ids.tolist()),
            image_tokens=int((ids == self.image_token).sum()),
            logits=answer.logits[0][0].float().numpy(),
        )

    def step(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The difference in processed pixel values that 1/255 makes, for each number of a tile.

        The processor divides each channel by its own standard deviation.
        """
        image = self._processor.image_processor
        factor = image.rescale_factor if getattr(image, "do_rescale", True) else 1 / _RANGE
        deviations = image.image_std if getattr(image, "do_normalize", True) else 1.0
        steps = factor / np.broadcast_to(np.asarray(deviations, np.float32), 3)
        if pixels.ndim == 2:  # noqa: PLR2004 - flattened patches hold one channel after the other
            return np.repeat(steps, pixels.shape[1] // 3).astype(np.float32)
        return steps.reshape(3, 1, 1).astype(np.float32)

    def text(self, token: int) -> str:
        """The text of a single token, including special tokens."""
        return str(self._processor.tokenizer.decode([token]))

    def shown_text(self, token: int) -> str:
        """The text of an answer that consists of this token, without special tokens."""
        return str(self._processor.tokenizer.decode([token], skip_special_tokens=True))

    def _inputs(self, case: Case, images: Sequence[Image.Image]) -> Mapping[str, torch.Tensor]:
        prompt = self._prompt(case)
        tokenizer = self._processor.tokenizer
        # A template that writes the first token itself must not get a second one.
        has_bos = bool(tokenizer.bos_token) and prompt.startswith(tokenizer.bos_token)
        inputs: Mapping[str, torch.Tensor] = self._processor(
            text=[prompt],
            images=[list(images)] if self._nests else list(images),
            return_tensors="pt",
            add_special_tokens=not has_bos,
            # Without this, transformers guesses the channel axis from an array's shape, and takes
            # an image of 1 or 3 rows for one with channels first.
            input_data_format="channels_last",
        )
        # Tokenizers may return inputs that the model does not take, such as token_type_ids.
        return {name: value for name, value in inputs.items() if name in self._taken}

    def _prompt(self, case: Case) -> str:
        content = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in case.parts
        ]
        if self._template is None:
            words = "".join(part for part in case.parts if isinstance(part, str))
            markers = self.text(self.image_token) * len(case.images)
            template = _WITHOUT_TEMPLATE.get(self._model.config.model_type, "{words}")
            return template.format(words=words, images=markers)
        turns = [{"role": "user", "content": content}]
        return str(
            self._processor.apply_chat_template(
                turns, chat_template=self._template, add_generation_prompt=True
            )
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences transformers' warnings and progress bars."""
    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.utils.logging.set_verbosity(before)


def _rows(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """All tiles in one sequence, without the empty padding tiles."""
    if pixels.ndim <= 4:  # noqa: PLR2004
        return pixels
    tiles = pixels.reshape(-1, pixels.shape[-4], *pixels.shape[-3:])
    kept = [image[: _used(image)] for image in tiles]
    return np.concatenate(kept)


def _used(tiles: NDArray[np.float32]) -> int:
    """The number of tiles of an image before the padding tiles at the end."""
    filled = np.flatnonzero(np.any(tiles, axis=(1, 2, 3)))
    return int(filled[-1]) + 1 if filled.size else 0


def _short(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
