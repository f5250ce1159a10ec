"""Several training processes on one machine that average their gradients.

On a machine that other work shares, two processes of one thread are much faster than one process
of two threads: they wait for each other once a step instead of at every operation.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn


def rank() -> int:
    """Return the number of this process; 0 is the one that reports and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average(parameters: Iterable[nn.Parameter], number: float) -> float:
    """Average the gradients, and ``number`` as well, over all processes; returns the number.

    Letting the progress travel along keeps all processes at the same point of the schedule.
    """
    if size() == 1:
        return number
    gradients = [p.grad for p in parameters if p.grad is not None]
    extra = torch.tensor([number], device=gradients[0].device)
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), extra])
    dist.all_reduce(flat)
    flat /= size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
    return float(flat[-1])


def wait() -> None:
    """Wait until all processes are here."""
    if size() > 1:
        dist.barrier()


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    fresh = path.with_suffix(".new")
    save_file(tensors, fresh)
    fresh.replace(path)


def run(work: Callable[[], None], processes: int, threads: int) -> None:
    """Call ``work`` (picklable) in ``processes`` processes that share ``threads`` CPU threads."""
    if processes == 1:
        torch.set_num_threads(threads)
        work()
        return
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{Path(folder) / 'store'}"
        arguments = (work, processes, max(1, threads // processes), store)
        spawn(_enter, arguments, nprocs=processes)


def _enter(number: int, work: Callable[[], None], processes: int, threads: int, store: str) -> None:
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", init_method=store, rank=number, world_size=processes)
    work()
    dist.destroy_process_group()
