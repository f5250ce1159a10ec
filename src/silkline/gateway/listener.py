"""The listening socket: room for connections and for their answers, and an end that loses none."""

from __future__ import annotations

import ctypes
import logging
import resource
import socket
import struct
import sys
from collections.abc import Iterable

logger = logging.getLogger("silkline.gateway")

_RESERVED_FILES = 256
"""What the rest of the process may have open: fetches, decoders, caches, the engine's socket."""

_SEND_BYTES = 256 * 1024
"""What the kernel may hold for a reader that does not read; by itself it grows to several MB."""

_SO_ATTACH_FILTER = 26  # Linux' asm-generic/socket.h; the module socket does not name it
_TCP_FLAGS_OFFSET = 13
_SYN = 0x02

_WITHOUT_NEW = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _TCP_FLAGS_OFFSET),  # load the byte of the TCP header that has the flags
        (0x45, 1, 0, _SYN),  # is it the first packet of a connection?
        (0x06, 0, 0, 0xFFFFFFFF),  # no: take it whole
        (0x06, 0, 0, 0),  # yes: drop it
    )
)
"""A filter on packets: https://docs.kernel.org/networking/filter.html, "classic BPF"."""


def max_connections(wanted: int) -> int:
    """How many connections fit into the files that the process may open; raises that if it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    maximum = max(1, soft - _RESERVED_FILES)
    fields = {"silkline.max_connections": maximum, "process.limits.files": soft}
    logger.warning("too few files may be open for max_connections", extra={"ecs": fields})
    return maximum


def bound_buffers(listening: Iterable[socket.socket]) -> None:
    """Bounds what the kernel holds for each connection that is accepted from now on."""
    for one in listening:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)


def refuse_new(listening: Iterable[socket.socket]) -> None:
    """Lets the kernel ignore whoever connects from now on, as if the packet had been lost.

    When a listening socket is closed, the kernel resets the connections that it had completed for
    it and that were not accepted yet. With the filter there soon are none, and those who connect
    try again until the socket is closed and tells them to go elsewhere. Only Linux can do this.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(_WITHOUT_NEW, len(_WITHOUT_NEW))
    program = struct.pack("HP", len(_WITHOUT_NEW) // 8, ctypes.addressof(code))
    for one in listening:
        try:
            one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        except OSError as error:
            fields = {"error.code": str(error.errno)}
            logger.debug("new connections are not filtered", extra={"ecs": fields})
