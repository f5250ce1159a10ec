"""The seccomp filter of the decoding child: every system call not on its list fails.

The child's limits already prevent opening files, sockets and processes, but not what needs none of
them: signalling the gateway, reading its memory, or raising limits when everything runs as root.
The list allows what computing, memory and the two open pipes need. Anything else fails with EPERM,
as if the user lacked permission, which libraries expect of any call.

Linux on x86-64 and arm64 only. The arm64 numbers are the kernel's, but have never run there.
https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

_ALLOWED: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "times": (100, 153),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
}
"""Numbers on x86-64 and on arm64: arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h of Linux."""

_PRLIMIT: Final = (302, 261)
"""Allowed for the child itself only: each job sets its own CPU time limit."""

_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of the numbers to use, and the kernel's id of the architecture (linux/audit.h)."""

_INSTRUCTION: Final = struct.Struct("HBBI")
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # in struct seccomp_data
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050001  # with EPERM

_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def confine() -> bool:
    """Installs the filter on this process permanently; False if the system does not support it."""
    system = os.uname()
    bits = ctypes.sizeof(ctypes.c_void_p) * 8
    if system.sysname != "Linux" or system.machine not in _MACHINES or bits != 64:  # noqa: PLR2004
        return False
    code = b"".join(_instructions(*_MACHINES[system.machine]))
    program = _Program(len(code) // _INSTRUCTION.size, code)
    prctl = ctypes.CDLL(None).prctl
    zero = ctypes.c_ulong(0)
    if prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
        return False
    mode = ctypes.c_ulong(_SECCOMP_MODE_FILTER)
    return bool(prctl(_PR_SET_SECCOMP, mode, ctypes.byref(program), zero, zero) == 0)


def _instructions(column: int, architecture: int) -> Iterator[bytes]:
    """Classic BPF code; a jump offset counts the instructions that it skips."""
    yield _INSTRUCTION.pack(_LOAD, 0, 0, _ARCH_AT)
    yield _INSTRUCTION.pack(_JUMP_IF_EQUAL, 1, 0, architecture)
    yield _INSTRUCTION.pack(_RETURN, 0, 0, _FAIL)
    yield _INSTRUCTION.pack(_LOAD, 0, 0, _NUMBER_AT)
    for numbers in _ALLOWED.values():
        yield _INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, 1, numbers[column])
        yield _INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW)
    yield _INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, 3, _PRLIMIT[column])
    yield _INSTRUCTION.pack(_LOAD, 0, 0, _FIRST_ARGUMENT_AT)
    yield _INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, 1, 0)
    yield _INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW)
    yield _INSTRUCTION.pack(_RETURN, 0, 0, _FAIL)
