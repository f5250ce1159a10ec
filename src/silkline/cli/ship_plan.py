"""The plan that the options of `silkline ship` describe."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from silkline.cli.data_options import ASKING, asked_dataset
from silkline.cli.gate_options import JUDGING, load_of
from silkline.config import ExperimentSettings, settings_from, with_models
from silkline.errors import ConfigError
from silkline.evaluate.dataset_location import HELD_OUT, find_set
from silkline.models.resolve import BUNDLED_MODEL
from silkline.optimize.requirements import usual_requirements
from silkline.service.subject import parse_subject
from silkline.ship.plan import BUNDLES, Destination, How, Judging, ShipPlan, Source, To
from silkline.ship.planning import check_traffic
from silkline.ship.rendering import RENDER, check_target
from silkline.ship.stages import NAMES

_CANARY: Mapping[str, Any] = {
    "ramp": [0.1, 0.5],
    "unit": "request",
    "max_failures": 0.02,
    "reward_margin": 0.05,
    "step_requests": 50,
    "max_days": 1.0,
}
"""The canary's experiment, where its defaults are for months of clients' traffic."""

_OWN_OPTIONS = (
    "model", "names", "bundle", "budget", "slo", "traffic", "to", "as_name", "canary",
    "canary_requests", "bundles_at", "until", "dry_run", "again", "store", "url", "key_env",
    "images", "as_json", "config", *JUDGING, *ASKING,
)  # fmt: skip
"""The options that are not settings."""


_PATHS = ("model", "data", "bundle", "config", "bundles_at")
"""The options that may be paths."""


def plan_of(options: Mapping[str, Any]) -> ShipPlan:
    """The plan that the options describe.

    Raises:
        SilklineError: An option is wrong, or the model or the data cannot be used.
    """
    options = {**options, **{name: _absolute(options[name]) for name in _PATHS}}
    own = {name: options[name] for name in _OWN_OPTIONS}
    flags = {name: value for name, value in options.items() if name not in own}
    if own["bundle"] is not None and own["names"]:
        raise click.UsageError("--bundle and --apply exclude each other.")
    to = To(own["to"])
    if own["until"] is None or NAMES.index(own["until"]) >= NAMES.index(RENDER):
        check_target(to)
    settings = settings_from(own["config"], {**flags, "model": own["model"]})
    how = How.BUNDLE if own["bundle"] else How.APPLY if own["names"] else How.SEARCH
    judging = _judging(own, how)
    plan = ShipPlan(
        model=own["model"],
        subject=parse_subject(own["model"], own["config"], flags, own["max_tokens"]),
        settings=with_models(settings, settings.engine, {}),
        source=Source(how, tuple(own["names"]), own["bundle"], own["budget"], own["images"]),
        judging=judging,
        destination=_destination(own, to, judging),
        traffic=own["traffic"],
        store=own["store"],
        command=shlex.join(["silkline", *sys.argv[1:]]),
        arguments=_stored(options),
        again=int(own["again"]),
    )
    check_traffic(plan)
    _check_canary(plan)
    return plan


def _absolute(text: str | Path | None) -> Any:
    """A path that is here as an absolute one, so that it can be resumed from elsewhere."""
    if text is None or text == BUNDLED_MODEL or not Path(text).exists():
        return text
    return type(text)(Path(text).resolve())


def _judging(own: Mapping[str, Any], how: How) -> Judging:
    """What has to hold, and on which data."""
    dataset, metrics = asked_dataset(own)
    return Judging(
        dataset=dataset,
        location=find_set(own["data"] or HELD_OUT, os.environ),
        metrics=metrics,
        requirements=usual_requirements(
            own["requirements"],
            metrics,
            limits=own["slo"],
            no_slower=how is How.SEARCH,
        ),
        confidence=own["confidence"],
        load=load_of(own),
        seed=own["seed"],
    )


def _destination(own: Mapping[str, Any], to: To, judging: Judging) -> Destination:
    """Where the bundle goes; the canary judges answers where there are references."""
    return Destination(
        to=to,
        url=own["url"],
        key_env=own["key_env"],
        name=own["as_name"],
        canary={
            **_CANARY,
            "needs_feedback": bool(judging.metrics),
            **dict(map(_setting, own["canary"])),
        },
        requests=own["canary_requests"],
        bundles_at=own["bundles_at"] or (own["store"] / BUNDLES).resolve(),
    )


def _stored(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON has them."""
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in options.items()
    }


def _setting(text: str) -> tuple[str, Any]:
    """A setting of the canary's experiment; numbers and lists are written as in JSON."""
    name, separator, value = text.partition("=")
    known = ExperimentSettings.model_fields.keys() - {"model", "candidate", "decides", "paused"}
    if not separator or name not in known:
        raise ConfigError(
            f"--canary is {text}; expected NAME=VALUE, where NAME is one of: "
            f"{', '.join(sorted(known))}."
        )
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _check_canary(plan: ShipPlan) -> None:
    """Raises `ConfigError` if a setting of the canary has a wrong value."""
    try:
        plan.experiment("model", "candidate")
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, problem["loc"]))
        raise ConfigError(f"--canary {name} is wrong: {problem['msg']}.") from None
