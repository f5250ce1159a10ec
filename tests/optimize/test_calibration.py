import pytest

from silkline.errors import ConfigError
from silkline.evaluate.datasets import Dataset
from silkline.evaluate.item import ImageKind, Item, ItemImage
from silkline.optimize.calibration import draw, joined, without


def item(image: int, question: int = 0, **fields: str) -> Item:
    return Item(
        id=f"{image}-{question}",
        key=f"{image}-{question}",
        group=str(image),
        image=ItemImage(ImageKind.URL, f"https://a.example/{image}.jpg", f"digest-{image:03}"),
        prompt="What?",
        fields=fields,
    )


def dataset(*items: Item) -> Dataset:
    return Dataset("mine", items, "0")


def test_every_slice_has_images_and_each_image_counts_once() -> None:
    rare = [item(number, kind="rare") for number in range(3)]
    usual = [
        item(number, question, kind="usual") for number in range(3, 200) for question in (0, 1)
    ]
    calibration, items = draw(dataset(*usual, *rare), 20, seed=1)
    assert len(items) == len({each.image.digest for each in items}) == 20
    assert sum(each.fields["kind"] == "rare" for each in items) == 3
    assert calibration.images == tuple(sorted(each.image.digest for each in items))
    again, _ = draw(dataset(*rare, *usual), 20, seed=2)
    assert again.digest != calibration.digest
    assert draw(dataset(*usual, *rare), 20, seed=1)[0] == calibration


def test_a_small_set_gives_what_it_has() -> None:
    calibration, items = draw(dataset(item(1), item(2)), 20, seed=0)
    assert (len(items), calibration.dataset) == (2, "mine")


def test_the_set_that_judges_has_none_of_them() -> None:
    whole = dataset(*(item(number, question) for number in range(5) for question in (0, 1)))
    left = without(whole, {"digest-001", "digest-003"})
    assert {each.group for each in left.items} == {"0", "2", "4"}
    assert left.digest != whole.digest
    assert without(whole, set()) is whole
    with pytest.raises(ConfigError, match="cannot judge it"):
        without(whole, {each.image.digest for each in whole.items})


def test_a_base_keeps_its_images() -> None:
    first, _ = draw(dataset(*map(item, range(4))), 20, seed=1)
    second, _ = draw(dataset(*map(item, range(3, 6))), 20, seed=2)
    both = joined(first, second)
    assert both.images == tuple(f"digest-{number:03}" for number in range(6))
    assert both.digest not in {first.digest, second.digest}
    assert joined(None, second) == second
