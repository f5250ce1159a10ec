"""Metrics of GPUs, from a stand-in for NVML that has its units."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from silkline.service import gpus
from silkline.service.gpus import gpu_readings


class NvmlError(Exception):
    """What the library raises."""


def failing(*_: object) -> int:
    raise NvmlError


def nvml(*, has_driver: bool = True) -> SimpleNamespace:
    """Two GPUs; the second does not report its power."""
    return SimpleNamespace(
        NVMLError=NvmlError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=(lambda: None) if has_driver else failing,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=75 + gpu),
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(total=2**34, used=2**30 + gpu),
        nvmlDeviceGetPowerUsage=lambda gpu: failing() if gpu else 61_500,
        nvmlDeviceGetTemperature=lambda gpu, sensor: 40 + gpu + sensor,
    )


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forgets which library was found."""
    gpus._library.cache_clear()
    yield
    gpus._library.cache_clear()


def shown() -> dict[tuple[str, str], float]:
    return {(metric.name, labels[0]): value for metric, labels, value in gpu_readings()}


def test_each_gpu_has_what_it_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    assert shown() == {
        ("silkline_gpu_busy_ratio", "0"): 0.75,
        ("silkline_gpu_busy_ratio", "1"): 0.76,
        ("silkline_gpu_memory_bytes", "0"): 2**34,
        ("silkline_gpu_memory_bytes", "1"): 2**34,
        ("silkline_gpu_memory_used_bytes", "0"): 2**30,
        ("silkline_gpu_memory_used_bytes", "1"): 2**30 + 1,
        ("silkline_gpu_power_watts", "0"): 61.5,
        ("silkline_gpu_temperature_celsius", "0"): 40,
        ("silkline_gpu_temperature_celsius", "1"): 41,
    }


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(has_driver=False))
    assert shown() == {}
