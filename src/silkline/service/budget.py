"""Divides the machine's cores and memory between the served models, or refuses them with the sum.

What a model must have (its weights, a KV cache or a number of threads that its settings name) is
fixed. What all models leave is divided by their weights `cores` and `memory`. One model alone gets
no share: its engine then chooses by the whole machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from silkline.config import ModelSettings
from silkline.engines.accelerators import has_nvidia
from silkline.engines.kv_budget import MIN_BYTES, cache_share
from silkline.engines.memory import free_memory
from silkline.engines.spec import EngineSpec
from silkline.engines.threads import usable_cores
from silkline.errors import ConfigError
from silkline.models.amounts import bytes_text
from silkline.models.weights import read_weights


@dataclass(frozen=True, slots=True)
class Machine:
    """What the models may use together.

    Attributes:
        cores: Cores that this process may use.
        memory_bytes: Memory that was free before the first model was loaded.
    """

    cores: int
    memory_bytes: int

    @classmethod
    def measured(cls) -> Machine:
        """Measures this machine, or the container around this process."""
        return cls(usable_cores(), free_memory())


@dataclass(frozen=True, slots=True)
class Need:
    """What a model must have on this machine, over all its workers.

    Attributes:
        weights_bytes: Main memory of its weights; 0 where another machine or a GPU holds them.
        cache_bytes: Memory of its KV caches: what the settings say, else the least that engines
            take.
        threads: Threads that its settings name; 0 for a share of the cores.
        workers: Its worker processes; 0 where other servers compute.
        cores: Its weight in the division of the cores.
        memory: Its weight in the division of the memory.
    """

    weights_bytes: int
    cache_bytes: int
    threads: int
    workers: int
    cores: float
    memory: float

    @property
    def memory_bytes(self) -> int:
        """Weights and KV caches."""
        return self.weights_bytes + self.cache_bytes


NO_NEED = Need(weights_bytes=0, cache_bytes=0, threads=0, workers=0, cores=1.0, memory=1.0)
"""The need of a model that computes elsewhere."""


class Share(NamedTuple):
    """What a worker may use; 0 lets its engine choose.

    Attributes:
        threads: Compute threads.
        kv_cache_limit: Maximum bytes of a KV cache whose size the engine chooses.
    """

    threads: int = 0
    kv_cache_limit: int = 0


def need_of(wanted: ModelSettings, spec: EngineSpec, folder: Path | None, workers: int) -> Need:
    """Returns what a model must have; reads the headers of its weights.

    Args:
        wanted: Its settings.
        spec: Its engine.
        folder: The files that the engine loads; None if it loads none.
        workers: Its worker processes.

    Raises:
        ConfigError: A file is damaged.
    """
    in_memory = folder is not None and not (spec.gpu_rank is not None and has_nvidia())
    weights = _weights_bytes(folder, spec) if folder is not None and in_memory else 0
    cache = wanted.kv_cache_bytes or (MIN_BYTES if in_memory else 0)
    return Need(
        weights_bytes=workers * weights,
        cache_bytes=workers * cache,
        threads=workers * wanted.threads,
        workers=workers,
        cores=wanted.cores,
        memory=wanted.memory,
    )


def _weights_bytes(folder: Path, spec: EngineSpec) -> int:
    found = read_weights(folder)
    if spec.export is not None and found.openvino:
        return sum(found.openvino.values())
    return found.bytes or sum((folder / name).stat().st_size for name in found.gguf)


def divide(machine: Machine, needs: Mapping[str, Need]) -> dict[str, Share]:
    """Returns the share of a worker of each model.

    A share of less than one core is one thread, so many models may have more threads than cores.

    Args:
        machine: What there is.
        needs: What each model must have, by its name.

    Raises:
        ConfigError: Together they need more threads or memory than there is; the message names the
            sum and the part of each model.
    """
    if len(needs) == 1:
        return dict.fromkeys(needs, Share())
    threads = {name: need.threads for name, need in needs.items()}
    if sum(threads.values()) > machine.cores:
        parts = ", ".join(f"{name} {count}" for name, count in threads.items() if count)
        raise ConfigError(
            f"The models take {sum(threads.values())} threads together, and this machine has "
            f"{machine.cores} cores: {parts}. Lower threads or workers, or leave threads out to "
            "divide the cores by the weights `cores`."
        )
    memory = sum(need.memory_bytes for need in needs.values())
    if memory > machine.memory_bytes:
        raise ConfigError(
            f"The models need {bytes_text(memory)} of memory together, and "
            f"{bytes_text(machine.memory_bytes)} are free: {_parts(needs)}. Serve fewer or smaller "
            "models, or lower kv_cache_bytes or workers."
        )
    computing = [need for need in needs.values() if need.workers]
    cores = _Rest(
        machine.cores - sum(threads.values()),
        sum(need.cores for need in computing if not need.threads),
    )
    spare = _Rest(
        cache_share(machine.memory_bytes - memory),
        sum(need.memory for need in computing),
    )
    return {name: _share(need, cores, spare) for name, need in needs.items()}


class _Rest(NamedTuple):
    """What all models leave, and the sum of the weights of those that share it."""

    amount: int
    weights: float

    def part(self, weight: float, workers: int) -> int:
        return int(self.amount * weight / self.weights / workers)


def _share(need: Need, cores: _Rest, spare: _Rest) -> Share:
    if not need.workers:
        return Share()
    threads = need.threads // need.workers or max(1, cores.part(need.cores, need.workers))
    return Share(threads, max(MIN_BYTES, spare.part(need.memory, need.workers)))


def _parts(needs: Mapping[str, Need]) -> str:
    return ", ".join(
        f"{name} {bytes_text(need.memory_bytes)} (weights {bytes_text(need.weights_bytes)}, KV "
        f"cache {bytes_text(need.cache_bytes)})"
        for name, need in needs.items()
    )


def fits_beside(machine: Machine, loaded: Sequence[Need], new: Need) -> bool:
    """Whether a model fits into memory beside those that are loaded."""
    taken = sum(need.memory_bytes for need in loaded)
    return taken + new.memory_bytes <= machine.memory_bytes
