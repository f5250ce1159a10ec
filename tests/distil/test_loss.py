"""The loss against the plain formula in float64."""

import pytest
import torch
from torch import Tensor

from silkline.distil.loss import Targets, loss, soft_loss


def teacher_of(logits: Tensor, temperature: float, top: int) -> Targets:
    kept = (logits / temperature).log_softmax(-1).topk(top, dim=-1)
    return Targets(logits.argmax(-1), kept.indices, kept.values)


def plain(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """The sum over all tokens, one by one: T^2 p (log p - log q)."""
    p = torch.softmax(teacher.double() / temperature, -1)
    q = torch.softmax(student.double() / temperature, -1)
    return float((p * (p.log() - q.log())).sum(-1).mean()) * temperature**2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
def test_it_is_the_divergence_when_all_tokens_are_kept(temperature: float) -> None:
    student, teacher = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(1)) * 3
    found = soft_loss(student, teacher_of(teacher, temperature, 11), temperature)
    assert float(found) == pytest.approx(plain(student, teacher, temperature), rel=1e-5)


def test_tokens_outside_the_top_count_as_one() -> None:
    student, teacher = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(2)) * 2
    targets = teacher_of(teacher, 2.0, 4)
    p = torch.softmax(teacher.double() / 2, -1)
    q = torch.softmax(student.double() / 2, -1)
    expected = 0.0
    for row in range(5):
        top = targets.top[row].tolist()
        pairs = [(float(p[row, i]), float(q[row, i])) for i in top]
        pairs.append((1 - sum(a for a, _ in pairs), 1 - sum(b for _, b in pairs)))
        expected += sum(a * float(torch.log(torch.tensor(a / b))) for a, b in pairs)
    found = soft_loss(student, targets, 2.0)
    assert float(found) == pytest.approx(expected / 5 * 4, rel=1e-4)


@pytest.mark.parametrize("top", [1, 3, 11])
def test_a_student_that_says_what_the_teacher_says_has_no_loss(top: int) -> None:
    logits = torch.randn(6, 11, generator=torch.Generator().manual_seed(3)) * 4
    assert float(soft_loss(logits, teacher_of(logits, 2.0, top), 2.0)) == pytest.approx(0, abs=1e-5)


def test_a_certain_teacher_gives_finite_gradients() -> None:
    teacher = torch.full((2, 11), -200.0)
    teacher[:, 4] = 200.0
    student = torch.randn(2, 11, requires_grad=True)
    soft_loss(student, teacher_of(teacher, 1.0, 3), 1.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_the_factor_keeps_the_gradient_when_the_temperature_rises() -> None:
    student, teacher = torch.randn(2, 50, 11, generator=torch.Generator().manual_seed(4)) * 0.1
    sizes = []
    for temperature in (4.0, 40.0):
        own = student.clone().requires_grad_()
        targets = teacher_of(teacher, temperature, 11)
        soft_loss(own, targets, temperature).backward()  # type: ignore[no-untyped-call]
        assert own.grad is not None
        sizes.append(float(own.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_the_weight_mixes_both_losses() -> None:
    student, teacher = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(5))
    targets = teacher_of(teacher, 2.0, 11)
    hard = float(torch.nn.functional.cross_entropy(student, targets.tokens))
    soft = float(soft_loss(student, targets, 2.0))
    assert float(loss(student, targets, 2.0, 0.0)) == pytest.approx(hard)
    assert float(loss(student, targets, 2.0, 1.0)) == pytest.approx(soft)
    assert float(loss(student, targets, 2.0, 0.25)) == pytest.approx(0.25 * soft + 0.75 * hard)
