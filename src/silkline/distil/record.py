"""What is recorded about a student, in `distilled.json` of its folder."""

from __future__ import annotations

from typing import Any

import msgspec

from silkline.distil.curve import Point
from silkline.distil.looking import Looking

RECORD, PAGE = "distilled.json", "report.html"


class Model(msgspec.Struct, frozen=True):
    """The size of a teacher or a student.

    Attributes:
        parameters: Its weights.
        tower_layers: Layers of its vision tower.
        decoder_layers: Layers of its decoder.
        tower_width: Width of its vision tower.
        decoder_width: Width of its decoder.
        image_tokens: Tokens of an image.
    """

    parameters: int
    tower_layers: int
    decoder_layers: int
    tower_width: int
    decoder_width: int
    image_tokens: int


class Distilled(msgspec.Struct, frozen=True):
    """A student, and how it was made.

    Attributes:
        teacher: The teacher's name.
        teacher_digest: SHA-256 of its files.
        dataset: The data set's name.
        dataset_digest: Its digest.
        questions: Questions that the student was trained on.
        held_out: Questions that judged it, about other images.
        images: Digests of the images of both, which must not judge it again.
        of: The teacher's size.
        student: The student's size.
        tower_layers: The teacher's tower layers that it began with.
        decoder_layers: The teacher's decoder layers that it began with.
        settings: How it was trained, by name.
        points: The learning curve.
        best_step: The step whose weights it has.
        stopped: Whether the training stopped early.
        looking: Whether it looks at the image.
    """

    teacher: str
    teacher_digest: str
    dataset: str
    dataset_digest: str
    questions: int
    held_out: int
    images: tuple[str, ...]
    of: Model
    student: Model
    tower_layers: tuple[int, ...]
    decoder_layers: tuple[int, ...]
    settings: dict[str, float | int | str | None]
    points: tuple[Point, ...]
    best_step: int
    stopped: bool
    looking: Looking

    @property
    def share(self) -> float:
        """The student's parameters as a share of the teacher's."""
        return self.student.parameters / self.of.parameters

    @property
    def agreement(self) -> float:
        """The share of held-out answers that are the teacher's, with the weights that it has."""
        return next(point.agreement for point in self.points if point.step == self.best_step)


def model_of(model: Any) -> Model:
    """Returns the size of a model of the LLaVA layout."""
    config = model.config
    vision, text = config.vision_config, config.get_text_config()
    return Model(
        parameters=model.num_parameters(),
        tower_layers=vision.num_hidden_layers,
        decoder_layers=text.num_hidden_layers,
        tower_width=vision.hidden_size,
        decoder_width=text.hidden_size,
        image_tokens=(vision.image_size // vision.patch_size) ** 2,
    )
