"""Suggested actions, each with a gain that is computed from the month's requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from silkline.config import Settings
from silkline.gateway.history.entry import Entry
from silkline.review.figures import CACHED, DAY, HOUR, engine_seconds, is_answered

MAX_ACTIONS = 3
FILLED = 0.75
"""Share of the slots that the busiest moment may fill when a replica is removed."""

_TTLS = (HOUR, 6 * HOUR, DAY, 7 * DAY)
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """A suggestion.

    Attributes:
        title: What to do.
        gain: What it would have saved in this month, in words.
        basis: How that was computed.
        saved_seconds: Seconds of engines, or of requests, that it would have saved.
        share: That, as a share of all of them.
    """

    title: str
    gain: str
    basis: str
    saved_seconds: float
    share: float


def actions_of(entries: Sequence[Entry], settings: Settings) -> list[Action]:
    """Returns the actions that save most, at most three, the largest share first."""
    answered = [one for one in entries if one.asked is not None and is_answered(one)]
    found = [
        action
        for suggest in (_longer_cache, _deterministic, _fewer_replicas, _quicker_images)
        if (action := suggest(answered, settings)) is not None and action.share > 0
    ]
    return sorted(found, key=lambda action: -action.share)[:MAX_ACTIONS]


def question_key(entry: Entry) -> _Key:
    """What tells questions apart in the history: it has no text, so their sizes must do."""
    asked = entry.asked
    return (
        entry.tenant,
        entry.model,
        tuple(image.digest for image in entry.images),
        0 if asked is None else asked.characters,
        0 if asked is None else asked.max_tokens,
    )


def repeated_within(
    entries: Sequence[Entry], ttl: float, wanted: Callable[[Entry], bool]
) -> Iterator[Entry]:
    """Yields the computed answers whose question had been computed at most `ttl` seconds before.

    Args:
        entries: Answered requests in the order of their arrival.
        ttl: Seconds that an answer stays in the cache.
        wanted: Which requests count.
    """
    computed: dict[_Key, float] = {}
    for one in entries:
        if not one.images or not wanted(one):
            continue
        key = question_key(one)
        last = computed.get(key)
        if last is not None and one.at - last <= ttl:
            if one.cache not in CACHED:
                yield one
        else:
            computed[key] = one.at


def _longer_cache(answered: Sequence[Entry], settings: Settings) -> Action | None:
    now, total = settings.cache.cache_ttl, math.fsum(map(engine_seconds, answered))
    curve = []
    for ttl in (one for one in _TTLS if one > now):
        saved = list(repeated_within(answered, ttl, lambda one: one.cache != "bypass"))
        curve.append((ttl, len(saved), math.fsum(map(engine_seconds, saved))))
    if not curve or not total:
        return None
    # the shortest that saves nearly as much as the longest: old answers have a cost, too
    highest = curve[-1][2]
    ttl, count, seconds = next(one for one in curve if one[2] >= 0.9 * highest)
    if not count:
        return None
    return Action(
        f"Keep answers for {ttl / HOUR:g} h instead of {now / HOUR:g} h (cache_ttl)",
        _gain(count, seconds, total, settings, answered),
        "The month's requests were played through a cache with each time to live; questions "
        "with the same images, tenant and sizes count as the same.",
        seconds,
        seconds / total,
    )


def _deterministic(answered: Sequence[Entry], settings: Settings) -> Action | None:
    total = math.fsum(map(engine_seconds, answered))
    ttl = float(settings.cache.cache_ttl)
    saved = list(repeated_within(answered, ttl, lambda one: one.cache == "bypass"))
    seconds = math.fsum(map(engine_seconds, saved))
    if not saved or not total:
        return None
    return Action(
        "Ask repeated questions with temperature 0, so that the cache may answer them",
        _gain(len(saved), seconds, total, settings, answered),
        f"Requests that bypassed the cache and repeated a question within {ttl / HOUR:g} h.",
        seconds,
        seconds / total,
    )


def peak_in_flight(answered: Sequence[Entry]) -> int:
    """The most calls that were in flight on the replicas at any moment."""
    changes: list[tuple[float, int]] = []
    for one in answered:
        for attempt in one.attempts:
            if attempt.seconds is not None:
                end = one.at + one.seconds
                changes += [(end - attempt.seconds, 1), (end, -1)]
    running = highest = 0
    for _, change in sorted(changes):
        running += change
        highest = max(highest, running)
    return highest


def _fewer_replicas(answered: Sequence[Entry], settings: Settings) -> Action | None:
    replicas = {attempt.replica for one in answered for attempt in one.attempts}
    slots = max(model.max_batch for model in settings.served.values())
    peak = peak_in_flight(answered)
    needed = max(1, math.ceil(peak / (slots * FILLED)))
    if needed >= len(replicas):
        return None
    share = 1 - needed / len(replicas)
    total = math.fsum(map(engine_seconds, answered))
    return Action(
        f"Run {needed} of {len(replicas)} replicas",
        f"{share:.0%} of the replicas' machines or memory",
        f"At most {peak} calls were in flight at once; {needed} x {slots} slots hold them with "
        f"at most {FILLED:.0%} filled. Latency inside a fuller batch was not simulated.",
        share * total,
        share,
    )


def _quicker_images(answered: Sequence[Entry], settings: Settings) -> Action | None:
    del settings
    total = math.fsum(one.seconds for one in answered)
    fetched = [one.timeline["fetch"] for one in answered if one.timeline.get("fetch")]
    seconds = math.fsum(fetched)
    if not fetched or not total:
        return None
    return Action(
        "Serve images from nearer, or send them in the request",
        f"{seconds / len(fetched) * 1000:.0f} ms off each of {len(fetched):,} answers: "
        f"{seconds / total:.1%} of all waiting",
        "Seconds that answers spent in the stage fetch.",
        seconds,
        seconds / total,
    )


def _gain(
    count: int, seconds: float, total: float, settings: Settings, answered: Sequence[Entry]
) -> str:
    words = f"{count:,} answers fewer to compute: {seconds / total:.1%} of the engines' work"
    price = settings.monitoring.machine_price
    if not price:
        return words
    hours = (answered[-1].at - answered[0].at) / HOUR
    return f"{words}, worth {price * hours * seconds / total:.2f}"
