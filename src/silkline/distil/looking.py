"""Whether a student looks at the image: its answers must change where the teacher's do.

A student can learn likely answers from the questions alone. So both are asked again with the image
blurred until little but its colours is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import PIL.ImageFilter

from silkline.core import Image
from silkline.distil.questions import Asked, Questions
from silkline.distil.teacher import answer
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.families.inputs import as_pillow
from silkline.ingress.identity import image_digest

_BLUR_SHARE = 0.25
"""Radius of the blur, as a share of the shorter edge."""


class Looking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers change when the image is blurred.

    Attributes:
        questions: Questions asked, each about the sharp and the blurred image.
        teacher: Share of the teacher's answers that change.
        student: Share of the student's answers that change.
        followed: Of the questions whose answer changes for the teacher, the share whose answer
            changes for the student too; None if the teacher's never changes.
    """

    questions: int
    teacher: float
    student: float
    followed: float | None


def look(teacher: Adapter, student: Adapter, asked: Asked, max_tokens: int) -> Looking:
    """Asks both about the images as they are, and blurred."""
    blurred = Asked([_blurred(image) for image in asked.images], asked.pairs)
    first, second = (
        _changes(
            answer(family, Questions(family, asked), max_tokens),
            answer(family, Questions(family, blurred), max_tokens),
        )
        for family in (teacher, student)
    )
    both = sum(a and b for a, b in zip(first, second, strict=True))
    count = len(asked.pairs)
    return Looking(
        questions=count,
        teacher=sum(first) / count,
        student=sum(second) / count,
        followed=both / sum(first) if any(first) else None,
    )


def _changes(sharp: Sequence[object], blurred: Sequence[object]) -> list[bool]:
    return [one != other for one, other in zip(sharp, blurred, strict=True)]


def _blurred(image: Image) -> Image:
    radius = _BLUR_SHARE * min(image.width, image.height)
    pixels = as_pillow(image).filter(PIL.ImageFilter.GaussianBlur(radius)).tobytes()
    digest = image_digest("RGB", image.width, image.height, pixels)
    return Image(image.width, image.height, pixels, digest)
