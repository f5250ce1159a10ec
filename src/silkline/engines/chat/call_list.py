"""Collects the calls of an answer as they are read."""

from __future__ import annotations

from collections.abc import Callable

from silkline.core import ToolCallDelta


class CallList:
    """Collects the chunks of an answer's calls."""

    def __init__(self, call_id: Callable[[int], str]) -> None:
        """Starts without calls; `call_id` makes a call's id from its index."""
        self._call_id = call_id
        self._chunks: list[ToolCallDelta] = []
        self._arguments: list[str] = []
        self.count = 0
        """Number of calls so far."""

    def begin(self, name: str) -> None:
        """Adds a call."""
        self._flush()
        self._chunks.append(ToolCallDelta(self.count, self._call_id(self.count), name))
        self.count += 1

    def add(self, arguments: str) -> None:
        """Adds characters to the arguments of the last call."""
        self._arguments.append(arguments)

    def take(self) -> tuple[ToolCallDelta, ...]:
        """Returns the chunks since the last time."""
        self._flush()
        chunks, self._chunks = tuple(self._chunks), []
        return chunks

    def _flush(self) -> None:
        arguments, self._arguments = "".join(self._arguments), []
        if not arguments:
            return
        last = self._chunks.pop() if self._chunks else ToolCallDelta(self.count - 1)
        self._chunks.append(ToolCallDelta(last.index, last.id, last.name, arguments))
