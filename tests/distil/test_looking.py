"""Whether a student looks at the image."""

from pathlib import Path

import pytest
import torch

from silkline.core import Image
from silkline.distil.looking import Looking, look
from silkline.distil.questions import Asked
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.loading import load_family

PROMPTS = ("What?", "Which is it?", "a", "7 of them")


def loaded(folder: Path) -> Adapter:
    return load_family(folder, dtype=torch.float32, device=torch.device("cpu"))


def asked() -> Asked:
    """Black and white halves: blurred, they become grey."""
    images = []
    for number in range(4):
        rows = torch.zeros(32, 32, 3, dtype=torch.uint8)
        rows[:, 8 * number : 8 * number + 8] = 255
        images.append(Image(32, 32, bytes(rows.flatten().tolist()), f"{number:064}"))
    return Asked(images, [(number, prompt) for number in range(4) for prompt in PROMPTS])


@pytest.fixture(scope="module")
def family(teacher: Path) -> Adapter:
    return loaded(teacher)


def blinded(folder: Path) -> Adapter:
    """A model whose image features are all the same."""
    family = loaded(folder)
    with torch.no_grad():
        family.model.model.multi_modal_projector.linear_2.weight.zero_()
    return family


def test_a_student_that_sees_as_the_teacher_follows_it(family: Adapter) -> None:
    found = look(family, family, asked(), 4)
    assert found.questions == 16
    assert found.teacher == found.student > 0
    assert found.followed == 1.0


def test_a_student_that_does_not_look_is_found_out(family: Adapter, teacher: Path) -> None:
    found = look(family, blinded(teacher), asked(), 4)
    assert found.teacher > 0
    assert found.student == 0
    assert found.followed == 0


def test_a_teacher_that_does_not_look_tells_nothing(family: Adapter, teacher: Path) -> None:
    found = look(blinded(teacher), family, asked(), 4)
    assert found == Looking(16, 0.0, found.student, None)
