"""What a managed engine can be told besides the settings that all engines have."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class ManagedOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What `EngineOptions.extra` may hold for these engines.

    Attributes:
        command: How the server is started, as in a shell; empty looks for it on the PATH.
        flags: More flags for the server, as in a shell; those that Silkline sets are refused.
        file: Which GGUF of the folder is served, where it holds several; for llama.cpp.
        start_seconds: What the server gets to load its model and serve.
        context: Most tokens of prompt and answer together; 0 takes what model and cache allow.
        image_tokens: Most tokens of a picture; 0 takes what the model's files tell.
        prefix_cache: Whether prompts that begin alike share the KV cache of what is alike, for
            clients that trust one another (docs/decisions/0008).
    """

    command: str = ""
    flags: str = ""
    file: str = ""
    start_seconds: _Seconds = 900.0
    context: _Count = 0
    image_tokens: _Count = 0
    prefix_cache: bool = False
