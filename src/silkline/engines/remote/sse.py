"""A strict, bounded, incremental parser of server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from silkline.errors import WorkerLost

MAX_LINE_BYTES = 1024 * 1024
MAX_EVENT_BYTES = 2 * 1024 * 1024

_LINE_END = re.compile(rb"\r\n?|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type, which is usually empty, and its data, lines joined by newlines."""

    type: bytes
    data: bytes


class EventParser:
    """Parses chunks of a stream into events; a chunk may end anywhere."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._type = b""
        self._data: list[bytes] = []
        self._size = 0
        self._after_return = False
        self._first = True

    def feed(self, data: bytes) -> list[Event]:
        """Parses the next chunk and returns the events that it completes.

        Raises:
            WorkerLost: A line is longer than `MAX_LINE_BYTES`, or an event than `MAX_EVENT_BYTES`.
        """
        events: list[Event] = []
        # A line may end with CR LF, and the two may come in different chunks.
        position = 1 if self._after_return and data[:1] == b"\n" else 0
        for end in _LINE_END.finditer(data, position):
            self._append(data[position : end.start()])
            self._end_line(events)
            position = end.end()
        self._append(data[position:])
        if data:
            self._after_return = data.endswith(b"\r")
        return events

    def _append(self, chunk: bytes) -> None:
        self._line += chunk
        if len(self._line) > MAX_LINE_BYTES:
            raise _too_long()

    def _end_line(self, events: list[Event]) -> None:
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            if self._data:
                events.append(Event(self._type, b"\n".join(self._data)))
            self._type, self._data, self._size = b"", [], 0
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > MAX_EVENT_BYTES:
                raise _too_long()
        elif name == b"event":
            self._type = value
        # Everything else is a comment (an empty name) or a field that is not used here.


def _too_long() -> WorkerLost:
    return WorkerLost("The model's server sent an event that is too long; try again.")
