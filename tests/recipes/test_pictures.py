"""The picture generator: same seed, same bytes; the pixels show what the truth says."""

import hashlib
import itertools

import numpy as np
import pytest
from PIL import Image

from recipes.mini.pen import Pen, Pose
from recipes.mini.render import PAINTERS, render
from recipes.mini.scene import (
    COMBINATION_SEEDS,
    TEST_SEEDS,
    TRAIN_SEEDS,
    VALIDATION_SEEDS,
    combination,
    held_out_pairs,
    sample_scene,
)
from recipes.mini.vocabulary import (
    CATEGORIES,
    COLOURS,
    GRID,
    PATTERNS,
    PICTURE_SIZE,
    PLAIN_ONLY,
)


def test_a_seed_fixes_truth_and_pixels() -> None:
    for seed in range(5):
        first, second = sample_scene(seed), sample_scene(seed)
        assert first == second
        assert np.array_equal(render(first).picture, render(second).picture)


def test_other_seeds_give_other_pictures() -> None:
    digests = {
        hashlib.sha256(render(sample_scene(seed)).picture.tobytes()).digest() for seed in range(60)
    }
    assert len(digests) == 60


def test_the_splits_share_no_seed() -> None:
    splits = (TRAIN_SEEDS, VALIDATION_SEEDS, TEST_SEEDS, COMBINATION_SEEDS)
    for left, right in itertools.pairwise(sorted(splits, key=lambda split: split.start)):
        assert left.stop <= right.start


@pytest.mark.parametrize("split", [TRAIN_SEEDS, VALIDATION_SEEDS], ids=["train", "validation"])
def test_learning_never_shows_a_held_out_combination(split: range) -> None:
    """Neither does it miss any other one."""
    scenes = [sample_scene(seed) for seed in split[:6000]]
    assert {combination(scene) for scene in scenes} == {"seen"}
    coloured = {(scene.category, scene.colour) for scene in scenes}
    assert coloured == {
        (name, colour)
        for name, colour in itertools.product(CATEGORIES, COLOURS)
        if colour != held_out_pairs(name)[0]
    }
    patterned = {(scene.category, scene.pattern) for scene in scenes}
    assert patterned == {
        (name, pattern)
        for name, pattern in itertools.product(CATEGORIES, PATTERNS)
        if pattern != held_out_pairs(name)[1] and (name not in PLAIN_ONLY or pattern == "plain")
    }


def test_one_split_shows_held_out_combinations_only() -> None:
    found = {combination(sample_scene(seed)) for seed in COMBINATION_SEEDS[:300]}
    assert found == {"new colour", "new pattern", "new colour and pattern"}


def test_the_pictures_of_the_first_version_are_still_those_of_the_test() -> None:
    """So that its measurements compare with later ones."""
    scenes = [sample_scene(seed) for seed in TEST_SEEDS[:500]]
    digest = hashlib.sha256("".join(scene.record_text() for scene in scenes).encode()).hexdigest()
    assert digest == "b22e2ba853c7695fe0eaf9a2524815d2764adf8aba6edf015630d023c928b268"
    assert {combination(scene) for scene in scenes} > {"seen"}


def test_training_sees_more_prices() -> None:
    shares = [
        sum((sample_scene(seed).label or "").startswith("$") for seed in split[:2000]) / 2000
        for split in (TRAIN_SEEDS, TEST_SEEDS)
    ]
    assert shares == pytest.approx([0.385, 0.175], abs=0.04)


def test_shapes_and_types() -> None:
    rendered = render(sample_scene(3))
    assert rendered.picture.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
    assert rendered.picture.dtype == np.uint8
    assert rendered.mask.shape == (PICTURE_SIZE, PICTURE_SIZE)
    assert rendered.coverage().shape == (GRID, GRID)
    assert render(sample_scene(3), 192).picture.shape == (192, 192, 3)


@pytest.mark.parametrize("colour", COLOURS)
def test_plain_items_have_the_colour_of_the_truth(colour: str) -> None:
    """The median pixel of the main surface is nearer to its colour than to any other."""
    right = 0
    for seed in range(300, 312):
        scene = sample_scene(seed, category="t-shirt", colour=colour, pattern="plain")
        rendered = render(scene)
        median = np.median(rendered.picture[rendered.body == 255], axis=0)
        nearest = min(COLOURS, key=lambda name: float(np.linalg.norm(median - COLOURS[name])))
        right += nearest == colour
    assert right >= 10


def test_patterns_show_on_the_main_surface() -> None:
    spread = {}
    for pattern in PATTERNS:
        scene = sample_scene(77, category="handbag", pattern=pattern, count=1, label=None)
        rendered = render(scene)
        spread[pattern] = float(rendered.picture[rendered.body == 255].std(axis=0).mean())
    assert all(spread[pattern] > 2 * spread["plain"] for pattern in PATTERNS[1:])


def test_the_mask_counts_the_items() -> None:
    for number in (1, 2, 3):
        scene = sample_scene(4, category="mug", count=number, label=None)
        mask = render(scene, 192).mask > 128
        assert _islands(mask) == number


def _islands(mask: np.ndarray) -> int:
    """Count connected regions by flooding (4-neighbours) on a coarse grid."""
    todo = {(int(y), int(x)) for y, x in np.argwhere(mask[::3, ::3])}
    count = 0
    while todo:
        count, edge = count + 1, [todo.pop()]
        while edge:
            y, x = edge.pop()
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & todo
            todo -= near
            edge += near
    return count


def test_every_category_is_drawn_differently() -> None:
    maps = {name: _role_map(name) for name in CATEGORIES}
    for name, one in maps.items():
        for other, two in maps.items():
            if name < other:
                different = float((one != two).mean()) / float(((one > 0) | (two > 0)).mean())
                assert different > 0.15, (name, other)


def _role_map(category: str) -> np.ndarray:
    image = Image.new("L", (96, 96))
    pen = Pen(image, Pose(48, 48, 40, 40, 0.0, flipped=False), np.random.default_rng(0))
    PAINTERS[category](pen)
    return np.asarray(image)


def test_every_category_has_a_painter() -> None:
    assert set(PAINTERS) == set(CATEGORIES)
    assert len(CATEGORIES) >= 20


def test_a_label_is_visible() -> None:
    bare, tagged = (sample_scene(12, count=1, label=label) for label in (None, "SALE"))
    changed = (render(bare).picture != render(tagged).picture).any(axis=2)
    assert changed.mean() > 0.02
