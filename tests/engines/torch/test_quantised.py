"""The kernels of quantised layers: which one is taken, and that each computes the same."""

import pytest
import torch
from torch import nn

from silkline.engines.torch import quantised
from silkline.engines.torch.compressed import CompressedLinear, packed, unpacked
from silkline.engines.torch.quantised import (
    WAYS,
    MakeWay,
    QuantisedLinear,
    Way,
    compute_quantised,
    int4_weights,
    int8_weights,
    integer_product,
    plain,
)
from silkline.models.compressed import SCHEMES, Scheme
from silkline.optimize.rounding import rounded

SMALL_GROUPS = Scheme("w4a16", "int", 4, 32, activations=False)


def compressed(scheme: Scheme, *, bias: bool = True) -> CompressedLinear:
    """A layer of 64 to 32 with rounded weights."""
    torch.manual_seed(1)
    whole = nn.Linear(64, 32, bias=bias)
    layer = CompressedLinear(whole, scheme)
    for name, tensor in rounded(whole.weight.detach(), scheme).items():
        getattr(layer, name).data = tensor
    return layer


@pytest.mark.parametrize("bits", [4, 8])
def test_levels_are_packed_from_the_lowest_bits_on(bits: int) -> None:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    levels = torch.tensor([[lowest, highest, 0, -1, 1, 2, 3]], dtype=torch.int8)
    words = packed(levels, bits)
    assert words.dtype is torch.int32
    offset = 2 ** (bits - 1)
    first = sum((int(level) + offset) << (bits * place)
                for place, level in enumerate(levels[0][: 32 // bits]))  # fmt: skip
    assert int(words[0, 0]) & 0xFFFFFFFF == first
    assert torch.equal(unpacked(words, bits, 7), levels)


@pytest.mark.parametrize(
    ("make", "scheme"),
    [
        (integer_product, SCHEMES["w8a8"]),
        (int8_weights, SCHEMES["w8a16"]),
        (int4_weights, SMALL_GROUPS),
        (plain, SCHEMES["fp8"]),
    ],
)
def test_every_kernel_computes_what_the_numbers_say(make: MakeWay, scheme: Scheme) -> None:
    layer = compressed(scheme)
    rows = torch.randn(5, 64)
    expected = rows.double() @ layer.dense(torch.float32).double().t()
    found = make(layer, torch.float32)(rows)
    bound = 0.05 if scheme.activations else 1e-4
    assert found.shape == (5, 32)
    assert (found.double() - expected).abs().max() < bound * expected.abs().max()


def test_inputs_are_rounded_row_by_row() -> None:
    """A large row leaves the others their precision."""
    layer = compressed(SCHEMES["w8a8"])
    rows = torch.randn(3, 64)
    rows[1] *= 1e6
    alone = plain(layer, torch.float32)(rows[:1])
    together = plain(layer, torch.float32)(rows)
    assert torch.allclose(alone, together[:1], rtol=1e-5)


def test_an_empty_row_is_zero() -> None:
    assert not plain(compressed(SCHEMES["fp8"]), torch.float32)(torch.zeros(1, 64)).any()


def model(scheme: Scheme, *, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(compressed(scheme, bias=bias), nn.ReLU())


def wrong(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    """A kernel whose large sums are clipped."""
    way = plain(layer, dtype)
    return lambda rows: way(rows).clamp(max=float(way(rows).max()) / 2)


def missing(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    raise NotImplementedError("no kernel for this processor")


def quick(layer: CompressedLinear, dtype: torch.dtype) -> Way:
    return plain(layer, dtype)


@pytest.mark.parametrize(
    ("ways", "taken"),
    [((wrong,), "plain"), ((missing,), "plain"), ((missing, wrong, quick), "quick")],
)
def test_a_kernel_that_is_wrong_or_not_there_is_not_used(
    monkeypatch: pytest.MonkeyPatch, ways: tuple[MakeWay, ...], taken: str
) -> None:
    monkeypatch.setitem(WAYS, ("w8a8", "cpu"), ways)
    seconds = iter([2.0, 2.0, 1.0, 1.0])  # for plain, then for the way that agrees
    monkeypatch.setattr(quantised, "_seconds", lambda way, rows: next(seconds))
    assert compute_quantised(model(SCHEMES["w8a8"]), batch=4, dtype=torch.float32) == {taken: 1}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scheme", [*SCHEMES.values(), SMALL_GROUPS], ids=lambda each: each.name)
def test_layers_are_replaced_by_ones_that_compute(scheme: Scheme, bias: bool) -> None:
    scheme = SMALL_GROUPS if scheme.group else scheme
    whole = model(scheme, bias=bias)
    held = whole[0]
    assert isinstance(held, CompressedLinear)
    rows = torch.randn(2, 3, 64)
    expected = plain(held, torch.float32)(rows.flatten(0, 1)).reshape(2, 3, -1)
    if held.bias is not None:
        expected = expected + held.bias
    assert compute_quantised(whole, batch=4, dtype=torch.float32)
    assert torch.allclose(whole[0](rows), expected, atol=1e-4)


def test_weights_that_become_plain_numbers_are_a_plain_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that they can be packed for oneDNN, as those of any other model."""
    monkeypatch.setattr(quantised, "WAYS", {})
    whole = model(SCHEMES["w8a16"])
    compute_quantised(whole, batch=4, dtype=torch.float32)
    assert type(whole[0]) is nn.Linear
    whole = model(SCHEMES["w8a8"])
    compute_quantised(whole, batch=4, dtype=torch.float32)
    assert type(whole[0]) is QuantisedLinear
