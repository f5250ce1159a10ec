"""Puts the chunks of tool calls into one form, whatever a server repeats or leaves out."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from silkline.core import ToolCallDelta
from silkline.engines.remote.chunks import MAX_CALLS, CallChunk, CalledFunction
from silkline.engines.remote.failures import lost

_ID_BYTES = 12


@dataclass(slots=True)
class _Call:
    """A call whose chunks arrive.

    Attributes:
        id: Its id at the server; empty until that came.
        index: Its index in the answer; None until it has begun.
        held: Arguments that came before the name.
    """

    id: str = ""
    index: int | None = None
    held: str = ""

    def ends_at(self, chunk: CallChunk) -> bool:
        """Whether a chunk with its index, or without one, begins another call."""
        named = chunk.function is not None and bool(chunk.function.name)
        begun = self.index is not None
        if begun and not named:  # a call without a name would never be passed on
            return False
        if chunk.id:  # some servers give all calls the index 0
            return chunk.id != self.id and bool(self.id or (begun and chunk.index is None))
        return chunk.index is None and begun


class CallReader:
    """Reads the tool calls of one answer.

    Calls get the indices 0, 1, ... in the order in which they begin, and an id if the server sends
    none. Id and name are passed on once, in the same chunk.

    Attributes:
        begun: Number of calls that have begun.
    """

    def __init__(self) -> None:
        self.begun = 0
        self._calls: dict[int, _Call] = {}
        self._last = 0
        self._count = 0

    def read(self, chunk: CallChunk) -> ToolCallDelta | None:
        """Reads a chunk; None if there is nothing to pass on yet.

        Raises:
            WorkerLost: There are too many calls.
        """
        call = self._call(chunk)
        function = chunk.function or CalledFunction()
        call.id = call.id or chunk.id or ""
        if call.index is not None:
            return ToolCallDelta(call.index, arguments=function.text)
        call.held += function.text
        if not function.name:
            return None
        call.index = self.begun
        self.begun += 1
        identity = call.id or f"call_{secrets.token_hex(_ID_BYTES)}"
        return ToolCallDelta(call.index, identity, function.name, call.held)

    def _call(self, chunk: CallChunk) -> _Call:
        """The call that a chunk belongs to."""
        key = self._last = self._last if chunk.index is None else chunk.index
        call = self._calls.get(key)
        if call is None or call.ends_at(chunk):
            call = self._calls[key] = _Call()
            self._count += 1
            if self._count > MAX_CALLS:
                raise lost("sent too many tool calls")
        return call
