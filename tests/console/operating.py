"""A gateway for the operators' pages: two models, keys, and a tenant whose content is retained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from silkline.gateway.keys import Role, fragment, new_key
from tests.gateway.asking import messages
from tests.gateway.keyrings import bearer
from tests.pictures import data_url, encoded
from tests.serving import served

HOSTILE = "<img src=x onerror=alert(1)><b>bold</b>"

TOML = """
[auth]
keys_file = "keys.toml"

[engine]
engine = "fake"
engine_options = { answer_words = "6" }

[cache]
cache_redis = "redis://user:hunter2@127.0.0.1:9/0"

[history]
history_content = { shop = 3600 }

[admin]
allowed_models = ["org/*"]

[canary_set]
canary_data = "held-out"
canary_items = 2

[experiments.trial]
model = "mini"
candidate = "mini"
changes = { max_tokens = 100000 }
ramp = [0.5]
needs_feedback = false
decides = "person"
latency_margin = 9

[models.mini]
[models.large]
engine_options = { answer_words = "9" }
"""


@dataclass
class Operated:
    """The running gateway.

    Attributes:
        url: Its address, with a slash at the end.
        shop: The key of the tenant `shop`, of the role user.
        admin: A key of the role admin.
        client: Sends requests as `shop`.
    """

    url: str
    shop: str
    admin: str
    client: httpx2.Client

    def ask(self, text: str, user: str = "", **fields: Any) -> httpx2.Response:
        image = data_url(encoded(320, 240))
        body = {"model": "mini", "messages": messages(image, text=text), **fields}
        headers = {"x-silkline-user": user} if user else {}
        return self.client.post("/v1/chat/completions", json=body, headers=headers)

    @property
    def signed_in(self) -> dict[str, Any]:
        """Options of a browser window whose user gave the admin key at the browser's prompt."""
        return {"http_credentials": {"username": "ops", "password": self.admin}}


@contextmanager
def operated(folder: Path) -> Iterator[Operated]:
    shop, admin = new_key(), new_key()
    keys = "[tenants.shop]\nrequests_per_minute = 600000\n" + fragment("shop", shop, None)
    (folder / "keys.toml").write_text(keys + fragment("ops", admin, None, Role.ADMIN))
    (folder / "silkline.toml").write_text(TOML)
    with (
        served(folder=folder) as server,
        httpx2.Client(base_url=server.url, headers=bearer(shop), timeout=30) as client,
    ):
        yield Operated(f"{server.url}/", shop, admin, client)
