"""Incidents, the forecast and the suggestions, from few requests."""

from __future__ import annotations

from typing import Any

import pytest

from silkline.config import CacheSettings, EngineSettings, ModelSettings, RemoteSettings, Settings
from silkline.core import Usage
from silkline.gateway.history.entry import Entry, ImageFacts
from silkline.review.actions import actions_of, peak_in_flight
from silkline.review.incidents import forecast_of, incidents_of
from silkline.review.records import Event
from silkline.routing.attempt import Attempt
from silkline.routing.choice import Reason
from silkline.service.details import Asked

DAY, HOUR = 86_400, 3_600


def entry(at: float, *, image: str = "a", error: str = "", **more: Any) -> Entry:
    fields: dict[str, Any] = {
        "timeline": {} if error else {"prefill": 1.0, "generate": 1.0},
        "cache": "miss",
        "attempts": [],
        "seconds": 2.0,
    } | more
    return Entry(
        id=str(at), answer="", at=at, method="POST", path="/v1/chat/completions",
        status=503 if error else 200, tenant="t", model="m@1", error=error, reason="",
        first_token_seconds=None, asked=Asked(1, 9, ("url",), 8, False, 1, 0.0),
        images=[ImageFacts(image, 100)], pixel_budgets=(), usage=Usage(1, 1), finish=["stop"],
        received_bytes=1, sent_bytes=1, ignored=(), keyed=False, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ((0, 10), []),
        ((0, 10, 20), [(0, 20, 3)]),
        ((0, 600, 1200), [(0, 1200, 3)]),
        ((0, 10, 611, 620), []),
        ((0, 1, 2, 5000, 5001, 5002), [(0, 2, 3), (5000, 5002, 3)]),
    ],
)
def test_failures_shortly_after_each_other_are_an_incident(
    times: tuple[int, ...], found: list[tuple[float, float, int]]
) -> None:
    entries = [entry(at, error="worker_lost") for at in times]
    incidents = incidents_of(entries, [])
    assert [(one.begin, one.end, one.failures) for one in incidents] == found


def test_what_a_client_did_wrong_is_no_incident() -> None:
    assert incidents_of([entry(at, error="image_undecodable") for at in range(9)], []) == []


def test_an_incident_has_what_was_logged_around_it() -> None:
    events = [Event(at, "warning", str(at)) for at in (0, 200, 1_000, 1_800, 2_500)]
    lost = [entry(at, error="worker_lost") for at in (1_000, 1_001, 1_002)]
    (incident,) = incidents_of(lost, events)
    assert [event.message for event in incident.events] == ["200", "1000", "1800"]


def load(days: int, growth: int) -> list[Entry]:
    """One busy hour a day, with more requests each day; each takes two seconds of an engine."""
    return [
        entry(day * DAY + number * 0.1)
        for day in range(days)
        for number in range(900 + growth * day)
    ]


def test_the_forecast_extends_the_busiest_hour_of_each_day() -> None:
    forecast = forecast_of(load(10, 90), capacity=2)
    assert forecast is not None
    assert forecast.slope == pytest.approx(0.05)  # 90 requests of 2 s in an hour
    assert forecast.now == pytest.approx(0.95)
    assert forecast.days == pytest.approx((2 - 0.95) / 0.05)


def test_a_load_that_falls_fills_nothing_and_few_days_say_nothing() -> None:
    falling = forecast_of(load(8, -50), capacity=2)
    assert falling is not None
    assert falling.days is None
    assert forecast_of(load(6, 50), capacity=2) is None


def test_a_longer_cache_is_suggested_by_what_it_would_have_saved() -> None:
    entries = [entry(number * 2 * HOUR, image=str(number % 2)) for number in range(10)]
    settings = Settings(cache=CacheSettings(cache_ttl=HOUR))
    (action,) = actions_of(entries, settings)
    assert action.title == "Keep answers for 24 h instead of 1 h (cache_ttl)"
    assert action.gain == "8 answers fewer to compute: 80.0% of the engines' work"
    assert actions_of(entries, Settings(cache=CacheSettings(cache_ttl=30 * DAY))) == []


def test_repeats_that_bypass_the_cache_are_suggested_to_be_deterministic() -> None:
    entries = [entry(number, cache="bypass") for number in range(4)]
    (action,) = actions_of(entries, Settings())
    assert "temperature 0" in action.title
    assert action.gain.startswith("3 answers fewer to compute: 75.0%")


def calls(replicas: int, at_once: int) -> list[Entry]:
    return [
        entry(0, image=str(number), attempts=[Attempt(str(number % replicas), Reason.LOAD, 0, 2.0)])
        for number in range(at_once)
    ]


@pytest.mark.parametrize(("at_once", "title"), [(12, "Run 1 of 3"), (13, "Run 2 of 3")])
def test_replicas_that_the_busiest_moment_does_not_need(at_once: int, title: str) -> None:
    entries = calls(3, at_once)
    assert peak_in_flight(entries) == at_once
    (action,) = actions_of(entries, Settings(engine=EngineSettings(max_batch=16)))
    assert action.title == f"{title} replicas"


def test_replicas_that_are_needed_or_remote_are_kept() -> None:
    assert actions_of(calls(2, 32), Settings(engine=EngineSettings(max_batch=16))) == []
    remote = ModelSettings(engine="remote", remotes=(RemoteSettings(url="http://127.0.0.1:1"),))
    assert actions_of(calls(3, 2), Settings(models={"m": remote})) == []
