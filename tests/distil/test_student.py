"""Students: their sizes, and the weights that they take from the teacher."""

from pathlib import Path
from typing import Any

import pytest
import torch

from silkline.core import Image
from silkline.distil.files import write_student
from silkline.distil.initialise import make_student
from silkline.distil.questions import Asked, Questions, padded
from silkline.distil.sizes import Sizes, shape_of, spread
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.loading import load_family
from silkline.errors import ConfigError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def family(teacher: Path) -> Adapter:
    return load_family(teacher, dtype=torch.float32, device=CPU)


def asked(count: int = 4) -> Asked:
    images = []
    for number in range(count):
        noise = torch.randint(0, 256, (3072,), generator=torch.Generator().manual_seed(number))
        images.append(Image(32, 32, bytes(noise.tolist()), f"{number:064}"))
    return Asked(images, [(number, "What?") for number in range(count)])


def student_of(family: Adapter, sizes: Sizes) -> Any:
    questions = Questions(family, asked())
    rows = [questions.prompt(number) for number in range(4)]
    batch = padded(rows, questions.pixels(range(4), CPU), 0)
    shape = shape_of(family.config, sizes)
    return make_student(family.model, shape, lambda: family.model.model(**batch.arguments()))


def logits(model: Any, family: Adapter) -> torch.Tensor:
    questions = Questions(family, asked())
    rows = [questions.prompt(number) for number in range(4)]
    batch = padded(rows, questions.pixels(range(4), CPU), 0)
    with torch.no_grad():
        found: torch.Tensor = model(**batch.arguments()).logits
    return found


def test_a_student_of_the_same_size_answers_as_the_teacher(family: Adapter) -> None:
    student = student_of(family, Sizes(1.0, 1.0)).eval()
    torch.testing.assert_close(logits(student, family), logits(family.model, family))


def test_layers_are_spread_evenly_with_both_ends() -> None:
    assert spread(3, 9) == (0, 4, 8)
    assert spread(4, 12) == (0, 4, 7, 11)
    assert spread(2, 5) == (0, 4)
    assert spread(1, 5) == (2,)
    assert spread(5, 5) == (0, 1, 2, 3, 4)


def test_a_student_has_the_sizes_that_were_asked_for(family: Adapter, tmp_path: Path) -> None:
    student = student_of(family, Sizes(0.5, 0.5, 4))
    vision, text = student.config.vision_config, student.config.text_config
    assert (vision.num_hidden_layers, text.num_hidden_layers) == (1, 1)
    assert (vision.hidden_size, text.hidden_size) == (16, 24)
    assert (text.num_attention_heads, text.num_key_value_heads) == (2, 1)
    assert vision.patch_size == 16
    assert student.num_parameters() < 0.5 * family.model.num_parameters()


def test_a_student_is_served_with_fewer_image_tokens(
    family: Adapter, teacher: Path, tmp_path: Path
) -> None:
    write_student(student_of(family, Sizes(0.5, 0.5, 4)), teacher, tmp_path)
    served = load_family(tmp_path, dtype=torch.float32, device=CPU)
    count = sum(token == served.image_token_id for token in Questions(served, asked()).prompt(0))
    assert count == 4
    assert served.image_tokens == 4
    assert torch.isfinite(logits(served.model, served)).all()


def test_kept_layers_and_heads_are_the_teachers(family: Adapter) -> None:
    student = student_of(family, Sizes(0.5, 1.0))
    own, of = student.state_dict(), family.model.state_dict()
    name = "model.language_model.layers.{}.self_attn.q_proj.weight"
    assert torch.equal(own[name.format(0)], of[name.format(1)])
    half = student_of(family, Sizes(1.0, 0.5)).state_dict()
    name = "model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias"
    assert set(half[name].tolist()) < set(of[name].tolist())
    assert len(half[name]) == len(of[name]) // 2


def test_larger_patches_see_a_flat_image_as_the_teacher_does(family: Adapter) -> None:
    student = student_of(family, Sizes(1.0, 1.0, 4))
    name = "model.vision_tower.vision_model.embeddings.patch_embedding.weight"
    own, of = student.state_dict()[name], family.model.state_dict()[name]
    assert own.shape[-1] == 16
    torch.testing.assert_close(own.sum((2, 3)), of.sum((2, 3)), rtol=0.05, atol=0.02)


def test_image_tokens_that_do_not_fit_are_refused(family: Adapter) -> None:
    with pytest.raises(ConfigError, match="Expected one of 16, 4, 1"):
        shape_of(family.config, Sizes(image_tokens=9))


def test_other_layouts_are_refused(family: Adapter) -> None:
    config = type(family.config).from_dict(family.config.to_dict())
    config.model_type = "qwen2_vl"
    with pytest.raises(ConfigError, match="cannot be a teacher"):
        shape_of(config, Sizes())
