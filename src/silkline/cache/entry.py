"""The stored form of an answer: JSON after a checksum that is bound to the key.

    "SLK" | version, 1 byte | BLAKE2b-128 of key and JSON, 16 bytes | JSON

A value that is truncated, altered, of another version or stored under another key does not decode,
whichever tier it came from. The bytes are only compared, and parsed as typed JSON.
"""

from __future__ import annotations

import hashlib

import msgspec

from silkline.core import Answer
from silkline.errors import UNDECODABLE

MAGIC = b"SLK\x02"
CHECKSUM_BYTES = 16
HEADER_BYTES = len(MAGIC) + CHECKSUM_BYTES

MAX_ENTRY_BYTES = 1024 * 1024
"""Longer values are neither stored nor read; the longest answers take a tenth of this."""

_DOMAIN = b"silkline.entry.1"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stored answer.

    Attributes:
        answer: The answer as it was computed.
        stored_at: Unix time in seconds.
    """

    answer: Answer
    stored_at: float


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


def encode_entry(key: bytes, entry: Entry) -> bytes | None:
    """The bytes to store under `key`; None if the answer cannot be stored.

    An answer cannot be stored if it is too long, or if its text has a lone surrogate and so cannot
    be encoded as UTF-8.
    """
    try:
        payload = _encoder.encode(entry)
    except UnicodeEncodeError:
        return None
    if HEADER_BYTES + len(payload) > MAX_ENTRY_BYTES:
        return None
    return b"".join((MAGIC, _checksum(key, payload), payload))


def decode_entry(key: bytes, value: bytes) -> Entry | None:
    """The entry that was stored under `key`; None if the bytes are anything else."""
    if len(value) > MAX_ENTRY_BYTES or not value.startswith(MAGIC):
        return None
    payload = value[HEADER_BYTES:]
    if value[len(MAGIC) : HEADER_BYTES] != _checksum(key, payload):
        return None
    try:
        return _decoder.decode(payload)
    except UNDECODABLE:
        return None


def _checksum(key: bytes, payload: bytes) -> bytes:
    state = hashlib.blake2b(key, digest_size=CHECKSUM_BYTES, person=_DOMAIN)
    state.update(payload)
    return state.digest()
