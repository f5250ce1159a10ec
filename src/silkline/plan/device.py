"""A device, as far as a plan depends on it."""

from __future__ import annotations

import msgspec

_BYTE = 8


class Device(msgspec.Struct, frozen=True):
    """A device.

    Attributes:
        name: What a user calls it.
        memory: Bytes.
        bandwidth: Bytes a second from its memory.
        flops: Dense operations a second in BF16, or FP16 where it has no BF16.
        ops8: Dense operations a second in INT8 or FP8; 0 if it is no faster there.
        source: Where the figures are from.
        cores: Cores that the engine shares with the gateway and with decoding images; 0 for an
            accelerator, which they leave alone.
    """

    name: str
    memory: int
    bandwidth: float
    flops: float
    ops8: float
    source: str
    cores: int = 0

    def rate(self, weight_bits: int) -> float:
        """Operations a second with weights of so many bits."""
        return max(self.flops, self.ops8) if weight_bits == _BYTE else self.flops
