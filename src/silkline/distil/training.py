"""The training loop: evaluates, stops early, and continues exactly where it was interrupted.

What a step does depends on the seed and the step's number only, so a training that was killed and
started again ends with the same weights as one that ran through, on the same device with the same
number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from silkline.distil.checkpoint import Progress, read_checkpoint, write_checkpoint
from silkline.distil.curve import Point
from silkline.distil.optimiser import Ema, HybridOptimizer
from silkline.errors import ConfigError

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"

OnPoint = Callable[[Point, int], None]
"""Called with a new point of the curve and the number of steps in all."""


class Task(Protocol):
    """What is trained, and on what.

    Attributes:
        model: The module whose parameters are trained.
        identity: Digest of the model, the data and the settings.
    """

    model: nn.Module
    identity: str

    def loss(self, step: int) -> Tensor:
        """Returns the loss of a step; equal steps have equal batches."""

    def held_out(self) -> tuple[float, float]:
        """Returns the mean loss on held-out data, and the share of answers that are the target."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long to train.

    Attributes:
        steps: Steps in all, at least 1.
        evaluate_every: Steps between evaluations.
        patience: Stops after so many evaluations without a smaller held-out loss; 0 never does.
        checkpoint_seconds: Seconds between checkpoints; 0 writes one after each step.
        pause_after: Seconds after which the training pauses, with a checkpoint; None never pauses.
        average: Steps over which the weights are averaged.
        max_norm: Gradients are scaled down to this norm.
    """

    steps: int
    evaluate_every: int = 200
    patience: int = 5
    checkpoint_seconds: float = 30.0
    pause_after: float | None = None
    average: int = 200
    max_norm: float = 1.0


class Training:
    """A training in a folder, which holds its checkpoints."""

    def __init__(
        self, task: Task, optimiser: HybridOptimizer, schedule: Schedule, folder: Path
    ) -> None:
        """Continues the training whose checkpoint is in the folder, or begins a new one.

        Raises:
            ConfigError: The folder has the checkpoint of another training.
        """
        self._task, self._optimiser, self._schedule = task, optimiser, schedule
        self._folder = folder
        self._ema = Ema(task.model, schedule.average)
        self.progress = Progress(task.identity)
        self._sum: Tensor | float = 0.0
        self._resume()

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the training stopped early."""
        return self.progress.stopped or self.progress.step >= self._schedule.steps

    def run(self, on_point: OnPoint) -> bool:
        """Trains until the end or the pause; returns whether it has finished.

        The model then has the averaged weights of the best evaluation.

        Raises:
            EnvironmentFault: A checkpoint cannot be written.
        """
        began = saved = time.monotonic()
        before = self.progress.seconds
        while not self.finished:
            now = time.monotonic()
            if self._schedule.pause_after is not None and now - began > self._schedule.pause_after:
                break
            if now - saved >= self._schedule.checkpoint_seconds:
                self._save()
                saved = now
            self._step()
            seconds = before + time.monotonic() - began
            self.progress = replace(self.progress, step=self.progress.step + 1, seconds=seconds)
            if self._due():
                self._evaluate(on_point)
        self._save()
        if self.finished:
            self._load_best()
        return self.finished

    def _step(self) -> None:
        task, step = self._task, self.progress.step
        torch.manual_seed(step)  # for what draws without a generator of its own, such as dropout
        self._optimiser.set_progress(step / self._schedule.steps)
        loss = task.loss(step)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(task.model.parameters(), self._schedule.max_norm)
        self._optimiser.step()
        self._ema.update(task.model)
        self._sum = self._sum + loss.detach().double()

    def _due(self) -> bool:
        step = self.progress.step
        return step % self._schedule.evaluate_every == 0 or step == self._schedule.steps

    def _evaluate(self, on_point: OnPoint) -> None:
        task, progress = self._task, self.progress
        own = {name: value.clone() for name, value in task.model.state_dict().items()}
        task.model.load_state_dict(self._ema.weights)
        task.model.eval()
        with torch.no_grad():
            loss, agreement = task.held_out()
        task.model.train()
        task.model.load_state_dict(own)
        last = progress.points[-1].step if progress.points else 0
        mean = float(self._sum) / (progress.step - last)
        self._sum = 0.0
        point = Point(progress.step, progress.seconds, mean, loss, agreement)
        best, best_step = progress.best, progress.best_step
        if best is None or loss < best:
            best, best_step = loss, progress.step
            write_checkpoint(self._folder / BEST, {"model": self._ema.weights}, progress)
        late = (progress.step - best_step) // self._schedule.evaluate_every
        stopped = 0 < self._schedule.patience <= late
        self.progress = replace(
            progress,
            best=best,
            best_step=best_step,
            stopped=stopped,
            points=(*progress.points, point),
        )
        on_point(point, self._schedule.steps)

    def _save(self) -> None:
        groups = {
            "model": self._task.model.state_dict(),
            "average": self._ema.weights,
            "optimiser": self._optimiser.tensors(),
            "loss": {"sum": torch.as_tensor(self._sum, dtype=torch.float64)},
        }
        write_checkpoint(self._folder / CHECKPOINT, groups, self.progress)

    def _resume(self) -> None:
        found = read_checkpoint(self._folder / CHECKPOINT)
        if found is None:
            return
        groups, progress = found
        if progress.identity != self._task.identity:
            raise ConfigError(
                f"{self._folder} has the checkpoint of another training: its model, data or "
                "settings differ. Choose another folder, or remove it."
            )
        device = next(self._task.model.parameters()).device
        self._task.model.load_state_dict(groups["model"])
        average = {name: value.to(device) for name, value in groups["average"].items()}
        self._ema.load(average, progress.step)
        self._optimiser.load(groups.get("optimiser", {}))
        self._sum = groups["loss"]["sum"].to(device)
        self.progress = progress

    def _load_best(self) -> None:
        found = read_checkpoint(self._folder / BEST)
        if found is not None:
            self._task.model.load_state_dict(found[0]["model"])
