"""The routes of the Responses API."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from silkline.cache.policy import cache_use
from silkline.errors import InvalidRequest
from silkline.gateway.body import read_json
from silkline.gateway.direct_route import DirectRoute
from silkline.gateway.disconnect import unless_client_leaves
from silkline.gateway.evidence import evidence_headers
from silkline.gateway.faces.responses.history import History, response_not_found
from silkline.gateway.faces.responses.schema import ResponsesRequest
from silkline.gateway.faces.responses.store import ResponseStore, Stored
from silkline.gateway.faces.responses.stream import Responding
from silkline.gateway.openapi import ERROR_RESPONSES, json_body
from silkline.gateway.request_record import record_of
from silkline.gateway.sse import EventStream
from silkline.service.answering import Answering

_MAX_PAGE = 100
_PAGE = 20
_ORDERS = ("asc", "desc")
_DIGITS = re.compile(r"[0-9]{1,3}")

_ANSWERS: dict[str, Any] = {
    "description": "The response; with `stream`, its server-sent events.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "text/event-stream": {},  # OpenAPI 3.1 has no schema for events
    },
}
_PAGE_QUERY = {
    "parameters": [
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE, "default": _PAGE},
        },
        {
            "name": "order",
            "in": "query",
            "schema": {"type": "string", "enum": list(_ORDERS), "default": "desc"},
        },
        {"name": "after", "in": "query", "schema": {"type": "string"}},
    ]
}


def response_routes(answering: Answering, history: History) -> APIRouter:
    """The route that creates responses, backed by an `Answering`."""
    router = APIRouter(tags=["OpenAI"], route_class=DirectRoute)

    @router.post(
        "/v1/responses",
        summary="Response",
        response_model=None,
        openapi_extra=json_body(ResponsesRequest),
        responses={200: _ANSWERS, **ERROR_RESPONSES},
    )
    async def create(request: Request) -> Response:
        record = record_of(request)
        body = await read_json(request, ResponsesRequest)
        record.others += body.others
        use = cache_use(request.headers.get("cache-control", ""))
        responding = Responding(answering, history, body, record, use)
        if body.stream:
            return EventStream(
                responding.events(),
                record,
                responding.headers,
                seconds=answering.seconds_left(record),
                end=b"",
                failed=responding.failed,
            )
        response = await unless_client_leaves(request, responding.whole())
        return _json(msgspec.json.encode(response), evidence_headers(record))

    return router


def stored_response_routes(store: ResponseStore) -> APIRouter:
    """The routes for stored responses."""
    router = APIRouter(tags=["OpenAI"])

    async def found(request: Request, name: str) -> Stored:
        stored = await store.load(record_of(request).tenant.name, name)
        if stored is None:
            raise response_not_found()
        return stored

    @router.get(
        "/v1/responses/{response_id}",
        summary="Get a stored response",
        responses=ERROR_RESPONSES,
    )
    async def get(request: Request, response_id: str) -> Response:
        if request.query_params.get("stream", "").lower() in {"true", "1"}:
            raise InvalidRequest(
                "A stored response cannot be streamed. Leave stream out.", param="stream"
            )
        return _json((await found(request, response_id)).response)

    @router.delete(
        "/v1/responses/{response_id}",
        summary="Delete a stored response",
        responses=ERROR_RESPONSES,
    )
    async def delete(request: Request, response_id: str) -> dict[str, Any]:
        if not await store.delete(record_of(request).tenant.name, response_id):
            raise response_not_found()
        return {"id": response_id, "object": "response", "deleted": True}

    @router.get(
        "/v1/responses/{response_id}/input_items",
        summary="List the input items of a stored response",
        openapi_extra=_PAGE_QUERY,
        responses=ERROR_RESPONSES,
    )
    async def input_items(request: Request, response_id: str) -> dict[str, Any]:
        items = msgspec.json.decode((await found(request, response_id)).input)
        return _page(items, request)

    return router


def _page(items: list[dict[str, Any]], request: Request) -> dict[str, Any]:
    """A page of items, newest first unless the query says otherwise.

    Raises:
        InvalidRequest: The query is wrong.
    """
    query = request.query_params
    order = query.get("order", "desc")
    limit = _limit(query.get("limit", str(_PAGE)))
    if not 1 <= limit <= _MAX_PAGE:
        raise InvalidRequest(
            f"The parameter limit is wrong: it must be 1 to {_MAX_PAGE}.", param="limit"
        )
    if order not in _ORDERS:
        raise InvalidRequest("The parameter order is wrong: it must be asc or desc.", param="order")
    if order == "desc":
        items = items[::-1]
    ids = [item["id"] for item in items]
    after = query.get("after")
    if after is not None and after not in ids:
        raise InvalidRequest(
            "The parameter after is wrong: the input has no item with this id.", param="after"
        )
    start = 0 if after is None else ids.index(after) + 1
    page = items[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + len(page) < len(items),
    }


def _limit(text: str) -> int:
    """The number in a limit's text; 0 if the text is not 1 to 3 digits."""
    return int(text) if _DIGITS.fullmatch(text) else 0


def _json(body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, headers=headers, media_type="application/json")
