"""Linear layers in oneDNN's layout."""

import pytest
import torch
from torch import nn

from silkline.engines.torch import linear
from silkline.engines.torch.linear import PackedLinear, pack_linears, packable_types


@pytest.mark.parametrize("dtype", sorted(packable_types(), key=str))
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_layer_computes_the_same(dtype: torch.dtype, bias: bool) -> None:
    plain = nn.Linear(48, 80, bias=bias, dtype=dtype)
    packed = PackedLinear(plain, 4)
    assert torch.equal(packed.weight, plain.weight)
    for shape in ((1, 48), (7, 48), (1, 33, 48), (2, 3, 5, 48)):
        rows = torch.randn(shape, dtype=dtype)
        expected = plain(rows)
        assert packed(rows).shape == expected.shape
        tolerance = 1e-5 if dtype is torch.float32 else 0.05
        assert torch.allclose(packed(rows), expected, atol=tolerance, rtol=tolerance)
    crosswise = torch.randn(48, 9, dtype=dtype).t()
    assert torch.allclose(packed(crosswise), plain(crosswise), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_layers_of_every_type_compute_on_every_processor(dtype: torch.dtype) -> None:
    plain = nn.Linear(512, 512, dtype=dtype)
    whole = nn.Sequential(plain)
    pack_linears(whole, batch=4)
    rows = torch.randn(4, 512, dtype=dtype)
    assert torch.allclose(whole(rows), plain(rows), atol=0.05, rtol=0.05)


def test_bfloat16_is_left_to_torch_without_avx_512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "features", lambda: frozenset({"avx2"}))
    assert packable_types() == {torch.float32}


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.ModuleList([nn.Linear(64, 32)]), nn.Conv2d(3, 4, 2))


@pytest.mark.parametrize("wins", [True, False])
def test_the_faster_way_is_taken(monkeypatch: pytest.MonkeyPatch, wins: bool) -> None:
    packed_seconds = 0.5 if wins else 1.5
    monkeypatch.setattr(
        linear,
        "_seconds",
        lambda layer, rows: packed_seconds if isinstance(layer, PackedLinear) else 1.0,
    )
    whole = model()
    assert pack_linears(whole, batch=4) == (2 if wins else 0)
    kinds = [type(layer) for layer in whole.modules()]
    assert kinds.count(PackedLinear) == (2 if wins else 0)
    assert kinds.count(nn.Linear) == (0 if wins else 2)


def test_nothing_is_replaced_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_TRIAL_SECONDS", -1.0)
    assert pack_linears(model(), batch=4) == 0


def test_types_that_onednn_does_not_pack_are_left() -> None:
    assert pack_linears(nn.Sequential(nn.Linear(512, 512, dtype=torch.float64)), batch=4) == 0
