"""What transformers alone answers: one request at a time, plain attention, the processor's tensors.

Nothing here goes through Silkline: the prompt, the pixels and the answer are those of the
processor's `apply_chat_template` and the model's `generate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import torch
import transformers

from silkline.core import Image, ImagePart, Message, Role, TextPart
from tests.engines.asking import picture, user
from tests.engines.torch.tiny import Tiny


@dataclass(frozen=True)
class Case:
    """A conversation."""

    messages: tuple[Message, ...]
    images: tuple[Image, ...] = ()


def _said(role: Role, text: str) -> Message:
    return Message(role, (TextPart(text),))


CASES: Mapping[str, Case] = {
    "one picture": Case((user(0, "What is this?"),), (picture(1, 48, 36),)),
    "two pictures": Case(
        (user("Compare ", 0, " and ", 1, " now."),), (picture(2, 20, 70), picture(3, 100, 40))
    ),
    "no picture": Case((user("Name three colours, please."),)),
    "pictures in two turns": Case(
        (user(0, "Hi"), _said(Role.ASSISTANT, "A cup."), user("And ", 1, "?")),
        (picture(4, 64, 64), picture(5, 33, 90)),
    ),
    "a long prompt": Case(
        (_said(Role.SYSTEM, "Be brief. " * 5), user(0, "Read it to me. " * 6)),
        (picture(6, 90, 25),),
    ),
}


class Reference:
    """A model as transformers serves it."""

    def __init__(self, tiny: Tiny, folder: Path) -> None:
        self._tiny = tiny
        self.model = getattr(transformers, tiny.model).from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self.model.eval()
        self.processor = processor(tiny, folder)
        self.tokenizer = self.processor.tokenizer

    def answer(self, case: Case, most: int) -> tuple[torch.Tensor, list[int], float]:
        """The prompt's ids, the answer's, and the least lead of a first over a second token."""
        inputs = self._inputs(case)
        ids = inputs["input_ids"]
        model = self.model
        if self._tiny.model_type == "blip-2" and not case.images:
            model = model.language_model  # `generate` of BLIP-2 itself asks for a picture
        if self._tiny.model_type == "paligemma" and not case.images:
            inputs["token_type_ids"] = torch.zeros_like(ids)
        made = model.generate(
            **inputs, do_sample=False, max_new_tokens=most, output_scores=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        answer = made.sequences[0, -len(made.scores) :].tolist()
        best = torch.stack(made.scores).squeeze(1).topk(2).values
        return ids[0], answer, float((best[:, 0] - best[:, 1]).min())

    def _inputs(self, case: Case) -> dict[str, Any]:
        pictures = [as_pil(image) for image in case.images]
        plain = {"blip-2": self._blip_2, "paligemma": self._paligemma}.get(self._tiny.model_type)
        if plain is not None:
            return dict(plain(case, pictures))
        conversation = [
            {
                "role": message.role.value,
                "content": [_part(part, pictures) for part in message.parts],
            }
            for message in case.messages
        ]
        made = self.processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
        return dict(made)

    def _blip_2(self, case: Case, pictures: list[PIL.Image.Image]) -> Any:
        said = {Role.USER: "Question: {} Answer:"}
        text = " ".join(said.get(each.role, "{}").format(_words(each)) for each in case.messages)
        return self.processor(images=pictures or None, text=text, return_tensors="pt")

    def _paligemma(self, case: Case, pictures: list[PIL.Image.Image]) -> Any:
        text = "\n".join(_words(each) for each in case.messages)
        if not pictures:
            words = f"{self.tokenizer.bos_token}{text}\n"
            return {"input_ids": self.tokenizer(words, return_tensors="pt").input_ids}
        return self.processor(
            images=[pictures], text="<image>" * len(pictures) + text, return_tensors="pt"
        )


def as_pil(image: Image) -> PIL.Image.Image:
    return PIL.Image.frombytes("RGB", (image.width, image.height), image.pixels)


def _words(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def _part(part: TextPart | ImagePart, pictures: list[PIL.Image.Image]) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image", "image": pictures[part.index]}


def processor(tiny: Tiny, folder: Path) -> Any:
    """The family's processor; its part for videos, which needs more libraries, is left empty.

    SmolVLM's cannot be made without these, whatever it is for; Idefics3's writes the same prompts.
    """
    name = tiny.processor.replace("SmolVLM", "Idefics3")
    kind = getattr(transformers, name)
    major = int(transformers.__version__.split(".")[0])
    pillow = {"backend": "pil"} if major > 4 else {"use_fast": False}
    parts = {
        "image_processor": transformers.AutoImageProcessor.from_pretrained(folder, **pillow),
        "tokenizer": transformers.AutoTokenizer.from_pretrained(folder),
    }
    if "video_processor" in inspect.signature(kind.__init__).parameters:
        parts["video_processor"] = None
    if "feature_extractor" in inspect.signature(kind.__init__).parameters:
        parts["feature_extractor"] = None
    # The parts' classes are asked for by name; tiny tokenizers are of none in particular.
    loose = type(name, (kind,), {"check_argument_for_proper_class": _any_class})
    return loose(**parts, **tiny.made_with, chat_template=tiny.template)


def _any_class(processor: Any, name: str, part: Any) -> type:
    return type(part)
