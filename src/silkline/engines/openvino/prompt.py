"""Formats messages as a prompt: for the pipeline, and as transformers does.

The pipeline marks the position of an image by a tag in the prompt. A tag or other special token
that a client typed as text must not be read as one: see `prompt_text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from silkline.core import Message, Request
from silkline.engines.chat.parts import AnswerForm
from silkline.engines.chat.template import (
    ChatTemplate,
    TemplateRefusedError,
    keeping,
    kept_tokens,
)
from silkline.engines.chat.turns import Content
from silkline.engines.openvino.served import Served
from silkline.engines.prompt_text import SafeText, check_image_indices
from silkline.models.added_tokens import read_added_tokens
from silkline.models.chat_template import CHAT_TEMPLATE, read_chat_template

_ENDINGS = {
    "gemma3": "\n\n\n\n",
    **dict.fromkeys(("gemma4", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"), ""),
}
"""Line breaks that the pipeline writes around an image, by family; by default, one after it."""

_PROBE = "What is this?"
_PIPELINE_TAGS = r"<ov_genai_[a-z]+_\d+>"
_IMAGE_TAG = "<ov_genai_image_{}>"
_ANY_IMAGE_TAG = re.compile(r"<ov_genai_image_\d+>")


class Tokenizer(Protocol):
    """The part of `openvino_genai.Tokenizer` that is used here."""

    chat_template: str

    def apply_chat_template(
        self,
        history: list[Any],
        *,
        add_generation_prompt: bool,
        chat_template: str = ...,
        tools: list[Any] | None = ...,
        extra_context: dict[str, Any] | None = ...,
    ) -> str:
        """Formats a conversation by the model's chat template."""

    def encode(self, prompts: str, *, add_special_tokens: bool) -> Any:
        """The tokens of a text, as `input_ids`."""


def takes_parts(tokenizer: Tokenizer, template: str = "") -> bool:
    """Whether a chat template accepts a message's content as a list of parts, as processors' do.

    Other templates expect a text; given a list, they fail or print it as Python or JSON.
    """
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": _PROBE}]}]
    try:
        written = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, chat_template=template
        )
    except RuntimeError:
        return False
    return _PROBE in written and not any(mark in written for mark in ("'type'", '"type"'))


class Contents:
    """Converts the content of messages to what chat templates expect."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self.safe = SafeText(reserved, patterns=[_PIPELINE_TAGS])
        """Breaks up the special tokens of the model and the tags of the pipeline."""

    def parts(self, message: Message) -> list[dict[str, str]]:
        """A list of parts, text or image, as processors expect."""
        return [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in self.safe.parts(message)
        ]

    def text(self, message: Message) -> str:
        """A text, with the pipeline's tags in the positions of the images."""
        return "".join(
            part if isinstance(part, str) else _IMAGE_TAG.format(part.index)
            for part in self.safe.parts(message)
        )

    def one_part(self, message: Message) -> list[dict[str, str]]:
        """Such a text as the only part of a list."""
        return [{"type": "text", "text": self.text(message)}]


