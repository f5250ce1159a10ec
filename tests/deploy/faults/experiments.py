"""Faults of experiments: a worse candidate, arms of unequal size, no more requests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2

from tests.deploy.faults.site import Site
from tests.deploy.faults.traffic import CHAT, question

_SETTINGS = """
[engine]
engine = "fake"
[models.shop]
[models.next]
engine_options = { oom_on_text = "hard" }
[experiments.trial]
model = "shop"
candidate = "next"
ramp = [0.5]
step_requests = 1000
max_failures = 0.05
"""
_ENOUGH = 150


def _ask(client: httpx2.Client, text: str, user: str) -> httpx2.Response:
    body = {**question(text), "model": "shop"}
    return client.post(CHAT, json=body, headers={"x-silkline-user": user})


def _begun(site: Site) -> httpx2.Client:
    site.serve(_SETTINGS, asked=False)
    client = httpx2.Client(base_url=site.gateway.url, timeout=60)
    site.stack.callback(client.close)
    for number in range(20):
        _ask(client, "What is this?", str(number)).raise_for_status()
    site.wait("experiment_requests_total", 0)
    return client


def rolled_back(site: Site) -> Iterator[None]:
    """Questions come that the candidate cannot answer."""
    client = _begun(site)
    yield
    for number in range(_ENOUGH):
        _ask(client, f"A hard one: {number}?", str(number))
    site.wait("experiment_verdicts_total", 0, serving="model")
    yield


def split_mismatch(site: Site) -> Iterator[None]:
    """The requests of one arm no longer come."""
    client = _begun(site)
    yield
    names = map(str, range(10_000))
    while site.metric("experiment_mismatch") < 1:
        reply = _ask(client, "What is this?", next(names))
        user = reply.request.headers["x-silkline-user"]
        if reply.headers.get("x-silkline-experiment") == "trial=candidate":
            for number in range(_ENOUGH):
                _ask(client, f"What is {number}?", user)
    yield


def stuck(site: Site) -> Iterator[None]:
    """Its requests end."""
    _begun(site)
    yield
    yield
