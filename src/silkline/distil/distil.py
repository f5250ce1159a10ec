"""Distils a student: asks the teacher, makes the student, trains it, judges it, writes it whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from silkline.config import Settings
from silkline.core import Image, PixelBudget
from silkline.distil.curve import Point
from silkline.distil.files import write_student, written_folder
from silkline.distil.initialise import make_student
from silkline.distil.looking import Looking, look
from silkline.distil.optimiser import Rates, hybrid
from silkline.distil.questions import Asked, Questions, padded
from silkline.distil.record import PAGE, RECORD, Distilled, model_of
from silkline.distil.report.page import page
from silkline.distil.sizes import Shape, Sizes, shape_of
from silkline.distil.task import DistilTask, Method
from silkline.distil.teacher import ask_teacher
from silkline.distil.training import Schedule, Training
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.loading import load_family
from silkline.engines.torch.options import TorchOptions
from silkline.engines.torch.placement import choose_device
from silkline.errors import ConfigError
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import Item
from silkline.models.bundle import Bundle
from silkline.models.resolve import ModelLocation, locate_model
from silkline.models.source import Digests
from silkline.service.local import create_intake
from silkline.service.subject import source_of

HELD_OUT_SHARE = 0.1
"""Share of the images whose questions judge the student."""

_AT_ONCE = 16
_SAMPLE = 256
"""Questions that measure what the teacher uses, and as many that tell whether the student looks."""

OnProgress = Callable[[str, float, float, str], None]
"""Called with what is being done, how much is done, of how much, and a detail."""


@dataclass(frozen=True, slots=True)
class DistilPlan:
    """What to distil, and how.

    Attributes:
        settings: The settings, which name the teacher.
        dataset: Images and prompts; references are not read.
        target: The student's folder, which must not exist.
        sizes: The student's sizes.
        method: How it is trained.
        schedule: How long.
        rates: Peak learning rates.
        max_tokens: Maximum tokens of the teacher's answers.
        top: Most likely tokens of the teacher that are kept at each token.
    """

    settings: Settings
    dataset: Dataset
    target: Path
    sizes: Sizes
    method: Method
    schedule: Schedule
    rates: Rates
    max_tokens: int
    top: int

    @property
    def work(self) -> Path:
        """The folder of checkpoints and of the teacher's answers."""
        return self.target.with_name(f"{self.target.name}.work")


async def distil(plan: DistilPlan, on_progress: OnProgress) -> Distilled | None:
    """Distils a student; the same call continues one that was interrupted.

    Returns:
        What is recorded; None if the training paused.

    Raises:
        ConfigError: The target exists, the teacher cannot be distilled, the sizes do not fit, or
            the work folder is of another training.
        EnvironmentFault: The teacher is not here, or a file cannot be written.
        SilklineError: An image cannot be loaded.
    """
    if plan.target.exists():
        raise ConfigError(f"{plan.target} exists already. Choose another folder by --out.")
    name = plan.settings.engine.model
    folder = _folder(locate_model(name, os.environ))
    device = choose_device(TorchOptions())
    teacher = await asyncio.to_thread(load_family, folder, dtype=torch.float32, device=device)
    shape = shape_of(teacher.config, plan.sizes)
    asked, digests = await _load(plan, teacher.pixel_budget, on_progress)
    distilling = _Distilling(plan, folder, teacher, shape, asked, digests, on_progress)
    return await asyncio.to_thread(distilling.run)


