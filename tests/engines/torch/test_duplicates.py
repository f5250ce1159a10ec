"""Cells of an image that repeat a neighbour are dropped before the vision tower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.core import Image
from silkline.engines.torch.families.common import Adapter
from silkline.engines.torch.families.duplicates import CELLS, staying_cells
from silkline.engines.torch.loading import load_family
from silkline.errors import ConfigError
from silkline.models.bundle import EngineWeights
from silkline.models.pruning import Method, Pruning
from tests.engines.asking import user
from tests.engines.torch.tiny import INSTALLED, Tiny, save

IDS = ("qwen2_vl", "qwen3_vl", "qwen3_vl_moe")
towers = pytest.mark.parametrize(
    "tiny", [tiny for tiny in INSTALLED if tiny.id in IDS], ids=lambda tiny: tiny.id
)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Adapter]:
    known: dict[str, Path] = {}

    def load(tiny: Tiny, *, drops: bool, pruning: Pruning | None = None) -> Adapter:
        if tiny.id not in known:
            known[tiny.id] = save(tiny, tmp_path_factory.mktemp("cells") / tiny.id)
        cpu = torch.device("cpu")
        entry = EngineWeights(".", "float32", pruning=pruning, drops_duplicates=drops)
        return load_family(known[tiny.id], dtype=torch.float32, device=cpu, entry=entry)

    return load


def product(seed: int, plain: bool = True) -> Image:
    """A noisy item on a plain ground, or noise alone."""
    dice = np.random.default_rng(seed)
    pixels = np.full((64, 96, 3), 240, np.uint8)
    part = (slice(16, 40), slice(24, 60)) if plain else (slice(None), slice(None))
    pixels[part] = dice.integers(0, 256, pixels[part].shape, np.uint8)
    return Image(96, 64, pixels.tobytes(), f"product-{seed}-{plain}")


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 3), st.integers(0, 10**6))
def test_every_cell_can_be_told_from_those_that_stay(
    rows: int, columns: int, colours: int, seed: int
) -> None:
    dice = torch.Generator().manual_seed(seed)
    cells = torch.randint(colours, (rows * columns, 1), generator=dice).float().repeat(1, 5)
    stay = staying_cells(cells, columns).tolist()
    assert stay == sorted(set(stay))
    assert stay[0] == 0
    told: dict[int, torch.Tensor] = {}
    for index in range(rows * columns):
        if index in stay:
            told[index] = cells[index]
            continue
        left = told[index - 1] if index % columns else None
        above = told.get(index - columns)
        near = [each for each in (left, above) if each is not None]
        assert any(torch.equal(each, cells[index]) for each in near)
        told[index] = cells[index]
    if colours == 1:
        assert stay == [0]


@towers
def test_nothing_is_dropped_where_nothing_repeats(tiny: Tiny, load: Callable[..., Adapter]) -> None:
    images = (product(1, plain=False), product(2, plain=False))
    messages = (user(0, "and ", 1),)
    found = []
    for drops in (False, True):
        family = load(tiny, drops=drops)
        prompt = family.prepare(messages, images)
        inputs = family.embed(prompt, family.encode(prompt.images))
        found.append((prompt.ids.tolist(), prompt.positions.tolist(), prompt.next_position, inputs))
    assert found[0][:3] == found[1][:3]
    torch.testing.assert_close(found[0][3], found[1][3])


@towers
def test_what_stays_keeps_its_position_and_is_all_that_the_tower_sees(
    tiny: Tiny, load: Callable[..., Adapter]
) -> None:
    """Two images, of which each loses cells: against the tower's own parts, one by one."""
    images = (product(1), product(2))
    messages = (user("Is ", 0, " like ", 1, "?"),)
    whole = load(tiny, drops=False).prepare(messages, images)
    family = load(tiny, drops=True)
    prompt = family.prepare(messages, images)
    cells = [image.tensors[CELLS] for image in prompt.images]
    before = [image.tokens for image in whole.images]
    assert [image.tokens for image in prompt.images] == [len(each) for each in cells]
    assert all(1 < len(left) < count for left, count in zip(cells, before, strict=True))
    was, now = (each.ids == family.image_token_id for each in (whole, prompt))
    stays = torch.zeros(len(whole.ids), dtype=torch.bool)
    start = 0
    places = was.nonzero().squeeze(1)
    for own, count in zip(cells, before, strict=True):
        stays[places[start : start + count][own]] = True
        start += count
    stays |= ~was
    assert prompt.ids.tolist() == whole.ids[stays].tolist()
    assert prompt.positions.tolist() == whole.positions[:, stays].tolist()
    assert prompt.next_position == whole.next_position
    assert int(now.sum()) == sum(map(len, cells))
    for image, kept, full in zip(
        prompt.images, family.encode(prompt.images), whole.images, strict=True
    ):
        expected = _alone(family.model.model.visual, full.tensors, image.tensors[CELLS])
        torch.testing.assert_close(kept[:, : expected.shape[1]], expected)


def _alone(tower: Any, tensors: dict[str, torch.Tensor], cells: torch.Tensor) -> torch.Tensor:
    """The tower's layers over the patches of some cells of one image."""
    unit = tower.spatial_merge_size**2
    patches = (cells[:, None] * unit + torch.arange(unit)).flatten()
    grid = tensors["image_grid_thw"][None]
    with torch.inference_mode():
        hidden = tower.patch_embed(tensors["pixel_values"])
        if hasattr(tower, "fast_pos_embed_interpolate"):
            hidden = hidden + tower.fast_pos_embed_interpolate(grid)
        angles = tower.rot_pos_emb(grid)[patches]
        hidden, turns = hidden[patches], torch.cat((angles, angles), -1)
        lengths = torch.tensor([0, len(patches)], dtype=torch.int32)
        for block in tower.blocks:
            hidden = block(
                hidden, cu_seqlens=lengths, position_embeddings=(turns.cos(), turns.sin())
            )
        found: torch.Tensor = tower.merger(hidden)
    return found


@towers
def test_what_stays_can_be_pruned_further(tiny: Tiny, load: Callable[..., Adapter]) -> None:
    half = Pruning(Method.DIVPRUNE, 0.5)
    family = load(tiny, drops=True, pruning=half)
    prompt = family.prepare((user(0, "What?"),), (product(3),))
    (image,) = prompt.images
    assert image.tokens == half.kept(image.features) < image.features
    features = family.encode(prompt.images)
    last, kept = family.prune(prompt, features)
    assert last.feature_positions is not None
    known = {tuple(column) for column in last.feature_positions.T.tolist()}
    is_image = last.ids == family.image_token_id
    assert {tuple(column) for column in last.positions[:, is_image].T.tolist()} <= known
    assert family.embed(last, kept).shape[0] == len(last.ids)


def test_a_tower_with_windows_refuses(load: Callable[..., Adapter]) -> None:
    tiny = next(each for each in INSTALLED if each.id == "qwen2_5_vl")
    with pytest.raises(ConfigError, match="does not allow"):
        load(tiny, drops=True)
