"""The model as transformers runs it: the other side of every comparison.

Nothing of Silkline's engines is used: the processor and the model come from the model's folder, the
pictures from `upright`, and everything is computed in float32 on the CPU.
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
"""The formula as it stands: transformers' faster ones leave Gemma 2's cap of the scores out."""

_WITHOUT_TEMPLATE = {"blip-2": "Question: {words} Answer:", "paligemma": "{images}{words}"}
"""How families without chat templates are asked, as their authors' examples do; {images} stands
for the image token, once for each."""


class Reference:
    """A model of transformers, on the CPU in float32.

    Attributes:
        version: Of transformers.
    """

    version: str = transformers.__version__

    def __init__(self, folder: Path) -> None:
        """Loads it; takes as long as its weights need.

        Raises:
            ConfigError: The folder holds none that transformers loads.
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
        # A list in a list, as `apply_chat_template` gives it: the pictures of one prompt.
        self._nests = self._template is not None or config.model_type == "paligemma"
        self.image_token: int = getattr(config, "image_token_id", None) or config.image_token_index

    def truth(self, case: Case) -> Expected:
        """What transformers makes of a case.

        Raises:
            Untaken: It refuses the case.
        """
        images = tuple(upright(data) for data in case.images)
        if len(images) > 1 and not self._nests:
            raise Untaken("it takes one picture in a prompt")
        return self.read(case, images)

    def read(self, case: Case, images: Sequence[Image.Image]) -> Expected:
        """What transformers makes of a case with these pictures in the place of its own.

        Raises:
            Untaken: It refuses them.
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
        """How far apart two pixel values are that differ by 1 of 255, for each number of a tile.

        The processor divides by a standard deviation, for each channel its own.
        """
        image = self._processor.image_processor
        factor = image.rescale_factor if getattr(image, "do_rescale", True) else 1 / _RANGE
        deviations = image.image_std if getattr(image, "do_normalize", True) else 1.0
        steps = factor / np.broadcast_to(np.asarray(deviations, np.float32), 3)
        if pixels.ndim == 2:  # noqa: PLR2004 - flattened patches hold one channel after the other
            return np.repeat(steps, pixels.shape[1] // 3).astype(np.float32)
        return steps.reshape(3, 1, 1).astype(np.float32)

    def text(self, token: int) -> str:
        """The text of a token on its own, special ones included."""
        return str(self._processor.tokenizer.decode([token]))

    def shown_text(self, token: int) -> str:
        """The text of an answer that has only this token."""
        return str(self._processor.tokenizer.decode([token], skip_special_tokens=True))

    def _inputs(self, case: Case, images: Sequence[Image.Image]) -> Mapping[str, torch.Tensor]:
        prompt = self._prompt(case)
        tokenizer = self._processor.tokenizer
        # A template that writes the first token itself must not get a second one.
        begun = bool(tokenizer.bos_token) and prompt.startswith(tokenizer.bos_token)
        inputs: Mapping[str, torch.Tensor] = self._processor(
            text=[prompt],
            images=[list(images)] if self._nests else list(images),
            return_tensors="pt",
            add_special_tokens=not begun,
            # Told, because transformers guesses the axis of colours from an array's shape, and
            # takes a picture of 1 or 3 rows for one whose colours come first.
            input_data_format="channels_last",
        )
        # Tokenizers may give what the model has no use for, such as token_type_ids.
        return {name: value for name, value in inputs.items() if name in self._taken}

    def _prompt(self, case: Case) -> str:
        content = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in case.parts
        ]
        if self._template is None:
            words = "".join(part for part in case.parts if isinstance(part, str))
            markers = self.text(self.image_token) * len(case.images)
            asked = _WITHOUT_TEMPLATE.get(self._model.config.model_type, "{words}")
            return asked.format(words=words, images=markers)
        turns = [{"role": "user", "content": content}]
        return str(
            self._processor.apply_chat_template(
                turns, chat_template=self._template, add_generation_prompt=True
            )
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers says to those who choose its processors and classes."""
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
    """All tiles in one row, without the empty ones that fill a batch up."""
    if pixels.ndim <= 4:  # noqa: PLR2004
        return pixels
    tiles = pixels.reshape(-1, pixels.shape[-4], *pixels.shape[-3:])
    kept = [image[: _used(image)] for image in tiles]
    return np.concatenate(kept)


def _used(tiles: NDArray[np.float32]) -> int:
    """How many tiles of a picture come before the empty ones at the end."""
    filled = np.flatnonzero(np.any(tiles, axis=(1, 2, 3)))
    return int(filled[-1]) + 1 if filled.size else 0


def _short(error: Exception) -> str:
    """The first line of what transformers says."""
    return (str(error).splitlines() or [type(error).__name__])[0]
