"""What a ship would do and how long, told before anything is done."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from silkline.optimize.requirements import SPEED
from silkline.ship.building import BUNDLE, EVALUATE, GATE_STAGE, OPTIMISE
from silkline.ship.journal import Event, Kind
from silkline.ship.live import CANARY_STAGE, DEPLOY, PROMOTE
from silkline.ship.plan import How, ShipPlan, To
from silkline.ship.planning import PLAN
from silkline.ship.rendering import RENDER
from silkline.ship.stages import NAMES

_START_SECONDS = 20.0
_ANSWER_SECONDS = 0.2
_CANARY_RATE = 20.0
"""Guesses for a model of which nothing is known yet."""

_LOOKS = 1.9
"""Requests without a failure that the evidence takes, in times of a test with a single look."""


class Step(msgspec.Struct, frozen=True):
    """A stage that would run.

    Attributes:
        stage: Its name.
        about: What it would do, in a sentence.
        seconds: How long it would take, roughly.
        basis: What that is taken from.
    """

    stage: str
    about: str
    seconds: float
    basis: str


def estimate(plan: ShipPlan, ended: Mapping[str, Event], past: Sequence[Event]) -> list[Step]:
    """The stages that would run.

    Args:
        plan: What is shipped.
        ended: The stages of this ship that have ended already.
        past: The events of another ship of this kind, to learn the times from; none if empty.
    """
    seconds = dict(_durations(past))
    steps = []
    for name in NAMES:
        if name in ended:
            continue
        about, guess = _stage(name, plan)
        basis = "as the last time" if name in seconds else "a guess"
        if name == OPTIMISE and plan.source.how is How.SEARCH:
            basis = "the budget"
            seconds.pop(name, None)
        steps.append(Step(name, about, seconds.get(name, guess), basis))
    return steps


def _durations(events: Sequence[Event]) -> Iterable[tuple[str, float]]:
    """How long stages took that ran without being stopped."""
    for before, after in itertools.pairwise(events):
        if before.stage == after.stage and (before.kind, after.kind) == (Kind.BEGAN, Kind.DONE):
            yield before.stage, after.at - before.at


def _stage(name: str, plan: ShipPlan) -> tuple[str, float]:
    """What a stage would do, and a guess of its seconds."""
    source, judging, destination = plan.source, plan.judging, plan.destination
    searches = source.how is How.SEARCH
    items = len(judging.dataset.items)
    requirements = " and ".join(each.text for each in judging.requirements)
    is_loaded = any(each.kind in SPEED for each in judging.requirements)
    built = f"apply {', '.join(source.names)} to {plan.model}" if source.names else ""
    known = {
        PLAN: (f"plan for {plan.traffic}" if plan.traffic else "nothing: no --traffic", 0.0),
        OPTIMISE: (
            f"search the fastest bundle of {plan.model} with {requirements}"
            if searches
            else built or f"copy {source.bundle}",
            source.budget if searches else _START_SECONDS,
        ),
        EVALUATE: (
            "take the answers of the search, on items that it did not pick by"
            if searches
            else f"ask both about {items:,} items",
            0.0 if searches else 2 * (items * _ANSWER_SECONDS + _START_SECONDS),
        ),
        GATE_STAGE: (
            "take the verdict of the search" if searches else f"judge {requirements}",
            2 * (judging.load.seconds + _START_SECONDS) if is_loaded and not searches else 0.0,
        ),
        BUNDLE: ("keep the bundle by its digest, with its statements", 1.0),
        RENDER: (
            "write the settings of a server, unless one answers"
            if destination.to is To.LOCAL
            else f"write the files for {destination.to}",
            1.0,
        ),
        DEPLOY: (f"load the bundle into {destination.url}, without requests", _START_SECONDS),
        CANARY_STAGE: _canary(plan),
        PROMOTE: (
            "replace the model by the bundle if the canary passed, else remove the bundle",
            _START_SECONDS,
        ),
    }
    return known[name]


def _canary(plan: ShipPlan) -> tuple[str, float]:
    """The canary: proving few failures takes the most requests, at the first share."""
    settings = plan.experiment("model", "candidate")
    proof = _LOOKS * math.log(1 / settings.error_rate) / -math.log1p(-settings.max_failures)
    needed = max(proof, settings.step_requests) / settings.ramp[0]
    requests = min(plan.destination.requests, math.ceil(needed))
    shares = ", ".join(f"{share:.0%}" for share in settings.ramp)
    about = f"send it {shares} of at least {requests:,} requests, at most "
    return f"{about}{plan.destination.requests:,}", requests / _CANARY_RATE