class _Distilling:
    """A distillation whose teacher and images are loaded."""

    def __init__(
        self,
        plan: DistilPlan,
        folder: Path,
        teacher: Adapter,
        shape: Shape,
        asked: Asked,
        images: Sequence[str],
        on_progress: OnProgress,
    ) -> None:
        self._plan, self._folder, self._teacher, self._shape = plan, folder, teacher, shape
        self._questions, self._images = Questions(teacher, asked), images
        self._on_progress = on_progress
        self._train, self._held_out = split(asked, images)
        self._digest = Digests(plan.work / "digests.json").folder(folder)

    def run(self) -> Distilled | None:
        """Asks, makes, trains, judges and writes."""
        plan = self._plan
        asking = self._identity(plan.max_tokens, plan.top, plan.method.temperature)
        answers = ask_teacher(
            self._teacher,
            self._questions,
            plan.work / f"answers-{asking}",
            max_tokens=plan.max_tokens,
            top=plan.top,
            temperature=plan.method.temperature,
            on_asked=lambda done, total: self._on_progress("asking the teacher", done, total, ""),
        )
        made = plan.work / f"student-{self._identity(plan.sizes)}"
        if not made.exists():
            with written_folder(made) as draft:
                write_student(self._new_student(), self._folder, draft)
        student = load_family(made, dtype=torch.float32, device=self._teacher.model.device)
        student.model.requires_grad_(requires_grad=True).train()
        task = DistilTask(
            student.model,
            Questions(student, self._questions.asked),
            answers,
            train=self._train,
            held_out=self._held_out,
            method=plan.method,
            identity=self._identity(
                asking, plan.sizes, plan.method, plan.rates, plan.schedule.steps
            ),
        )
        optimiser = hybrid([(student.model, 1.0)], plan.rates)
        training = Training(task, optimiser, plan.schedule, plan.work)
        if not training.run(self._point):
            return None
        student.model.eval()
        self._on_progress("blurring images", 0, 1, "")
        looking = look(self._teacher, student, self._sample(self._held_out), plan.max_tokens)
        found = self._record(student, training, looking)
        self._write(student, found)
        return found

    def _new_student(self) -> Any:
        """A student with the teacher's weights."""
        numbers = list(range(len(self._train)))[:_SAMPLE]
        questions, model = self._questions, self._teacher.model
        chosen = [self._train[number] for number in numbers]
        rows = [questions.prompt(number) for number in chosen]
        batch = padded(rows, questions.pixels(chosen, model.device), min(self._teacher.end_ids))
        return make_student(model, self._shape, lambda: model.model(**batch.arguments()))

    def _sample(self, numbers: Sequence[int]) -> Asked:
        step = max(1, len(numbers) // _SAMPLE)
        return self._questions.asked.of(list(numbers)[::step][:_SAMPLE])

    def _identity(self, *parts: object) -> str:
        whole = repr((self._digest, self._plan.dataset.digest, parts))
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def _point(self, point: Point, steps: int) -> None:
        detail = f"held-out loss {point.held_out_loss:.4f}, as the teacher {point.agreement:.1%}"
        self._on_progress("training the student", point.step, steps, detail)

    def _record(self, student: Adapter, training: Training, looking: Looking) -> Distilled:
        plan, progress = self._plan, training.progress
        settings = asdict(plan.sizes) | asdict(plan.method) | asdict(plan.rates)
        return Distilled(
            teacher=plan.settings.engine.model,
            teacher_digest=self._digest,
            dataset=plan.dataset.name,
            dataset_digest=plan.dataset.digest,
            questions=len(self._train),
            held_out=len(self._held_out),
            images=tuple(sorted(set(self._images))),
            of=model_of(self._teacher.model),
            student=model_of(student.model),
            tower_layers=self._shape.tower.layers,
            decoder_layers=self._shape.decoder.layers,
            settings=settings | {"steps": plan.schedule.steps, "top": plan.top},
            points=progress.points,
            best_step=progress.best_step,
            stopped=progress.stopped,
            looking=looking,
        )

    def _write(self, student: Adapter, found: Distilled) -> None:
        """Writes the student's folder, which appears only when it is complete."""
        with written_folder(self._plan.target) as draft:
            write_student(student.model, self._folder, draft)
            encoded = msgspec.json.format(msgspec.json.encode(found), indent=1)
            (draft / RECORD).write_bytes(encoded + b"\n")
            (draft / PAGE).write_text(page(found), encoding="utf-8")


def split(asked: Asked, digests: Sequence[str]) -> tuple[list[int], list[int]]:
    """Splits questions into those to train on and those held out, by the digest of their image.

    Raises:
        ConfigError: There are fewer than two images.
    """
    ranked = sorted(set(digests), key=lambda digest: hashlib.sha256(digest.encode()).digest())
    if len(ranked) < 2:  # noqa: PLR2004
        raise ConfigError("The data set has one image; distilling needs at least two, to hold out.")
    held = set(ranked[: max(1, round(len(ranked) * HELD_OUT_SHARE))])
    numbers: tuple[list[int], list[int]] = ([], [])
    for number, (image, _) in enumerate(asked.pairs):
        numbers[digests[image] in held].append(number)
    return numbers


def _folder(location: ModelLocation) -> Path:
    bundle: Bundle | None = location.bundle
    return location.folder if bundle is None else bundle.weights("torch")


async def _load(
    plan: DistilPlan, budget: PixelBudget, on_progress: OnProgress
) -> tuple[Asked, list[str]]:
    """Loads the images, each once, reduced to what the teacher sees; with their digests."""
    items: dict[str, Item] = {}
    for item in plan.dataset.items:
        items.setdefault(item.image.digest or item.image.text, item)
    index = {key: number for number, key in enumerate(items)}
    pairs = [
        (index[each.image.digest or each.image.text], each.prompt) for each in plan.dataset.items
    ]
    limit = plan.settings.limits.max_image_bytes
    images: list[Image] = []
    async with create_intake(plan.settings) as intake:

        async def load(item: Item) -> Image:
            taken = await intake.take((source_of(item.image, limit),), budget, b"")
            return taken.images[0]

        for some in _chunks(list(items.values()), _AT_ONCE):
            images += await asyncio.gather(*map(load, some))
            on_progress("loading the images", len(images), len(items), "")
    return Asked(images, pairs), list(items)


def _chunks(items: Sequence[Item], size: int) -> Iterable[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
