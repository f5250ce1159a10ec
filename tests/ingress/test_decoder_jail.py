"""The filter of system calls, run here as the kernel runs it, for both kinds of processor."""

from __future__ import annotations

import struct

import pytest

from silkline.ingress.decoder_jail import _MACHINES, _instructions

ALLOW, EPERM = 0x7FFF0000, 0x00050001
READ = {"x86_64": 0, "aarch64": 63}
MMAP = {"x86_64": 9, "aarch64": 222}
OPENAT = {"x86_64": 257, "aarch64": 56}
KILL = {"x86_64": 62, "aarch64": 129}
PRLIMIT = {"x86_64": 302, "aarch64": 261}


def verdict(machine: str, number: int, argument: int = 0, architecture: int | None = None) -> int:
    """What the program returns for a call: a load, jumps and returns are all that it has."""
    column, own = _MACHINES[machine]
    data = {0: number, 4: own if architecture is None else architecture, 16: argument}
    program = [struct.unpack("HBBI", each) for each in _instructions(column, own)]
    loaded, at = 0, 0
    while True:
        code, true, false, value = program[at]
        if code == 0x06:
            return int(value)
        if code == 0x20:
            loaded = data[value]
            at += 1
        else:
            at += 1 + (true if loaded == value else false)


@pytest.mark.parametrize("machine", sorted(_MACHINES))
def test_computing_is_allowed_and_nothing_else(machine: str) -> None:
    assert verdict(machine, READ[machine]) == ALLOW
    assert verdict(machine, MMAP[machine]) == ALLOW
    assert verdict(machine, OPENAT[machine]) == EPERM
    assert verdict(machine, KILL[machine]) == EPERM
    assert verdict(machine, PRLIMIT[machine], argument=0) == ALLOW
    assert verdict(machine, PRLIMIT[machine], argument=1) == EPERM


@pytest.mark.parametrize("machine", sorted(_MACHINES))
def test_calls_by_another_architectures_numbers_are_refused(machine: str) -> None:
    assert verdict(machine, READ[machine], architecture=0x40000003) == EPERM
