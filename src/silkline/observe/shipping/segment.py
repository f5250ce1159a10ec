"""The format of a spool's files: append-only segments of events with checksums.

A segment is a header and records. A record is the event's length, a checksum and the event. The
checksum also covers the event's sequence number, so a record counts only at its own index. What
cannot be read ends the segment: a file that a crash or a full disk cut off needs no repair.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

MAX_EVENT_BYTES = 256 * 1024
"""Maximum bytes of an event; a line of the log is far smaller."""

_HEADER = struct.Struct(">8s8sQ")
_CHECKSUM = struct.Struct(">I")
_RECORD = struct.Struct(">II")
_SEQUENCE = struct.Struct(">QI")
_MAGIC = b"SLKLOG1\n"

HEADER_BYTES = _HEADER.size + _CHECKSUM.size
MAX_RECORD_BYTES = _RECORD.size + MAX_EVENT_BYTES


class Header(NamedTuple):
    """The head of a segment.

    Attributes:
        life: Random digits, the same in all segments that one process wrote to a spool.
        first: The sequence number of its first event.
    """

    life: str
    first: int


def encode_header(header: Header) -> bytes:
    """Encodes a segment's header."""
    head = _HEADER.pack(_MAGIC, bytes.fromhex(header.life), header.first)
    return head + _CHECKSUM.pack(zlib.crc32(head))


def decode_header(data: bytes) -> Header | None:
    """Decodes a segment's header; None if it is damaged or cut off."""
    if len(data) < HEADER_BYTES:
        return None
    magic, life, first = _HEADER.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _HEADER.size)
    if magic != _MAGIC or checksum != zlib.crc32(data[: _HEADER.size]):
        return None
    return Header(life.hex(), first)


def record_bytes(event: bytes) -> int:
    """The bytes of an event's record."""
    return _RECORD.size + len(event)


def encode_record(sequence: int, event: bytes) -> bytes:
    """Encodes an event of at most `MAX_EVENT_BYTES` at its index."""
    return _RECORD.pack(len(event), _checksum(sequence, event)) + event


def decode_records(data: bytes, sequence: int, max_bytes: int) -> list[bytes]:
    """Decodes events until the data ends or is damaged.

    Args:
        data: The data, from the start of a record.
        sequence: The sequence number of the first record.
        max_bytes: Maximum bytes of the records, but at least one event is returned.
    """
    events: list[bytes] = []
    offset = 0
    while offset + _RECORD.size <= len(data):
        length, checksum = _RECORD.unpack_from(data, offset)
        start = offset + _RECORD.size
        offset = start + length
        if length > MAX_EVENT_BYTES or offset > len(data) or (events and offset > max_bytes):
            break
        event = data[start:offset]
        if checksum != _checksum(sequence + len(events), event):
            break
        events.append(event)
    return events


def _checksum(sequence: int, event: bytes) -> int:
    return zlib.crc32(event, zlib.crc32(_SEQUENCE.pack(sequence, len(event))))
