"""From messages to the text of a prompt, and between text and token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from silkline.core import Message, Role
from silkline.engines.prompt_text import SafeText
from silkline.errors import ConfigError, InvalidRequest
from silkline.models.added_tokens import AddedTokens

PlainPrompt = Callable[[Sequence[tuple[Role, str]], str], str]
"""The prompt of a model without a chat template: from the turns, each its role and its text, and
the markers of all pictures."""

_PROBE = "How many are there?"
_NO_LIMIT = 10**9
"""A tokenizer's limit above this stands for none: transformers writes 1e30 there."""


class Tokenizer:
    """A fast tokenizer of transformers, for use from several threads at once."""

    def __init__(self, tokenizer: Any) -> None:
        """Takes a loaded tokenizer over.

        Raises:
            ConfigError: It is not one of the library `tokenizers`.
        """
        if not tokenizer.is_fast:
            raise ConfigError(
                "The model's tokenizer has no tokenizer.json. Get that file from where the model "
                "was published."
            )
        self.wrapped = tokenizer
        self._fast = tokenizer.backend_tokenizer
        # Calls of `wrapped` set these anew each time, which two threads must not do at once.
        self._fast.no_truncation()
        self._fast.no_padding()

    @property
    def begin(self) -> str:
        """The token that begins a text; empty where there is none."""
        return self.wrapped.bos_token or ""

    @property
    def longest(self) -> int:
        """Most tokens that it says the model takes."""
        return min(int(self.wrapped.model_max_length), _NO_LIMIT)

    @property
    def added(self) -> AddedTokens:
        """The tokens that it adds to its vocabulary."""
        added = self.wrapped.added_tokens_decoder.items()
        return AddedTokens.of((number, token.content, token.special) for number, token in added)

    def text_of(self, token: int) -> str:
        """A token as text.

        Raises:
            ConfigError: The tokenizer has no such token.
        """
        text = self.wrapped.convert_ids_to_tokens(token)
        if not isinstance(text, str):
            raise ConfigError(
                f"The tokenizer has no token {token}, which config.json names. Get both from where "
                "the model was published."
            )
        return text

    def id_of(self, token: str) -> int:
        """The id of a token that is written so.

        Raises:
            ConfigError: The tokenizer has no such token.
        """
        found = self._fast.token_to_id(token)
        if found is None:
            raise ConfigError(
                f"The tokenizer has no token {token!r}, which the model's prompts are made of. Get "
                "its files again from where the model was published."
            )
        return int(found)

    def encode(self, text: str, *, special: bool | None = None) -> list[int]:
        """Text to ids.

        Args:
            text: With special tokens as text.
            special: Whether the tokenizer adds its own; None lets it unless the text already
                begins with the token that begins a text.
        """
        if special is None:
            special = not (self.begin and text.startswith(self.begin))
        ids: list[int] = self._fast.encode(text, add_special_tokens=special).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text without special tokens; incomplete bytes become U+FFFD."""
        text: str = self._fast.decode(list(ids), skip_special_tokens=True)
        return text


class PromptWriter:
    """Writes a conversation as a model's chat template wants it."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str | None,
        marker: str,
        reserved: Iterable[str],
        plain: PlainPrompt | None,
    ) -> None:
        """Tries the template.

        Args:
            tokenizer: Whose special tokens the template may use.
            template: The chat template; None where the model has none.
            marker: What stands for a picture in the text.
            reserved: Tokens that clients must not write.
            plain: The prompt of a model without a template; None where it must have one.

        Raises:
            ConfigError: There is no template, or it has no place for pictures.
        """
        self._tokenizer = tokenizer
        self._template = template
        self._marker = marker
        self._safe = SafeText(reserved)
        self._plain = plain if template is None else None
        self._takes_parts = self._plain is None and self._find_form()

    def write(self, messages: Sequence[Message], images: int) -> str:
        """The prompt, a marker in the place of each picture.

        Raises:
            InvalidRequest: The template refuses the conversation, or leaves pictures out.
        """
        if self._plain is not None:
            turns = [(message.role, self._words(message)) for message in messages]
            text = self._plain(turns, self._marker * images)
        else:
            text = self._rendered(messages)
        if text.count(self._marker) != images:
            raise InvalidRequest(
                "The model's chat template does not take pictures where these are; put them into "
                "messages of the user.",
                param="messages",
            )
        return text

    def _rendered(self, messages: Sequence[Message]) -> str:
        content = self._parts if self._takes_parts else self._flat
        turns = [{"role": each.role.value, "content": content(each)} for each in messages]
        try:
            return self._render(turns)
        except (TemplateError, TypeError) as error:
            raise InvalidRequest(
                "The model's chat template refuses this conversation. Many want messages of the "
                "user and the assistant in turn, beginning with the user, and some know no system "
                "message.",
                param="messages",
            ) from error

    def _parts(self, message: Message) -> list[dict[str, str]]:
        return [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in self._safe.parts(message)
        ]

    def _words(self, message: Message) -> str:
        return "".join(part for part in self._safe.parts(message) if isinstance(part, str))

    def _flat(self, message: Message) -> str:
        """The content as one text, each picture on a line of its own."""
        return "".join(
            part if isinstance(part, str) else f"{self._marker}\n"
            for part in self._safe.parts(message)
        )

    def _find_form(self) -> bool:
        """Whether the template takes lists of parts; else it takes text.

        Raises:
            ConfigError: There is none, or it shows a picture in neither form.
        """
        if self._template is None:
            raise ConfigError(
                "The model has no chat template, and its family cannot be asked without one. Get "
                "chat_template.jinja, chat_template.json or tokenizer_config.json from where the "
                "model was published; a base model has none: choose one that was taught to answer."
            )
        parts = [{"type": "image"}, {"type": "text", "text": _PROBE}]
        for takes_parts, content in ((True, parts), (False, f"{self._marker}\n{_PROBE}")):
            try:
                text = self._render([{"role": "user", "content": content}])
            except (TemplateError, TypeError):
                continue
            if text.count(self._marker) == 1 and text.count(_PROBE) == 1 and "'type'" not in text:
                return takes_parts
        raise ConfigError(
            f"The model's chat template does not write {self._marker} for a picture. Get the one "
            "that came with the model."
        )

    def _render(self, turns: list[dict[str, Any]]) -> str:
        text: str = self._tokenizer.wrapped.apply_chat_template(
            turns, chat_template=self._template, tokenize=False, add_generation_prompt=True
        )
        return text
