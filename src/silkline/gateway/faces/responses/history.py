"""Loads the earlier items of a conversation from the store, and stores responses."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from silkline.aio.byte_budget import ByteBudget
from silkline.config import Settings
from silkline.errors import InvalidRequest, Overloaded, RequestTooLarge, ResponseNotFound
from silkline.gateway.faces.content import ContentPart, InputImage, InputText, OutputText
from silkline.gateway.faces.responses.items import (
    InputItem,
    Item,
    ItemReference,
    MessageItem,
    ReasoningItem,
)
from silkline.gateway.faces.responses.schema import ResponsesRequest
from silkline.gateway.faces.responses.store import Entry, ResponseStore, Stored
from silkline.service.record import RequestRecord

logger = logging.getLogger("silkline.gateway")

ID_PREFIX = "resp_"
_ITEM_ID = re.compile(r"[a-z]+_([0-9a-f]{32})_(?:in)?[0-9]{1,5}")
_PATIENCE_SECONDS = 5.0
_PREVIOUS = "previous_response_id"


class _Response(msgspec.Struct, frozen=True):
    output: list[Item]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The items of a conversation.

    Attributes:
        earlier: The items before this request, oldest first.
        sent: The items of this request.
    """

    earlier: Sequence[Item]
    sent: Sequence[Item]

    @property
    def located(self) -> list[tuple[str, Item]]:
        """All items, each with its path in the body."""
        earlier = [(_PREVIOUS, item) for item in self.earlier]
        return [*earlier, *((f"input.{index}", item) for index, item in enumerate(self.sent))]


class History:
    """The stored responses as conversations use them."""

    def __init__(self, store: ResponseStore, settings: Settings) -> None:
        """Wraps a store, which the caller closes."""
        limits = settings.limits
        self._store = store
        self._when = settings.responses.response_store
        self._max_turns = limits.max_messages
        self._max_bytes = limits.max_body_bytes
        self._budget = ByteBudget(limits.max_held_body_bytes, self._max_bytes, _PATIENCE_SECONDS)

    def stores(self, body: ResponsesRequest) -> bool:
        """Whether the response to a request is stored.

        Raises:
            InvalidRequest: The request asks for it, but the settings forbid it.
        """
        if self._when == "never" and body.store:
            raise InvalidRequest(
                "This server stores no responses: its setting response_store is never. Leave "
                "store out, and send the whole conversation as input.",
                param="store",
            )
        return bool(body.store) or (self._when == "by_default" and body.store is None)

    @asynccontextmanager
    async def conversation(
        self, body: ResponsesRequest, record: RequestRecord
    ) -> AsyncGenerator[Conversation, None]:
        """Loads all items of a request's conversation; they count as held until the block ends.

        Raises:
            ResponseNotFound: An earlier response or an item is not stored.
            InvalidRequest: The input refers to an item twice.
            RequestTooLarge: The conversation is too long.
            Overloaded: The store fails, or other requests hold too many bytes.
        """
        tenant = record.tenant.name
        chain = await self._chain(tenant, body.previous_response_id)
        sent = body.items
        referenced = await self._referenced(tenant, sent)
        # A response that is both continued and referred to counts twice: its items are used twice.
        size = sum(entry.size for entry in (*chain, *referenced))
        if size > self._max_bytes:
            raise RequestTooLarge(
                f"The earlier responses have {size} bytes; at most {self._max_bytes} are allowed. "
                "Send the part of the conversation that matters as input.",
                param=_PREVIOUS,
            )
        with self._budget.claim(record.tenant.salt) as held:
            if size:
                await held.grow(size)
            names = dict.fromkeys(entry.id for entry in (*chain, *referenced))
            loaded = {name: await self._items(tenant, name) for name in names}
            earlier = [item for entry in reversed(chain) for item in loaded[entry.id]]
            known = {item.id: item for items in loaded.values() for item in items}
            yield Conversation(earlier, _resolved(sent, known))

    async def keep(
        self, record: RequestRecord, conversation: Conversation, response: dict[str, Any]
    ) -> bool:
        """Stores a response; False, and a line in the log, if that fails."""
        suffix = response["id"].removeprefix(ID_PREFIX)
        sent = [
            _listed(item, f"{suffix}_in{index}") for index, item in enumerate(conversation.sent)
        ]
        previous = response[_PREVIOUS] or ""
        try:
            stored = Stored(msgspec.json.encode(sent), msgspec.json.encode(response))
            return await self._store.put(record.tenant.name, response["id"], previous, stored)
        except Overloaded:
            logger.warning("a response could not be stored")
            return False

    async def _chain(self, tenant: str, name: str | None) -> list[Entry]:
        if name is None:
            return []
        chain = await self._store.chain(tenant, name, self._max_turns)
        missing = chain[-1].previous if chain else name
        if missing and len(chain) >= self._max_turns:
            raise RequestTooLarge(
                f"The conversation has more than {self._max_turns} responses. Send the part of it "
                "that matters as input.",
                param=_PREVIOUS,
            )
        if missing:
            raise response_not_found(_PREVIOUS)
        return chain

    async def _referenced(self, tenant: str, items: Sequence[InputItem]) -> list[Entry]:
        """The responses of the items that the request refers to, each once.

        Each item may be referred to only once, so that the items need no more memory than their
        responses.
        """
        seen: set[str] = set()
        names: set[str] = set()
        for index, item in enumerate(items):
            if not isinstance(item, ItemReference):
                continue
            if item.id in seen:
                raise InvalidRequest(
                    "The input refers to this item twice. Refer to each item once.",
                    param=f"input.{index}.id",
                )
            seen.add(item.id)
            if match := _ITEM_ID.fullmatch(item.id):
                names.add(f"{ID_PREFIX}{match[1]}")
        if len(names) > self._max_turns:
            raise RequestTooLarge(
                f"The input refers to items of {len(names)} responses; at most {self._max_turns} "
                "are allowed. Send the items themselves.",
                param="input",
            )
        found = [await self._store.chain(tenant, name, 1) for name in sorted(names)]
        return [entry for entries in found for entry in entries]

    async def _items(self, tenant: str, name: str) -> list[Item]:
        stored = await self._store.load(tenant, name)
        if stored is None:  # deleted meanwhile
            raise response_not_found(_PREVIOUS)
        return decode_items(stored)


