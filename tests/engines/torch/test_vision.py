"""Errors of the vision tower: a picture's own, those of the memory, and those of the device."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from silkline.engines.stepper import Failed
from silkline.errors import Overloaded
from tests.engines.asking import picture, question, request, user
from tests.engines.torch import driving

CPU_MESSAGE = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError(CPU_MESSAGE)])
def test_without_memory_for_its_pictures_a_request_may_come_again(
    llava: Path, monkeypatch: Any, error: Exception
) -> None:
    model = driving.loaded(llava)
    encode = model.family.encode

    def short(pictures: Any) -> Any:
        if len(pictures) > 1 or pictures[0].digest == large:
            raise error
        return encode(pictures)

    driver = driving.Driver(model)
    asked = driver.add(request(user(0, "Look"), images=(picture(9),)))
    large = asked.prompt.images[0].digest
    beside = driver.add(question(seed=2))
    monkeypatch.setattr(model.family, "encode", short)
    driver.run()
    event = driver.ended[asked]
    assert isinstance(event, Failed)
    assert isinstance(event.error, Overloaded)
    assert beside.generated, "there was enough for one at a time"


@pytest.mark.parametrize("door", ["encode", "embed"])
def test_when_the_device_fails_no_picture_is_to_blame(
    llava: Path, monkeypatch: Any, door: str
) -> None:
    model = driving.loaded(llava)

    def fail(*of: Any) -> Any:
        raise torch.AcceleratorError("an illegal memory access")

    monkeypatch.setattr(model.family, door, fail)
    driver = driving.Driver(model)
    driver.add(question(seed=2))
    with pytest.raises(torch.AcceleratorError):
        driver.run()
    assert not driver.ended


def test_what_a_failed_bite_had_made_is_let_go_of_before_it_is_tried_again(
    llava: Path, monkeypatch: Any
) -> None:
    """Else the memory that was too short for all stays too short for one."""
    model = driving.loaded(llava)
    encode = model.family.encode
    made: list[weakref.ref[torch.Tensor]] = []

    def short(pictures: Any) -> Any:
        assert not any(each() is not None for each in made)
        if len(pictures) == 1:
            return encode(pictures)
        held = torch.zeros(8)
        made.append(weakref.ref(held))
        raise torch.OutOfMemoryError("CUDA")

    monkeypatch.setattr(model.family, "encode", short)
    driver = driving.Driver(model)
    jobs = [driver.add(question(seed=number)) for number in range(3)]
    driver.run()
    assert made
    assert all(each.generated for each in jobs)
