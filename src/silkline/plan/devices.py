"""Devices that a plan knows, with the figures of their vendors.

Rates are dense: what vendors print for sparse matrices is halved. "Derived" means computed from
other figures on the same sheet, as said there.
"""

from __future__ import annotations

from collections.abc import Mapping

from silkline.errors import ConfigError
from silkline.plan.device import Device
from silkline.plan.here import this_machine

GB = 10**9
TERA = 10**12

HERE = "here"
"""The name of the processor of this machine."""

_SHEET = "vendor's datasheet"
_DERIVED_AMX = "56 cores x 2.0 GHz x 1,024 operations a cycle (AMX); 8 channels of DDR5-4800"
_DERIVED_ZEN = "96 cores x 2.4 GHz x 64 operations a cycle (AVX-512 BF16); 12 channels of DDR5-4800"

# name, GB, GB/s, TFLOPS, 8-bit TOPS, source
_ROWS: tuple[tuple[str, float, float, float, float, str], ...] = (
    ("v100", 32, 900, 125, 0, _SHEET),
    ("t4", 16, 300, 65, 130, _SHEET),
    ("a10", 24, 600, 125, 250, _SHEET),
    ("a30", 24, 933, 165, 330, _SHEET),
    ("a40", 48, 696, 149.7, 299.3, _SHEET),
    ("a100-40gb", 40, 1555, 312, 624, _SHEET),
    ("a100-80gb", 80, 2039, 312, 624, _SHEET),
    ("rtx-a6000", 48, 768, 154.8, 309.7, _SHEET),
    ("l4", 24, 300, 121, 242, _SHEET),
    ("l40s", 48, 864, 362, 733, _SHEET),
    ("rtx-6000-ada", 48, 960, 364, 728, f"{_SHEET}, halved from sparse"),
    ("rtx-4090", 24, 1008, 165, 660, "architecture's white paper, FP32 accumulation"),
    ("rtx-5090", 32, 1792, 209.5, 838, "architecture's white paper, FP32 accumulation"),
    ("h100-pcie", 80, 2000, 756, 1513, _SHEET),
    ("h100", 80, 3350, 989, 1979, _SHEET),
    ("h200", 141, 4800, 989, 1979, _SHEET),
    ("b200", 180, 8000, 2250, 4500, f"{_SHEET} of the system of eight, halved from sparse"),
    ("mi300x", 192, 5300, 1307, 2614, _SHEET),
    ("mi325x", 256, 6000, 1307, 2614, _SHEET),
    ("tpu-v5e", 16, 819, 197, 394, "cloud's documentation"),
    ("tpu-v5p", 95, 2765, 459, 918, "cloud's documentation"),
    ("tpu-v6e", 32, 1640, 918, 1836, "cloud's documentation"),
    ("gaudi-2", 96, 2450, 432, 865, "vendor's white paper"),
    ("gaudi-3", 128, 3700, 1835, 1835, "vendor's white paper"),
    ("jetson-orin-64gb", 64, 204.8, 42.5, 85, f"{_SHEET}, GPU alone, halved from sparse"),
    ("jetson-thor", 128, 273, 258, 517, f"{_SHEET}, derived from FP4 with sparsity"),
    ("xeon-8480-amx", 512, 307, 115, 229, _DERIVED_AMX),
    ("epyc-9654", 768, 460, 14.7, 0, _DERIVED_ZEN),
)

_CORES = {"xeon-8480-amx": 56, "epyc-9654": 96}

DEVICES: Mapping[str, Device] = {
    name: Device(
        name, int(gb * GB), speed * GB, tera * TERA, tera8 * TERA, source, _CORES.get(name, 0)
    )
    for name, gb, speed, tera, tera8, source in _ROWS
}
"""The devices by name."""


def find_device(name: str) -> Device:
    """Returns a device by its name; `here` is the processor of this machine.

    Raises:
        ConfigError: It is not in the table.
    """
    if name.lower() == HERE:
        return this_machine()
    found = DEVICES.get(name.lower())
    if found is None:
        raise ConfigError(
            f"There is no device {name} in the table. Known are: {HERE}, {', '.join(DEVICES)}."
        )
    return found
