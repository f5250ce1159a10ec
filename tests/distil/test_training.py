"""The training loop: exact resume, early stopping, checkpoints that are whole."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from silkline.distil.checkpoint import read_checkpoint
from silkline.distil.curve import Point
from silkline.distil.optimiser import Rates, hybrid
from silkline.distil.training import BEST, CHECKPOINT, Schedule, Training
from silkline.errors import ConfigError


class Line:
    """Fits a small network with dropout to a line."""

    def __init__(self, identity: str = "line", held_out: tuple[float, ...] = ()) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(
            nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 8), nn.Linear(8, 1)
        )
        self.identity = identity
        self._told = iter(held_out)
        self.last = 0

    def loss(self, step: int) -> Tensor:
        self.last = step
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        loss: Tensor = ((self.model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        return loss

    def held_out(self) -> tuple[float, float]:
        return next(self._told, None) or float(self.loss(10_000)), 0.5


class Killed(Line):
    """Dies in a step, as a process that is killed does."""

    def loss(self, step: int) -> Tensor:
        if step == 23:
            raise KeyboardInterrupt
        return super().loss(step)


SCHEDULE = Schedule(steps=40, evaluate_every=10, patience=0, checkpoint_seconds=0)


def trained(task: Line, folder: Path, schedule: Schedule = SCHEDULE) -> Training:
    training = Training(task, hybrid([(task.model, 1.0)], Rates()), schedule, folder)
    training.run(lambda point, steps: None)
    return training


def curve(training: Training) -> list[Point]:
    return [replace_seconds(point) for point in training.progress.points]


def replace_seconds(point: Point) -> Point:
    return Point(point.step, 0.0, point.train_loss, point.held_out_loss, point.agreement)


def test_a_killed_training_ends_as_one_that_ran_through(tmp_path: Path) -> None:
    whole, killed, resumed = Line(), Killed(), Line()
    unbroken = trained(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(killed, tmp_path / "killed")
    continued = trained(resumed, tmp_path / "killed")
    assert continued.finished
    assert curve(continued) == curve(unbroken)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    first, second = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "killed"))
    assert first is not None
    assert second is not None
    for group, named in first[0].items():
        for name, value in named.items():
            assert torch.equal(value, second[0][group][name]), (group, name)


def test_a_pause_is_continued_by_the_next_call(tmp_path: Path) -> None:
    paused = trained(Line(), tmp_path, replace(SCHEDULE, pause_after=0.0))
    assert not paused.finished
    assert paused.progress.step < SCHEDULE.steps
    assert trained(Line(), tmp_path).finished


def test_it_stops_when_the_held_out_loss_no_longer_falls(tmp_path: Path) -> None:
    task = Line(held_out=(3.0, 2.0, 2.5, 2.4, 2.3))
    training = trained(task, tmp_path, replace(SCHEDULE, steps=1000, patience=2))
    assert training.progress.stopped
    assert training.progress.step == 40
    assert training.progress.best_step == 20
    best = read_checkpoint(tmp_path / BEST)
    assert best is not None
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, best[0]["model"][name])


def test_a_stopped_training_stays_stopped(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, steps=1000, patience=2)
    trained(Line(held_out=(3.0, 2.0, 2.5, 2.4)), tmp_path, schedule)
    again = trained(Line(), tmp_path, schedule)
    assert again.progress.step == 40


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    trained(Line(), tmp_path)
    with pytest.raises(ConfigError, match="another training"):
        trained(Line("other"), tmp_path)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"\x10\0\0\0\0\0\0\0not json at all!")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        trained(Line(), tmp_path)


def test_it_learns(tmp_path: Path) -> None:
    points = trained(Line(), tmp_path, replace(SCHEDULE, steps=200, average=10)).progress.points
    assert points[-1].held_out_loss < points[0].held_out_loss / 2
