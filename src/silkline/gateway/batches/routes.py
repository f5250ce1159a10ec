"""The routes of files and batches.

https://platform.openai.com/docs/api-reference/files and `batch`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from silkline.batch.batch import (
    CANCELLING,
    ENDPOINTS,
    IN_PROGRESS,
    VALIDATING,
    Batch,
    StoredFile,
)
from silkline.batch.batches import Batches
from silkline.batch.store import BatchStore, new_id
from silkline.errors import BatchNotFound, InvalidRequest, RouteNotFound, StoredFileNotFound
from silkline.gateway.batches.upload import PURPOSE, receive
from silkline.gateway.body import media_type, read_json
from silkline.gateway.openapi import ERROR_RESPONSES, body_schema
from silkline.gateway.request_record import record_of

_MAX_FILES, _MAX_BATCHES, _PAGE = 10_000, 100, 20
_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512
_MAX_HOURS = 168
_WINDOW = re.compile(r"([1-9][0-9]{0,2})h")
_DIGITS = re.compile(r"[0-9]{1,5}")
_FORM = "multipart/form-data"
_FORM_SCHEMA = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "const": PURPOSE},
    },
}


class ExpiresAfter(msgspec.Struct, kw_only=True):
    """When files with results expire.

    Attributes:
        seconds: Seconds after they were written.
        anchor: created_at.
    """

    seconds: Annotated[int, msgspec.Meta(ge=3600, le=30 * 24 * 3600)]
    anchor: str = "created_at"


class BatchRequest(msgspec.Struct, kw_only=True):
    """A batch that is to be run.

    Attributes:
        input_file_id: A file with one request on each line.
        endpoint: The route of all its requests.
        completion_window: When it expires: whole hours from 1h to 168h.
        metadata: Up to 16 pairs of text.
        output_expires_after: When the files with its results expire.
    """

    input_file_id: Annotated[str, msgspec.Meta(max_length=100)]
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None


def batch_routes(store: BatchStore | None, batches: Batches | None) -> APIRouter:
    """The routes of files and batches; all answer 404 with the reason if the API is off."""
    router = APIRouter(tags=["OpenAI"])
    if store is None or batches is None:
        _add_refusals(router)
        return router
    _add_files(router, store)
    _add_file(router, store)
    _add_batches(router, store, batches)
    return router


def _add_refusals(router: APIRouter) -> None:
    async def off(_: Request) -> Response:
        raise RouteNotFound(
            "This server runs no batches. Have its operator set batch_folder, or send the "
            "requests one by one."
        )

    for path in ("/v1/files", "/v1/batches"):
        for route in (path, f"{path}/{{rest:path}}"):
            router.add_api_route(
                route, off, methods=["GET", "POST", "DELETE"], include_in_schema=False
            )


def _add_files(router: APIRouter, store: BatchStore) -> None:
    @router.post(
        "/v1/files",
        summary="Upload a file of requests",
        responses=ERROR_RESPONSES,
        openapi_extra={
            "requestBody": {"required": True, "content": {_FORM: {"schema": _FORM_SCHEMA}}}
        },
    )
    async def upload(request: Request) -> dict[str, Any]:
        if media_type(request) != _FORM:
            raise InvalidRequest(f"Send the file as {_FORM}, with the fields file and purpose.")
        return (await receive(request, store)).shown()

    @router.get("/v1/files", summary="List the files", responses=ERROR_RESPONSES)
    async def listed(request: Request) -> dict[str, Any]:
        query = request.query_params
        order = query.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise InvalidRequest(
                "The parameter order is wrong: it must be asc or desc.", param="order"
            )
        limit = _limit(request, _MAX_FILES, _MAX_FILES)
        files = await store.list_files(
            record_of(request).tenant.name,
            limit,
            query.get("after", ""),
            oldest_first=order == "asc",
            purpose=query.get("purpose", ""),
        )
        return _page(files, limit)


def _add_file(router: APIRouter, store: BatchStore) -> None:
    @router.get("/v1/files/{file_id}", summary="Show a file", responses=ERROR_RESPONSES)
    async def one(request: Request, file_id: str) -> dict[str, Any]:
        return (await _file(request, store, file_id)).shown()

    @router.delete("/v1/files/{file_id}", summary="Delete a file", responses=ERROR_RESPONSES)
    async def delete(request: Request, file_id: str) -> dict[str, Any]:
        if not await store.delete_file(record_of(request).tenant.name, file_id):
            raise _no_file()
        return {"id": file_id, "object": "file", "deleted": True}

    @router.get(
        "/v1/files/{file_id}/content",
        summary="Get the content of a file",
        responses=ERROR_RESPONSES,
        response_class=FileResponse,
    )
    async def content(request: Request, file_id: str) -> FileResponse:
        file = await _file(request, store, file_id)
        return FileResponse(store.path_of(file.id), media_type="application/jsonl")


def _add_batches(router: APIRouter, store: BatchStore, batches: Batches) -> None:
    @router.post(
        "/v1/batches",
        summary="Run the requests of a file in idle capacity",
        responses=ERROR_RESPONSES,
        openapi_extra=body_schema(BatchRequest),
    )
    async def create(request: Request) -> dict[str, Any]:
        body = await read_json(request, BatchRequest)
        batch = _new(request, body, store)
        file = await _file(request, store, body.input_file_id, param="input_file_id")
        if file.purpose != PURPOSE:
            raise InvalidRequest(
                f"The file {file.id} is no input: its purpose is {file.purpose}. Upload one with "
                f"the purpose {PURPOSE}.",
                param="input_file_id",
            )
        await store.add_batch(batch)
        batches.changed()
        return batch.shown()

    @router.get("/v1/batches", summary="List the batches", responses=ERROR_RESPONSES)
    async def listed(request: Request) -> dict[str, Any]:
        limit = _limit(request, _PAGE, _MAX_BATCHES)
        after = request.query_params.get("after", "")
        return _page(await store.list_batches(record_of(request).tenant.name, limit, after), limit)

    @router.get("/v1/batches/{batch_id}", summary="Show a batch", responses=ERROR_RESPONSES)
    async def one(request: Request, batch_id: str) -> dict[str, Any]:
        return (await _batch(request, store, batch_id)).shown()

    @router.post(
        "/v1/batches/{batch_id}/cancel",
        summary="Cancel a batch; what was answered is kept",
        responses=ERROR_RESPONSES,
    )
    async def cancel(request: Request, batch_id: str) -> dict[str, Any]:
        batch = await _batch(request, store, batch_id)
        now = store.clock()

        def cancelled(found: Batch) -> Batch:
            if found.status in {VALIDATING, IN_PROGRESS}:
                return found.now(CANCELLING, now)
            if found.status == CANCELLING:
                return found
            raise InvalidRequest(
                f"The batch is {found.status} and can no longer be cancelled.", param="batch_id"
            )

        found = await store.change(batch.id, cancelled)
        batches.changed()
        return found.shown()


def _new(request: Request, body: BatchRequest, store: BatchStore) -> Batch:
    """The batch that a client asks for.

    Raises:
        InvalidRequest: A field is wrong.
    """
    if body.endpoint not in ENDPOINTS:
        raise InvalidRequest(
            f"The endpoint {body.endpoint[:100]} runs in no batch here. Send one of "
            f"{', '.join(ENDPOINTS)}.",
            param="endpoint",
        )
    window = _WINDOW.fullmatch(body.completion_window)
    if window is None or int(window[1]) > _MAX_HOURS:
        raise InvalidRequest(
            f"The field completion_window must be whole hours, from 1h to {_MAX_HOURS}h, such as "
            "24h.",
            param="completion_window",
        )
    pairs = body.metadata or {}
    if len(pairs) > _MAX_PAIRS or any(
        len(key) > _MAX_KEY or len(value) > _MAX_VALUE for key, value in pairs.items()
    ):
        raise InvalidRequest(
            f"The field metadata may have {_MAX_PAIRS} pairs, with keys of {_MAX_KEY} and values "
            f"of {_MAX_VALUE} characters.",
            param="metadata",
        )
    tenant, now = record_of(request).tenant, int(store.clock())
    expires = body.output_expires_after
    max_ttl = store.settings.batch_file_ttl
    return Batch(
        id=new_id("batch_"),
        tenant=tenant.name,
        salt=tenant.salt.hex(),
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        completion_window=body.completion_window,
        metadata=body.metadata,
        status=VALIDATING,
        created_at=now,
        expires_at=now + int(window[1]) * 3600,
        output_ttl=max_ttl if expires is None else min(expires.seconds, max_ttl),
    )


async def _file(
    request: Request, store: BatchStore, name: str, param: str = "file_id"
) -> StoredFile:
    found = await store.find_file(record_of(request).tenant.name, name)
    if found is None:
        raise _no_file(param)
    return found


async def _batch(request: Request, store: BatchStore, name: str) -> Batch:
    found = await store.find_batch(record_of(request).tenant.name, name)
    if found is None:
        raise BatchNotFound("You have no such batch. List yours at /v1/batches.", param="batch_id")
    return found


def _no_file(param: str = "file_id") -> StoredFileNotFound:
    return StoredFileNotFound(
        "You have no such file, or it has expired. List yours at /v1/files.", param=param
    )


def _limit(request: Request, default: int, maximum: int) -> int:
    text = request.query_params.get("limit", str(default))
    limit = int(text) if _DIGITS.fullmatch(text) else 0
    if not 1 <= limit <= maximum:
        raise InvalidRequest(
            f"The parameter limit is wrong: it must be 1 to {maximum}.", param="limit"
        )
    return limit


def _page(found: Sequence[StoredFile] | Sequence[Batch], limit: int) -> dict[str, Any]:
    shown = [one.shown() for one in found[:limit]]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > limit,
    }
