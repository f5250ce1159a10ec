"""Where a model runs, and in which type."""

import pytest
import torch

from silkline.engines.torch import placement
from silkline.engines.torch.options import TorchOptions
from silkline.engines.torch.placement import choose_device, choose_dtype
from silkline.errors import EnvironmentFault

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("stored", "device", "hardware", "dtype"),
    [
        ({"F32": 100}, CPU, True, torch.float32),
        ({"BF16": 100, "F32": 3}, CPU, True, torch.bfloat16),
        ({"BF16": 3, "F32": 100}, CPU, True, torch.float32),
        ({"BF16": 100}, CPU, False, torch.float32),
        ({"F16": 100}, CPU, True, torch.float32),
        ({"F32": 100}, CUDA, True, torch.bfloat16),
        ({"BF16": 100}, CUDA, True, torch.bfloat16),
        ({"BF16": 100}, CUDA, False, torch.float16),
        ({"F16": 100}, CUDA, True, torch.float16),
    ],
)
def test_auto_goes_by_the_checkpoint_and_a_cpu_rounds_nothing(
    monkeypatch: pytest.MonkeyPatch,
    stored: dict[str, int],
    device: torch.device,
    hardware: bool,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(placement, "has_bfloat16", lambda _: hardware)
    assert choose_dtype(TorchOptions(), stored, device) is dtype


def test_what_is_asked_for_is_taken() -> None:
    assert choose_dtype(TorchOptions(dtype="float16"), {"F32": 1}, CPU) is torch.float16
    assert choose_dtype(TorchOptions(dtype="float32"), {"BF16": 1}, CUDA) is torch.float32


def test_cuda_is_taken_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(TorchOptions()) == CUDA
    assert choose_device(TorchOptions(device="cpu")) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(TorchOptions()) == CPU
    with pytest.raises(EnvironmentFault, match="no CUDA device"):
        choose_device(TorchOptions(device="cuda"))
