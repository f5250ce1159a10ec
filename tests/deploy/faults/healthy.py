"""A gateway with everything that an alert is about, and no fault."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random

from silkline.drift.baseline import take_baseline, write_baseline
from silkline.gateway.keys import fragment, new_key
from tests.cache.redis_server import RedisServer
from tests.deploy.faults.site import MODEL, Site
from tests.deploy.faults.traffic import ordinary, question
from tests.drift.seen import Traffic, drawn
from tests.gateway.keyrings import write_keys
from tests.pictures import data_url, encoded

_SETTINGS = """
[engine]
engine = "fake"
workers = 2

[auth]
keys_file = "{keys}"

[cache]
cache_redis = "{redis}"
near_duplicates = true
near_sample = 1.0

[drift]
drift_baseline = "baseline.json"

[canary_set]
canary_data = "canary.jsonl"
canary_every = 5
"""


def serve_all(site: Site) -> None:
    """Starts the gateway, and asks it with images, as streams, and for one thing repeatedly."""
    redis = site.stack.enter_context(closing(RedisServer(site.folder)))
    keys = write_keys(site.folder)
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    with keys.file.open("a") as file:
        file.write(fragment("shop", new_key(), None) + f"expires = {expires.isoformat()}\n")
    baseline = take_baseline(
        [drawn(Traffic(), Random(0)) for _ in range(100)], source="", at=0.0, part_requests=500
    )
    write_baseline(site.folder / "baseline.json", MODEL, baseline)
    (site.folder / "image.png").write_bytes(encoded(64, 64, "green", "PNG"))
    row = {"id": "what", "picture": "image.png", "prompt": "what", "reference": "green"}
    (site.folder / "canary.jsonl").write_text(json.dumps(row))
    site.serve(
        _SETTINGS.format(keys=keys.file, redis=redis.url), key=keys.shop, scraper=keys.scraper
    )
    site.traffic.make = _asked


def _asked(number: int) -> dict[str, object]:
    if number % 3:
        return ordinary(number)
    return question("What is it?", data_url(encoded(32 + number % 200, 32, "green")))