class Prompts:
    """Formats prompts for one model, and counts their tokens."""

    def __init__(self, served: Served, tokenizer: Tokenizer) -> None:
        """Finds out which form of messages the model's chat template accepts.

        Args:
            served: The model.
            tokenizer: The pipeline's tokenizer.

        Raises:
            ConfigError: No file lists the model's special tokens.
        """
        self._tokenizer = tokenizer
        folders = (served.weights, served.folder)
        added = read_added_tokens(*folders)
        self._special = added.special_texts
        contents = Contents(added.reserved(served.image_token, read_chat_template(*folders)))
        template = _own_template(served.folder, served.weights)
        self._takes_parts = takes_parts(tokenizer, template)
        self.own = self._chat(
            template, contents, contents.parts if self._takes_parts else contents.text
        )
        """The model's chat template, as transformers runs it."""
        self.pipelines = self._chat(
            "", contents, contents.one_part if takes_parts(tokenizer) else contents.text
        )
        """The pipeline's chat template."""
        self._bos = _text_of(served.tokenizer.values.get("bos_token"))
        self._adds_bos = bool(self._encode("", add_special_tokens=True).size)
        self._image_token = added.text(served.image_token) or "<image>"
        self._ending = _ENDINGS.get(served.model_type, "\n")

    def ids(self, request: Request) -> tuple[NDArray[np.int64], AnswerForm]:
        """A prompt's tokens as transformers encodes them, with one image token per image.

        Returns:
            The tokens, and what may be in the answer.

        Raises:
            InvalidRequest: The messages do not show each image once, in order, or the template
                refuses the conversation or does not support what it has.
        """
        check_image_indices(request.messages, len(request.images))
        prompt = self.own.write(request.messages, request.options)
        form = self.own.answer_form(request.options, prompt)
        if not self._takes_parts:
            prompt = _ANY_IMAGE_TAG.sub(f"{self._image_token}\n", prompt)
        has_bos = bool(self._bos) and prompt.startswith(self._bos)
        return self._encode(prompt, add_special_tokens=not has_bos), form

    def for_pipeline(self, request: Request) -> tuple[str, AnswerForm]:
        """A prompt for the pipeline, which replaces its tags by the model's own image tokens.

        Returns:
            The prompt, and what may be in the answer.

        Raises:
            InvalidRequest: As for `ids`.
        """
        check_image_indices(request.messages, len(request.images))
        prompt = self.pipelines.write(request.messages, request.options)
        form = self.pipelines.answer_form(request.options, prompt)
        if self._adds_bos and self._bos and prompt.startswith(self._bos):
            prompt = prompt.removeprefix(self._bos)  # the pipeline adds one to every prompt
        return prompt, form

    def decoder(
        self, decode: Callable[[Sequence[int]], str], form: AnswerForm
    ) -> Callable[[Sequence[int]], str]:
        """Returns a function like `decode` that keeps the special tokens around the parts."""
        return keeping(decode, kept_tokens(form, self._special))

    def _chat(self, template: str, contents: Contents, content: Content) -> ChatTemplate:
        """A chat template; empty means the one in the tokenizer."""

        def render(
            turns: list[dict[str, Any]],
            *,
            opens: bool,
            tools: list[dict[str, Any]] | None,
            variables: Mapping[str, Any],
        ) -> str:
            try:
                return self._tokenizer.apply_chat_template(
                    turns,
                    add_generation_prompt=opens,
                    chat_template=template,
                    tools=tools,
                    extra_context=dict(variables),
                )
            except RuntimeError as error:
                raise TemplateRefusedError from error

        source = template or self._tokenizer.chat_template
        return ChatTemplate(render, source, contents.safe, content, constrains=True)

    def text_tokens(self, prompt: str) -> int:
        """Counts the tokens of a pipeline's prompt, without its images."""
        return len(self._encode(without_images(prompt, self._ending), add_special_tokens=True))

    def _encode(self, text: str, *, add_special_tokens: bool) -> NDArray[np.int64]:
        encoded = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        ids: NDArray[np.int64] = encoded.input_ids.data.reshape(-1)
        return ids.copy()  # the tensor's memory is the tokenizer's own


def _own_template(*folders: Path) -> str:
    """The chat template in the model's folder; empty if there is none, then the IR's is used."""
    for folder in folders:
        path = folder / CHAT_TEMPLATE
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


def _text_of(token: object) -> str:
    """The text of a special token, which tokenizer files store as text or as an object."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


def without_images(prompt: str, ending: str = "\n") -> str:
    """Removes the tags from a prompt, for counting the tokens of its text.

    Args:
        prompt: A prompt with the pipeline's tags.
        ending: The line breaks that the pipeline writes around an image.
    """
    return _ANY_IMAGE_TAG.sub(ending, prompt)
