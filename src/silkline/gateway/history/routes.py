"""`/admin/requests`: finds requests in the history, shows one, and deletes some."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from silkline.config import Settings
from silkline.errors import InvalidRequest, RequestNotFound
from silkline.gateway.history.query import parse_query
from silkline.gateway.history.store import HistoryStore
from silkline.gateway.openapi import ERROR_RESPONSES

_INDEX = re.compile(r"[0-9]{1,6}")

_PRIVATE = {"cache-control": "no-store", "content-security-policy": "default-src 'none'; sandbox"}


def history_routes(history: HistoryStore, settings: Settings) -> APIRouter:
    """The routes of the request history; `auth` lets only admins reach them."""
    router = APIRouter(tags=["Admin"])
    _add_reading(router, history, settings.admission.slo)
    _add_content(router, history)
    _add_deleting(router, history)
    return router


def _add_reading(router: APIRouter, history: HistoryStore, slo: float) -> None:
    @router.get(
        "/admin/requests",
        summary="Find requests, newest first: id, slow, error, tenant, model, since, cursor, limit",
        responses=ERROR_RESPONSES,
    )
    async def found(request: Request) -> Response:
        page = await history.find(parse_query(request.query_params, slo))
        return _json({"requests": page.requests, "next": page.next})

    @router.get(
        "/admin/requests/{request_id}",
        summary="Show a request by its id: timeline, sizes, cache, routing, error",
        responses=ERROR_RESPONSES,
    )
    async def one(request_id: str) -> Response:
        entry = await history.get(request_id)
        if entry is None:
            raise _not_found(request_id)
        return _json(entry)


def _add_content(router: APIRouter, history: HistoryStore) -> None:
    @router.get(
        "/admin/requests/{request_id}/content",
        summary="Show the messages and answers of a request whose content is retained",
        responses=ERROR_RESPONSES,
    )
    async def content(request_id: str) -> Response:
        kept = await history.content(request_id)
        if kept is None:
            raise _no_content(request_id)
        return _json(kept)

    @router.get(
        "/admin/requests/{request_id}/images/{index}",
        summary="Get an image of a request whose content is retained, as the model saw it",
        responses=ERROR_RESPONSES,
        response_class=Response,
    )
    async def image(request_id: str, index: str) -> Response:
        known = _INDEX.fullmatch(index)
        kept = await history.image(request_id, int(index)) if known else None
        if kept is None:
            raise _no_content(request_id)
        return Response(kept.data, media_type=kept.media_type, headers=_PRIVATE)


def _add_deleting(router: APIRouter, history: HistoryStore) -> None:
    @router.delete(
        "/admin/requests",
        summary="Delete all requests of a tenant and their content",
        responses=ERROR_RESPONSES,
    )
    async def delete_tenant(request: Request) -> dict[str, Any]:
        if set(request.query_params) != {"tenant"}:
            raise InvalidRequest(
                "Name the tenant whose requests are to be deleted: ?tenant=NAME, and nothing else.",
                param="tenant",
            )
        return {"deleted": await history.delete_tenant(request.query_params["tenant"])}

    @router.delete(
        "/admin/requests/{request_id}",
        summary="Delete a request and its content",
        responses=ERROR_RESPONSES,
    )
    async def delete(request_id: str) -> dict[str, Any]:
        deleted = await history.delete(request_id)
        if not deleted:
            raise _not_found(request_id)
        return {"deleted": deleted}


def _json(value: object) -> Response:
    return Response(
        msgspec.json.encode(value),
        media_type="application/json",
        headers={"cache-control": "no-store"},
    )


def _not_found(name: str) -> RequestNotFound:
    return RequestNotFound(
        f"The request history has no request {name[:128]}. It may be too old, have been deleted, "
        "or still run; GET and HEAD requests are not kept.",
        param="id",
    )


def _no_content(name: str) -> RequestNotFound:
    return RequestNotFound(
        f"No content of the request {name[:128]} is kept. Content is kept for the tenants in the "
        "setting history_content, for the time that is set there.",
        param="id",
    )
