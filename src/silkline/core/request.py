"""A request to an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from silkline.core.message import Image, Message
from silkline.core.sampling import PromptOptions, Sampling


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A LoRA adapter: with it an engine's model answers as another model.

    Attributes:
        name: Its name at a server that serves it.
        folder: The absolute path of its folder; empty where only a remote server has its files.
        revision: A digest of its files; empty where they are not here.
        rank: The largest rank of its layers; 0 where its files are not here.
    """

    name: str
    folder: str = ""
    revision: str = ""
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """A request to an engine.

    Attributes:
        id: The request id in every log line, span and header.
        messages: The conversation, oldest first, at least one message.
        images: The images that the messages' `ImagePart`s refer to.
        sampling: How to choose tokens, and when to stop.
        timeout_seconds: Seconds left for the engine; it stops when they are over.
        stream: Whether the client reads the answer as a stream; if False, a remote engine may send
            the whole answer in one delta.
        idempotency_key: The same for every attempt at one request, so that a remote server
            recognises a retry; empty means none.
        options: What the chat template gets besides the messages.
        reuse_scope: Which requests may share work inside an engine: those of one scope reuse each
            other's image features and prompt prefixes, two scopes never do. None reuses nothing
            and leaves nothing behind.
        trace_headers: Headers with which a remote server continues the request's trace.
        adapter: The adapter to answer with; None asks the engine's own model.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[Image, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    timeout_seconds: float = 120.0
    stream: bool = True
    idempotency_key: str = ""
    options: PromptOptions = field(default_factory=PromptOptions)
    reuse_scope: bytes | None = field(default=b"", repr=False)
    trace_headers: tuple[tuple[str, str], ...] = ()
    adapter: LoraAdapter | None = None
