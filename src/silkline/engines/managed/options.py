"""Options of managed engines, beside those that all engines share."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class ManagedOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The options in `EngineOptions.extra` of managed engines.

    Attributes:
        command: Command that starts the server, in shell syntax; empty searches the PATH.
        flags: More flags for the server, in shell syntax; flags that Silkline sets are refused.
        file: GGUF file to serve, for a folder that holds several; llama.cpp only.
        start_seconds: Maximum seconds that the server may take to load the model and be ready.
        context: Maximum tokens of prompt and answer together; 0 means as many as the model and the
            cache allow.
        image_tokens: Maximum tokens of an image; 0 means as the model's files say.
        prefix_cache: Whether prompts share the KV cache of a common prefix. Only for clients that
            trust one another: the servers know no tenants.
    """

    command: str = ""
    flags: str = ""
    file: str = ""
    start_seconds: _Seconds = 900.0
    context: _Count = 0
    image_tokens: _Count = 0
    prefix_cache: bool = False
