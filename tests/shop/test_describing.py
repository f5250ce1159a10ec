"""From the product table to descriptions, with a model whose answers the test decides."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from examples.shop.describing import STYLES
from examples.shop.tables import State
from examples.shop.words import COMPOSER
from silkline.catalog.description import Description, Length, Style
from silkline.catalog.vocabulary import Language
from silkline.errors import EngineFailed
from tests.shop.stand_in import MUG, Shop, running_shop


def ignore(_done: int) -> None:
    pass


def test_a_product_is_described_once_until_its_row_or_its_image_changes(shop: Shop) -> None:
    shop.put("mug")
    first = shop.describer.describe("mug", Style())
    assert first is not None
    assert first.state is State.PUBLISHED
    assert shop.describer.describe("mug", Style()) == first
    assert len(shop.model.requests) == 1
    shop.put("mug", price="41")
    assert shop.describer.describe("mug", Style()) != first
    assert len(shop.model.requests) == 2
    new_image = shop.describer.images.put(b"another image")
    shop.model.seen[new_image] = MUG
    product = shop.tables.product("mug")
    assert product
    shop.tables.put(msgspec.structs.replace(product, image=new_image))
    shop.describer.describe("mug", Style())
    assert len(shop.model.requests) == 3


def test_the_question_about_an_image_never_names_the_table(shop: Shop) -> None:
    shop.put("mug", colour="blue")
    shop.put("cup")
    for identity in ("mug", "cup"):
        shop.describer.describe(identity, Style())
    texts = [body["messages"][0]["content"][1] for body in shop.model.requests]
    assert texts[0] == texts[1]


def test_the_catalogue_is_described_in_all_styles_and_a_second_run_costs_nothing(
    shop: Shop,
) -> None:
    for number in range(20):
        shop.put(f"mug-{number:02}", colour="red" if number else "blue")
    done: list[int] = []
    assert shop.describer.describe_all(shop.tables.ids(), done.append) == {}
    assert done == list(range(1, 21))
    assert shop.tables.counts() == {"published": 38, "review": 2, "refused": 0}
    requests = len(shop.model.requests)
    assert requests == 20 * len(STYLES)
    shop.describer.describe_all(shop.tables.ids(), ignore)
    assert len(shop.model.requests) == requests


def test_a_server_that_is_down_leaves_the_product_for_the_next_run(shop: Shop) -> None:
    shop.put("mug")
    shop.model.is_down = True
    assert set(shop.describer.describe_all(["mug"], ignore)) == {"mug"}
    assert shop.tables.descriptions("mug") == []
    shop.model.is_down = False
    assert shop.describer.describe_all(["mug"], ignore) == {}
    assert len(shop.tables.descriptions("mug")) == 2


def test_a_batch_reads_what_is_stale_and_what_failed_in_it_is_asked(shop: Shop) -> None:
    for name in ("a", "b", "c", "d"):
        shop.put(name)
    shop.describer.describe_all(["d"], ignore)
    asked = len(shop.model.requests)
    readings = shop.describer.read_by_batch()
    assert [line["custom_id"] for line in shop.model.lines] == ["a", "b", "c"]
    assert set(readings) == {"b", "c"}
    assert shop.describer.describe_all(shop.tables.ids(), ignore, readings) == {}
    assert len(shop.model.requests) == asked + 2 + len(STYLES)
    kept = shop.tables.description("b", Style())
    assert kept
    assert (kept.request_id, kept.cache) == ("line-1", "batch")
    assert shop.describer.read_by_batch() == {}


def test_an_answer_that_is_cut_is_no_description(shop: Shop) -> None:
    shop.put("mug", seen={"category": "mug"})
    with pytest.raises(EngineFailed):
        shop.describer.describe("mug", Style())


def authored(shop: Shop, **changes: Any) -> Description:
    product = shop.put("mug")
    description = COMPOSER.compose(product, MUG, Style())
    changed = msgspec.structs.replace(description, **changes)
    shop.model.written = msgspec.json.encode(changed).decode()
    return changed


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"title": "A red mug with stripes"}, State.PUBLISHED),
        ({"title": "A red mug for $39.00"}, State.PUBLISHED),
        ({"title": "A red mug for $35"}, State.REFUSED),
        ({"bullets": ("The best mug",)}, State.REFUSED),
        ({"bullets": ("Made of leather",)}, State.REVIEW),
    ],
)
def test_a_model_that_writes_is_held_to_the_same_checks(
    tmp_path: Path, changes: dict[str, Any], state: State
) -> None:
    with running_shop(tmp_path, author="author") as shop:
        description = authored(shop, **changes)
        kept = shop.describer.describe("mug", Style())
        assert kept is not None
        assert kept.description == description
        assert kept.state is state
        assert [body["model"] for body in shop.model.requests] == ["shop", "author"]
        prompt = shop.model.requests[1]["messages"][0]["content"][1]["text"]
        assert "39" not in prompt


def test_styles_are_kept_apart(shop: Shop) -> None:
    shop.put("mug")
    short = shop.describer.describe("mug", Style(length=Length.SHORT))
    chinese = shop.describer.describe("mug", Style(language=Language.CHINESE))
    assert short
    assert chinese
    assert len(short.description.bullets) == 2
    assert chinese.description.title == "红色条纹马克杯"


def test_there_is_no_description_of_an_unknown_product(shop: Shop) -> None:
    assert shop.describer.describe("nothing", Style()) is None
