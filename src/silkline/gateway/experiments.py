"""`/v1/feedback`, by which clients tell how good an answer was, and `/admin/experiments`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, get_type_hints

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType

from silkline.config import ExperimentSettings, Section
from silkline.errors import InvalidRequest, Overloaded, RequestNotFound, RouteNotFound
from silkline.experiments.experiment import Experiment
from silkline.experiments.running import Experiments
from silkline.gateway.body import read_json
from silkline.gateway.openapi import ERROR_RESPONSES, body_schema
from silkline.gateway.request_record import record_of
from silkline.gateway.section_body import checked_name, section_of

_BEST_RATING = 5


class Feedback(msgspec.Struct, kw_only=True):
    """How good an answer was, in one of three ways.

    Attributes:
        request_id: The header x-request-id of the response.
        reward: From 0 to 1.
        rating: From 1 to 5, which count as rewards from 0 to 1.
        accepted: Whether the answer was used as it was: true counts as 1, false as 0.
    """

    request_id: Annotated[str, Meta(min_length=1, max_length=128)]
    reward: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    rating: Annotated[int, Meta(ge=1, le=_BEST_RATING)] | UnsetType = UNSET
    accepted: bool | UnsetType = UNSET

    def as_reward(self) -> float:
        """The reward, from 0 to 1.

        Raises:
            InvalidRequest: It is given in no way, or in several.
        """
        told: list[float] = []
        if self.reward is not UNSET:
            told.append(self.reward)
        if self.rating is not UNSET:
            told.append((self.rating - 1) / (_BEST_RATING - 1))
        if self.accepted is not UNSET:
            told.append(float(self.accepted))
        if len(told) != 1:
            raise InvalidRequest("Send one of reward, rating and accepted.", param="reward")
        return told[0]


class NextStep(msgspec.Struct, kw_only=True):
    """A step that an admin takes.

    Attributes:
        step: promote: the candidate answers all requests; rollback: the model does; restart: both
            do, from the first share on; pause: the model does, without a verdict; resume: both do,
            as before the pause.
    """

    step: str


def _kinds() -> Iterator[tuple[str, Any, bool]]:
    """The fields of an experiment's settings: name, JSON type, and whether it must be there."""
    kinds = get_type_hints(ExperimentSettings)
    for name, field in ExperimentSettings.model_fields.items():
        kind = kinds[name]
        is_table = isinstance(kind, type) and issubclass(kind, Section)
        yield name, dict[str, Any] if is_table else kind, field.is_required()


ExperimentTable = msgspec.defstruct(
    "ExperimentTable",
    [
        (name, kind) if is_required else (name, kind | UnsetType, UNSET)
        for name, kind, is_required in _kinds()
    ],
    kw_only=True,
)
"""The settings of an experiment, as in a table of `[experiments]`."""


def feedback_routes(experiments: Experiments) -> APIRouter:
    """The route for clients."""
    router = APIRouter(tags=["Feedback"])

    @router.post(
        "/v1/feedback",
        summary="Tell how good an answer was; only the first feedback on a request counts",
        responses=ERROR_RESPONSES,
        openapi_extra=body_schema(Feedback),
    )
    async def feedback(request: Request) -> dict[str, Any]:
        body = await read_json(request, Feedback)
        tenant = record_of(request).tenant.name
        found = await experiments.feedback(body.request_id, tenant, body.as_reward())
        if found is None:
            raise RequestNotFound(
                f"No request {body.request_id} of yours takes part in an experiment. Send the "
                "header x-request-id of a response that has the header x-silkline-experiment.",
                param="request_id",
            )
        return {
            "request_id": body.request_id,
            "experiment": found.experiment,
            "arm": found.arm.value,
            "counted": found.is_first,
        }

    return router


def experiment_routes(experiments: Experiments) -> APIRouter:
    """The routes for admins; `auth` lets only them reach these."""
    router = APIRouter(tags=["Admin"])

    @router.get("/admin/experiments", summary="List the experiments", responses=ERROR_RESPONSES)
    async def listed() -> dict[str, Any]:
        return {"experiments": [shown(one) for one in experiments]}

    @router.get(
        "/admin/experiments/{name:path}",
        summary="Show an experiment: its evidence and its decisions",
        responses=ERROR_RESPONSES,
    )
    async def one(name: str) -> dict[str, Any]:
        found = _named(experiments, name)
        with suppress(Overloaded):  # logged by the store; what is known is shown
            await found.flush()
        return detailed(found)

    @router.post(
        "/admin/experiments/{name:path}",
        summary="Promote or roll back the candidate, pause, resume, or begin again",
        responses=ERROR_RESPONSES,
        openapi_extra=body_schema(NextStep),
    )
    async def take(name: str, request: Request) -> dict[str, Any]:
        experiment = _named(experiments, name)
        body = await read_json(request, NextStep)
        await experiment.take(body.step, record_of(request).tenant.name or "an admin")
        return detailed(experiment)

    _add_changing(router, experiments)
    return router


def _named(experiments: Experiments, name: str) -> Experiment:
    found = experiments.get(name)
    if found is None:
        known = ", ".join(one.name for one in experiments) or "none"
        raise RouteNotFound(f"There is no experiment {name}. There are: {known}.")
    return found


def _add_changing(router: APIRouter, experiments: Experiments) -> None:
    @router.put(
        "/admin/experiments/{name:path}",
        summary="Start an experiment between two served models, until it is removed",
        responses=ERROR_RESPONSES,
        openapi_extra=body_schema(ExperimentTable),
    )
    async def put(name: str, request: Request) -> dict[str, Any]:
        body = await read_json(request, ExperimentTable)
        settings = section_of(request, body, ExperimentSettings)
        if settings.shadow.score_url:
            raise InvalidRequest(
                "score_url cannot be set here. Have the owner set it in silkline.toml.",
                param="shadow",
            )
        added = await experiments.add(checked_name(name, "experiment"), settings)
        with suppress(Overloaded):
            await added.flush()
        return detailed(added)

    @router.delete(
        "/admin/experiments/{name:path}",
        summary="Remove an experiment that was started so; its journal stays",
        responses=ERROR_RESPONSES,
    )
    async def remove(name: str) -> dict[str, Any]:
        await experiments.remove(_named(experiments, name))
        return {"name": name, "removed": True}


def shown(experiment: Experiment) -> dict[str, Any]:
    """An experiment for the admin API."""
    verdict = experiment.verdict
    decisions = [
        asdict(one) | {"serving": one.serving.value, "evidence": msgspec.json.decode(one.evidence)}
        for one in experiment.decisions
    ]
    return {
        "name": experiment.name,
        "model": experiment.settings.model,
        "candidate": experiment.settings.candidate,
        "serving": experiment.serving.value,
        "share": experiment.share,
        "next": verdict.step.value,
        "reason": experiment.told(verdict),
        "evidence": experiment.evidence(verdict),
        "shadow": experiment.shadow.shown(),
        "decisions": decisions,
    }


def detailed(experiment: Experiment) -> dict[str, Any]:
    """The same with its settings, what it needs, and how its evidence went."""
    return shown(experiment) | {
        "settings": experiment.settings.model_dump(mode="json"),
        "expectation": asdict(experiment.expectation()),
        "course": experiment.course.shown(),
        "at": time.time(),
    }
