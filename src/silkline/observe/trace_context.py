"""The W3C trace context of a request: which trace it belongs to, and who called.

https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

TRACEPARENT, TRACESTATE = b"traceparent", b"tracestate"
"""The headers' names."""

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE = re.compile(r"[ -~]{1,512}")
_INVALID_VERSION = b"ff"
_FIRST_VERSION = b"00"
_SAMPLED = 1
_RATIO_BITS = 64


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A request's trace.

    Attributes:
        trace_id: The trace, as 32 hexadecimal digits.
        span_id: The span of the request here, as 16 hexadecimal digits.
        parent_id: The caller's span; empty if the trace begins here.
        sampled: Whether the trace is kept, also if nothing special happens.
        state: The caller's `tracestate`, for the next server; empty means none.
    """

    trace_id: str
    span_id: str
    parent_id: str
    sampled: bool
    state: str

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of requests to other servers, which continue the trace."""
        parent = f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"
        headers = [(TRACEPARENT.decode(), parent)]
        if self.state:
            headers.append((TRACESTATE.decode(), self.state))
        return tuple(headers)


def trace_context(headers: Iterable[tuple[bytes, bytes]], ratio: float) -> TraceContext:
    """Continues the trace in a request's headers, or begins a new one if they have no valid one.

    Args:
        headers: The headers, with lower-case names.
        ratio: Share of the traces that begin here to sample; for others the caller decides.
    """
    parents: list[bytes] = []
    states: list[bytes] = []
    for name, value in headers:
        if name == TRACEPARENT:
            parents.append(value)
        elif name == TRACESTATE:
            states.append(value)
    found = _TRACEPARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    span_id = secrets.token_hex(8)
    if found is None or not _is_valid(found):
        trace_id = secrets.token_hex(16)
        return TraceContext(trace_id, span_id, "", _is_sampled(trace_id, ratio), "")
    state = b",".join(states).decode("latin-1")
    return TraceContext(
        found[2].decode(),
        span_id,
        found[3].decode(),
        bool(int(found[4], 16) & _SAMPLED),
        state if _TRACESTATE.fullmatch(state) else "",
    )


def _is_valid(found: re.Match[bytes]) -> bool:
    """Whether ids are not zero, and nothing follows in a version that has no more."""
    version, trace_id, parent_id, rest = found[1], found[2], found[3], found[5]
    if version == _INVALID_VERSION or (version == _FIRST_VERSION and rest is not None):
        return False
    return any(trace_id.strip(b"0")) and any(parent_id.strip(b"0"))


def _is_sampled(trace_id: str, ratio: float) -> bool:
    """Decides by the trace id, as OpenTelemetry's `TraceIdRatioBased` does."""
    return int(trace_id[16:], 16) < round(ratio * (1 << _RATIO_BITS))