def decode_items(stored: Stored) -> list[Item]:
    """Returns the items of a stored response: its input, then its output.

    Raises:
        ResponseNotFound: Another version of Silkline stored it in another form.
    """
    try:
        sent = msgspec.json.decode(stored.input, type=list[Item])
        return sent + msgspec.json.decode(stored.response, type=_Response).output
    except msgspec.ValidationError as error:
        raise response_not_found(_PREVIOUS) from error


def response_not_found(param: str | None = None) -> ResponseNotFound:
    """The error about a response that is not stored."""
    return ResponseNotFound(
        "A response with this id, or one that it continues, is not stored: it was not sent with "
        "store: true, it expired, or it was deleted or evicted. Send the whole conversation as "
        "input.",
        param=param,
    )


def _resolved(sent: Sequence[InputItem], known: dict[str | None, Item]) -> list[Item]:
    """The items with those that references refer to."""
    resolved: list[Item] = []
    for index, item in enumerate(sent):
        if not isinstance(item, ItemReference):
            resolved.append(item)
        elif item.id in known:
            resolved.append(known[item.id])
        else:
            raise ResponseNotFound(
                "The item with this id is not stored. Send the item itself, or store the response "
                "that it is part of, with store: true.",
                param=f"input.{index}.id",
            )
    return resolved


def _listed(item: Item, suffix: str) -> Item:
    """The item as it is listed: with an id, a status, and content as a list of whole parts."""
    replaced: dict[str, Any] = {"status": item.status or "completed"}
    if item.id is None:
        replaced["id"] = f"{_PREFIXES.get(type(item), 'fc')}_{suffix}"
    if isinstance(item, MessageItem):
        kind = OutputText if item.role == "assistant" else InputText
        content = item.content
        parts = [kind(text=content)] if isinstance(content, str) else content
        replaced["content"] = list(map(_listed_part, parts))
    if isinstance(item, ReasoningItem):
        replaced["summary"] = item.summary or []
    return msgspec.structs.replace(item, **replaced)


def _listed_part(part: ContentPart) -> ContentPart:
    if isinstance(part, OutputText):
        return msgspec.structs.replace(part, annotations=part.annotations or [])
    if isinstance(part, InputImage):
        return msgspec.structs.replace(part, detail=part.detail or "auto")
    return part


_PREFIXES: dict[type, str] = {MessageItem: "msg", ReasoningItem: "rs"}
