"""Metrics of NVIDIA GPUs, by NVML; none without the library `nvidia-ml-py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType

from silkline.observe import catalogue
from silkline.observe.declared import Declared, Reading

_PERCENT = 100
_MILLIWATTS = 1000


def gpu_readings() -> Iterator[Reading]:
    """Utilisation, memory, power and temperature of each GPU; what one does not report is absent.

    https://docs.nvidia.com/deploy/nvml-api/
    """
    nvml = _library()
    if nvml is None:
        return
    for index in range(nvml.nvmlDeviceGetCount()):
        gpu, label = nvml.nvmlDeviceGetHandleByIndex(index), (str(index),)
        for metric, value in _values(nvml, gpu):
            yield metric, label, value


def _values(nvml: ModuleType, gpu: object) -> Iterator[tuple[Declared, float]]:
    reads: tuple[tuple[Declared, Callable[[], float]], ...] = (
        (catalogue.GPU_BUSY, lambda: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / _PERCENT),
        (catalogue.GPU_MEMORY, lambda: nvml.nvmlDeviceGetMemoryInfo(gpu).total),
        (catalogue.GPU_MEMORY_USED, lambda: nvml.nvmlDeviceGetMemoryInfo(gpu).used),
        (catalogue.GPU_POWER, lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / _MILLIWATTS),
        (
            catalogue.GPU_TEMPERATURE,
            lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
        ),
    )
    for metric, value in reads:
        try:
            yield metric, float(value())
        except nvml.NVMLError:  # not supported by this GPU or in this container
            continue


@cache
def _library() -> ModuleType | None:
    """NVML, opened once; None if it is not installed or its driver does not answer."""
    try:
        import pynvml  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    library: ModuleType = pynvml
    return library
