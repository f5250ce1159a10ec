"""The listening socket: file limit, send buffers, and closing without losing connections."""

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
"""Files reserved for the rest of the process: fetches, decoders, caches, engine sockets."""

_SEND_BYTES = 256 * 1024
"""Send buffer per connection, for clients that do not read; Linux would grow it to MBs."""

_SO_ATTACH_FILTER = 26  # Linux' asm-generic/socket.h; the module socket does not name it
_TCP_FLAGS_OFFSET = 13
_SYN = 0x02

_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _TCP_FLAGS_OFFSET),  # load the flags byte of the TCP header
        (0x45, 1, 0, _SYN),  # is it the first packet of a connection?
        (0x06, 0, 0, 0xFFFFFFFF),  # no: accept the whole packet
        (0x06, 0, 0, 0),  # yes: drop it
    )
)
"""A packet filter that drops SYNs: https://docs.kernel.org/networking/filter.html, classic BPF."""


def max_connections(requested: int) -> int:
    """Returns how many connections the file limit allows; raises the soft limit if possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = requested + _RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return requested
    maximum = max(1, soft - _RESERVED_FILES)
    fields = {"silkline.max_connections": maximum, "process.limits.files": soft}
    logger.warning("the open file limit is too low for max_connections", extra={"ecs": fields})
    return maximum


def limit_send_buffers(listening: Iterable[socket.socket]) -> None:
    """Limits the kernel's send buffer of each connection accepted from now on."""
    for listener in listening:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)


def drop_new_connections(listening: Iterable[socket.socket]) -> None:
    """Makes the kernel drop new connection attempts, as if the packet had been lost.

    When a listening socket is closed, the kernel resets completed connections that were not
    accepted yet. With the filter there are soon none of these. Clients that connect meanwhile retry
    until the socket is closed, and are then refused. Linux only.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN) // 8, ctypes.addressof(code))
    for listener in listening:
        try:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        except OSError as error:
            fields = {"error.code": str(error.errno)}
            logger.debug("new connections are not filtered", extra={"ecs": fields})
