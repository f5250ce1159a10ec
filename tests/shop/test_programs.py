"""The routes for programs."""

import time
from typing import Any

import httpx2
import pytest

from examples.shop.programs import signature
from examples.shop.tables import State
from silkline.catalog.description import Style
from tests.shop.stand_in import SECRET, Shop


def post(shop: Shop, path: str, **options: Any) -> httpx2.Response:
    return httpx2.post(f"{shop.url}{path}", **options)


def hook(shop: Shop, body: bytes, *, secret: str = SECRET, age: int = 0) -> int:
    sent_at = str(int(time.time()) - age)
    headers = {"x-shop-time": sent_at, "x-shop-signature": signature(secret, sent_at, body)}
    return post(shop, "/webhooks/products", content=body, headers=headers).status_code


def test_a_description_by_request(shop: Shop) -> None:
    shop.put("mug")
    answer = post(shop, "/api/descriptions", json={"id": "mug", "language": "zh"}).json()
    assert answer["state"] == "published"
    assert answer["description"]["title"] == "红色条纹马克杯"


def test_a_description_in_review_is_not_given_out(shop: Shop) -> None:
    shop.put("mug", colour="blue")
    answer = post(shop, "/api/descriptions", json={"id": "mug"}).json()
    assert answer["state"] == "review"
    assert answer["description"] is None
    assert answer["findings"][0]["part"] == "colour"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"{}", 400), (b'{"id":"mug","language":"fr"}', 400), (b'{"id":"x"}', 404)],
)
def test_what_cannot_be_asked(shop: Shop, body: bytes, status: int) -> None:
    assert post(shop, "/api/descriptions", content=body).status_code == status


def test_a_server_that_is_down_is_said_without_its_words(shop: Shop) -> None:
    shop.put("mug")
    shop.model.is_down = True
    answer = post(shop, "/api/descriptions", json={"id": "mug"})
    assert answer.status_code == 503
    assert "127.0.0.1" not in answer.text


def test_a_webhook_describes_a_changed_product(shop: Shop) -> None:
    shop.put("mug")
    shop.describer.describe("mug", Style())
    shop.put("mug", colour="blue")
    assert hook(shop, b'{"id":"mug"}') == 202
    for _ in range(200):
        kept = shop.tables.description("mug", Style())
        if kept and kept.state is State.REVIEW:
            break
        time.sleep(0.01)
    else:
        pytest.fail("the product was not described")


def test_a_webhook_must_be_signed_recent_and_valid(shop: Shop) -> None:
    assert hook(shop, b'{"id":"mug"}', secret="another") == 401
    assert hook(shop, b'{"id":"mug"}', age=301) == 401
    assert hook(shop, b"[]") == 400
    assert post(shop, "/webhooks/products", json={"id": "mug"}).status_code == 401
    assert shop.model.requests == []


def test_pages_run_no_script_of_others_and_forms_come_from_the_shop(shop: Shop) -> None:
    shop.put("mug")
    page = httpx2.get(f"{shop.url}/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    headers = {"sec-fetch-site": "cross-site"}
    assert post(shop, "/editor/mug/en", headers=headers).status_code == 403
