"""The admin API: list, add, replace and remove models while requests run."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import JSONResponse, Response

from silkline.config import ModelSettings
from silkline.errors import ModelNotFound
from silkline.gateway.body import read_json
from silkline.gateway.openapi import ERROR_RESPONSES, body_schema
from silkline.gateway.request_record import record_of
from silkline.gateway.section_body import checked_name, section_of
from silkline.models.gate import GATE_PAGE
from silkline.service.deployment import Deployment
from silkline.service.model_changes import explicit
from silkline.service.served_model import ServedModel

_OWNERS_ONLY = {"remotes", "engine_options", "export_store", "served_name", "ray_address"}
"""Settings that may send requests, keys or files elsewhere, or start programs: only the settings
file has them. What it says in `[engine]` holds for models of the admin API too."""

_CREATED = 201

_REPORT_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
    ),
    "cache-control": "no-store",
}
"""A report comes with its bundle, perhaps from elsewhere: it may show itself, and nothing else."""


class ModelTable(msgspec.Struct, kw_only=True):
    """The settings of a model, as in a table of `[models]`; what is left out is as in `[engine]`.

    Attributes:
        model: A folder, or a hub id, org/name or org/name@revision; the owner has to allow it.
        engine: The name of an installed engine, or auto.
        workers: Worker processes.
        max_batch: Maximum requests in a worker's batch.
        kv_cache_bytes: Memory for a worker's KV cache.
        threads: Threads of a worker.
        hang_timeout: Seconds without progress after which a worker is replaced.
        precision: Weights of an export for the engine openvino: int8 or fp16.
        sampling_defaults: greedy or model.
        aliases: Other names that requests may use.
        cores: Relative share of the cores.
        memory: Relative share of the memory.
        idle_s: Seconds without a request after which the model is unloaded.
        cold_start_wait_s: Maximum seconds that a request waits for a start.
        base: The model whose weights this model shares, as a LoRA adapter.
        adapter: The adapter's folder, or its name at a remote server; the owner has to allow it.
    """

    model: str | UnsetType = UNSET
    engine: str | UnsetType = UNSET
    workers: int | UnsetType = UNSET
    max_batch: int | UnsetType = UNSET
    kv_cache_bytes: int | UnsetType = UNSET
    threads: int | UnsetType = UNSET
    hang_timeout: float | UnsetType = UNSET
    precision: str | UnsetType = UNSET
    sampling_defaults: str | UnsetType = UNSET
    aliases: Annotated[list[str], Meta(max_length=100)] | UnsetType = UNSET
    cores: float | UnsetType = UNSET
    memory: float | UnsetType = UNSET
    idle_s: float | UnsetType = UNSET
    cold_start_wait_s: float | UnsetType = UNSET
    base: str | UnsetType = UNSET
    adapter: str | UnsetType = UNSET


class NewModel(ModelTable, kw_only=True):
    """A model that is to be added.

    Attributes:
        name: Its name in the API.
    """

    name: str


def admin_routes(deployment: Deployment) -> APIRouter:
    """The routes that change the models of a deployment; `auth` lets only admins reach them."""
    router = APIRouter(tags=["Admin"])
    _add_reading(router, deployment)
    _add_changing(router, deployment)
    return router


def _add_reading(router: APIRouter, deployment: Deployment) -> None:
    @router.get(
        "/admin/models",
        summary="List the models, also unloaded and draining ones",
        responses=ERROR_RESPONSES,
    )
    async def listed() -> dict[str, Any]:
        default = deployment.models.default
        shown = [_shown(deployment, model, default) for model in deployment.models]
        draining = [_shown(deployment, model, default) for model in deployment.models.retiring]
        return {"models": shown + draining}

    @router.get(
        "/admin/models/{name:path}", summary="Show a model by name", responses=ERROR_RESPONSES
    )
    async def one(name: str) -> dict[str, Any]:
        model = deployment.models.find(checked_name(name, "model"))
        if model is None:
            raise ModelNotFound(f"There is no model {name}.", param="name")
        return _shown(deployment, model, deployment.models.default)

    @router.get(
        "/admin/gates/{name:path}",
        summary="Get the report of a model's gate as a page",
        responses=ERROR_RESPONSES,
        response_class=Response,
    )
    async def gate(name: str) -> Response:
        model = deployment.models.find(checked_name(name, "model"))
        files = None if model is None else model.prepared.files
        if files is None or files.gate is None:
            raise ModelNotFound(f"There is no model {name} with a gate.", param="name")
        try:
            page = await asyncio.to_thread((files.folder / GATE_PAGE).read_bytes)
        except OSError:
            raise ModelNotFound(
                f"The report of the gate of {name} cannot be read. Run `silkline gate` again.",
                param="name",
            ) from None
        return Response(page, media_type="text/html", headers=_REPORT_HEADERS)


def _add_changing(router: APIRouter, deployment: Deployment) -> None:
    @router.post(
        "/admin/models",
        summary="Add a model; the response comes when it has started",
        status_code=_CREATED,
        responses=ERROR_RESPONSES,
        openapi_extra=body_schema(NewModel),
    )
    async def add(request: Request) -> dict[str, Any]:
        body = await read_json(request, NewModel)
        table = section_of(request, body, ModelSettings, _OWNERS_ONLY)
        model = await deployment.add(checked_name(body.name, "model"), table, _who(request))
        return _shown(deployment, model, deployment.models.default)

    @router.put(
        "/admin/models/{name:path}",
        summary="Add or replace a model; the old one finishes its requests",
        responses={_CREATED: {"description": "The model is new."}, **ERROR_RESPONSES},
        openapi_extra=body_schema(ModelTable),
    )
    async def put(name: str, request: Request) -> JSONResponse:
        body = await read_json(request, ModelTable)
        table = section_of(request, body, ModelSettings, _OWNERS_ONLY)
        model, created = await deployment.put(checked_name(name, "model"), table, _who(request))
        shown = _shown(deployment, model, deployment.models.default)
        return JSONResponse(shown, status_code=_CREATED if created else 200)

    @router.delete(
        "/admin/models/{name:path}",
        summary="Remove a model; it finishes its requests",
        responses=ERROR_RESPONSES,
    )
    async def remove(name: str, request: Request) -> dict[str, Any]:
        await deployment.remove(checked_name(name, "model"), _who(request))
        return {"name": name, "removed": True}


def _who(request: Request) -> str:
    record = record_of(request)
    return f"admin API, tenant {record.tenant.name}, request {record.id}"


def _shown(deployment: Deployment, model: ServedModel, default: ServedModel) -> dict[str, Any]:
    settings = explicit(model.prepared.wanted)
    shown: dict[str, Any] = {
        "name": model.name,
        "state": model.state,
        "ready": model.ready,
        "default": model is default,
        "requests": model.users,
        "changed": deployment.is_changed(model),
        "settings": {name: settings[name] for name in settings if name not in _OWNERS_ONLY},
    }
    if model.has_started:
        info = model.info
        shown |= {"engine": info.engine, "revision": info.revision, "precision": info.precision}
    return shown
