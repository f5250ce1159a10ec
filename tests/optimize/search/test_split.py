from dataclasses import replace
from pathlib import Path

import pytest

from silkline.errors import ConfigError
from silkline.evaluate.dataset_location import local_set
from silkline.evaluate.datasets import Dataset, load_dataset
from silkline.optimize.search.split import sample, split
from tests.cli.test_evaluate import write_set


def dataset(folder: Path, images: int, **more: object) -> Dataset:
    return load_dataset(local_set(write_set(folder, images, **more)))


def test_no_image_is_in_two_parts(tmp_path: Path) -> None:
    found = split(dataset(tmp_path, 80), 10, seed=1)
    parts = [
        {item.image.digest for item in part}
        for part in (found.calibrating, found.selection.items, found.confirmation.items)
    ]
    assert [len(part) for part in parts] == [10, 30, 40]
    assert len(set.union(*parts)) == 80
    assert set(found.calibration.images) == parts[0]
    assert found == split(dataset(tmp_path, 80), 10, seed=1)
    assert found != split(dataset(tmp_path, 80), 10, seed=2)


def test_a_group_and_an_image_stay_together(tmp_path: Path) -> None:
    """Item 3n shares a group with item 3n + 1, and its image with item 3n + 2."""
    whole = dataset(tmp_path, 48)
    items = list(whole.items)
    for first in range(0, 48, 3):
        items[first + 1] = replace(items[first + 1], group=items[first].group)
        items[first + 2] = replace(items[first + 2], image=items[first].image)
    found = split(whole.of(items), 0, seed=0)
    confirming = {int(item.id) // 3 for item in found.confirmation.items}
    assert len(found.confirmation.items) == 3 * len(confirming) == 24
    assert not confirming & {int(item.id) // 3 for item in found.selection.items}


def test_a_small_set_calibrates_with_a_part_of_its_images(tmp_path: Path) -> None:
    found = split(dataset(tmp_path, 20), 128, seed=0)
    assert (len(found.calibrating), len(found.selection.items)) == (4, 6)
    with pytest.raises(ConfigError, match="has 8 images or groups"):
        split(dataset(tmp_path, 8), 4, seed=0)


def test_a_sample_has_whole_groups(tmp_path: Path) -> None:
    whole = dataset(tmp_path, 30)
    pairs = [replace(item, group=f"pair {int(item.id) // 2}") for item in whole.items]
    found = sample(whole.of(pairs), 9, seed=3)
    assert len(found.items) == 10
    assert len({item.group for item in found.items}) == 5
    assert sample(whole, 30, seed=3) is whole
