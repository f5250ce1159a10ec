"""How many requests a server computes at a time, as far as it tells.

llama-server tells it in `/props` and SGLang in `/server_info`, which older ones call
`/get_server_info`. vLLM and others do not tell it.

https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
https://docs.sglang.io/basic_usage/native_api.html
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from silkline.engines.remote.servers import ServerKind
from silkline.errors import UNDECODABLE

UNKNOWN_LIMIT = 1024
"""Requests in flight at a server that does not tell how many it computes: vLLM's largest batch."""

_MAX_SLOTS = 65_536

PATHS: Mapping[ServerKind, tuple[str, ...]] = {
    ServerKind.LLAMACPP: ("/props",),
    ServerKind.SGLANG: ("/server_info", "/get_server_info"),
}
"""Where a server tells it, from its root; the first path that it knows counts."""

FOR_NOW = frozenset({429, 500, 502, 503, 504})
"""Statuses that say nothing about a path; llama-server has 503 until its model is loaded."""


class _State(msgspec.Struct):
    effective_max_running_requests_per_dp: int | None = None


class _Properties(msgspec.Struct):
    total_slots: int | None = None
    max_running_requests: int | None = None
    internal_states: list[_State] | None = None


def read_slots(body: bytes) -> int | None:
    """The number of requests that a server computes at a time; None if the body does not tell it.

    With data parallelism, the replicas of SGLang add up.
    """
    try:
        told = msgspec.json.decode(body, type=_Properties)
    except UNDECODABLE:
        return None
    states = told.internal_states or []
    effective = sum(state.effective_max_running_requests_per_dp or 0 for state in states)
    slots = told.total_slots or effective or told.max_running_requests or 0
    return slots if 0 < slots <= _MAX_SLOTS else None


def limit_for(slots: int | None) -> int:
    """Requests in flight: those that are computed, and a few so that no slot stays empty."""
    return UNKNOWN_LIMIT if slots is None else slots + max(2, slots // 4)
