"""Renders messages as the text of a prompt, and converts between text and token ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from silkline.core import Feature, Message, PromptOptions, Role
from silkline.engines.chat.parts import PLAIN, AnswerForm
from silkline.engines.chat.template import ChatTemplate, TemplateRefusedError
from silkline.engines.prompt_text import SafeText
from silkline.engines.token_bytes import TokenBytes
from silkline.errors import ConfigError, InvalidRequest
from silkline.models.added_tokens import AddedTokens

PlainPrompt = Callable[[Sequence[tuple[Role, str]], str], str]
"""Renders the prompt of a model without a chat template, from the messages (role and text) and the
markers of all images."""

_PROBE = "How many are there?"
_NO_LIMIT = 10**9
"""A higher length limit of a tokenizer means no limit; transformers writes 1e30 there."""


class Tokenizer:
    """A fast tokenizer of transformers that several threads can use at once."""

    def __init__(self, tokenizer: Any) -> None:
        """Wraps a loaded tokenizer.

        Raises:
            ConfigError: The tokenizer is not backed by the library `tokenizers`.
        """
        if not tokenizer.is_fast:
            raise ConfigError(
                "The model's tokenizer has no tokenizer.json. Get that file from where the model "
                "was published."
            )
        self.wrapped = tokenizer
        self._fast = tokenizer.backend_tokenizer
        # Calling `wrapped` would set these each time, which is not thread-safe.
        self._fast.no_truncation()
        self._fast.no_padding()

    @property
    def begin(self) -> str:
        """The token that begins a text, as text; empty if there is none."""
        return self.wrapped.bos_token or ""

    @property
    def longest(self) -> int:
        """The model's maximum context length in tokens, according to the tokenizer."""
        return min(int(self.wrapped.model_max_length), _NO_LIMIT)

    @property
    def added(self) -> AddedTokens:
        """The tokens added to the tokenizer's base vocabulary."""
        added = self.wrapped.added_tokens_decoder.items()
        return AddedTokens.of((number, token.content, token.special) for number, token in added)

    def text_of(self, token: int) -> str:
        """Returns a token as text.

        Raises:
            ConfigError: The tokenizer has no such token.
        """
        text = self.wrapped.convert_ids_to_tokens(token)
        if not isinstance(text, str):
            raise ConfigError(
                f"The tokenizer has no token {token}, to which config.json refers. Get both files "
                "from where the model was published."
            )
        return text

    def id_of(self, token: str) -> int:
        """Returns the id of a token.

        Raises:
            ConfigError: The tokenizer has no such token.
        """
        found = self._fast.token_to_id(token)
        if found is None:
            raise ConfigError(
                f"The tokenizer has no token {token!r}, which the model's prompts need. Get its "
                "files again from where the model was published."
            )
        return int(found)

    def encode(self, text: str, *, special: bool | None = None) -> list[int]:
        """Converts text to token ids.

        Args:
            text: The text, in which special tokens are recognized.
            special: Whether the tokenizer adds special tokens of its own; None means it does so
                unless the text already starts with `begin`.
        """
        if special is None:
            special = not (self.begin and text.startswith(self.begin))
        ids: list[int] = self._fast.encode(text, add_special_tokens=special).ids
        return ids

    def token_bytes(self) -> TokenBytes:
        """Returns the bytes of the tokens."""
        decoder = self._fast.decoder
        return TokenBytes(
            self._fast.id_to_token,
            self.wrapped.added_tokens_decoder.keys(),
            None if decoder is None else json.loads(decoder.__getstate__()),
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Converts ids to text without special tokens; incomplete bytes become U+FFFD."""
        text: str = self._fast.decode(list(ids), skip_special_tokens=True)
        return text


class PromptWriter:
    """Renders a conversation with a model's chat template."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str | None,
        marker: str,
        reserved: Iterable[str],
        plain: PlainPrompt | None,
        *,
        constrains: bool = False,
    ) -> None:
        """Tests the template with a sample message.

        Args:
            tokenizer: The tokenizer, whose special tokens the template may use.
            template: The chat template; None if the model has none.
            marker: The text that stands for an image in the prompt.
            reserved: Special tokens that clients' text must not contain.
            plain: Renders the prompt if there is no template; None if there must be one.
            constrains: Whether answers can be constrained.

        Raises:
            ConfigError: There is no template, or it does not render images.
        """
        self._tokenizer = tokenizer
        self._template = template
        self._marker = marker
        self._safe = SafeText(reserved)
        self._plain = plain if template is None else None
        self._chat = None
        if self._plain is None:
            content = self._parts if self._template_takes_parts() else self._flat
            self._chat = ChatTemplate(
                self._render, template or "", self._safe, content, constrains=constrains
            )

    @property
    def features(self) -> frozenset[Feature]:
        """The features that depend on the template."""
        return self._chat.format.features if self._chat else frozenset()

    def write(
        self, messages: Sequence[Message], images: int, options: PromptOptions
    ) -> tuple[str, AnswerForm]:
        """Returns the prompt, with a marker for each image, and what may be in its answer.

        Raises:
            InvalidRequest: The template refuses the conversation or omits images, or the model
                does not support what the conversation or the options have.
        """
        text, form = "", PLAIN
        if options.raw:
            text = self._safe.raw(messages)
        elif self._chat is not None:
            text = self._chat.write(messages, options)
            form = self._chat.answer_form(options, text)
        elif self._plain is not None:
            text = self._plain(self._turns(messages, options), self._marker * images)
        if text.count(self._marker) != images:
            raise InvalidRequest(
                "The model's chat template does not accept images where this conversation has "
                "them; put the images into user messages.",
                param="messages",
            )
        return text, form

    def _turns(self, messages: Sequence[Message], options: PromptOptions) -> list[tuple[Role, str]]:
        """The messages for a model without a chat template."""
        if options != PromptOptions() or any(message.role is Role.TOOL for message in messages):
            raise InvalidRequest(
                "The model has no chat template, so it has no tools, no reasoning, and no "
                "continuation of messages. Leave them out.",
                param="messages",
            )
        return [(message.role, self._words(message)) for message in messages]

    def _parts(self, message: Message) -> list[dict[str, str]]:
        return [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in self._safe.parts(message)
        ]

    def _words(self, message: Message) -> str:
        return "".join(part for part in self._safe.parts(message) if isinstance(part, str))

    def _flat(self, message: Message) -> str:
        """The content as one text, with a line break after each image marker."""
        return "".join(
            part if isinstance(part, str) else f"{self._marker}\n"
            for part in self._safe.parts(message)
        )

    def _template_takes_parts(self) -> bool:
        """Whether the template accepts content as a list of parts; else it accepts text.

        Raises:
            ConfigError: There is no template, or it renders an image in neither form.
        """
        if self._template is None:
            raise ConfigError(
                "The model has no chat template, which its family needs. Get chat_template.jinja, "
                "chat_template.json or tokenizer_config.json from where the model was published. "
                "Base models have no chat template: choose an instruction-tuned model."
            )
        parts = [{"type": "image"}, {"type": "text", "text": _PROBE}]
        for takes_parts, content in ((True, parts), (False, f"{self._marker}\n{_PROBE}")):
            try:
                text = self._render([{"role": "user", "content": content}])
            except TemplateRefusedError:
                continue
            if text.count(self._marker) == 1 and text.count(_PROBE) == 1 and "'type'" not in text:
                return takes_parts
        raise ConfigError(
            f"The model's chat template does not write {self._marker} for an image. Get the "
            "template that was published with the model."
        )

    def _render(
        self,
        turns: list[dict[str, Any]],
        *,
        opens: bool = True,
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        try:
            text: str = self._tokenizer.wrapped.apply_chat_template(
                turns,
                tools=tools,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=opens,
                **(variables or {}),
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise TemplateRefusedError from error
        return text
