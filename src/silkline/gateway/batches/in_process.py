"""Sends a request of a batch to the application itself, without a connection.

So a batch has the routes, checks and errors that clients have, and no second path to the models.
"""

from __future__ import annotations

import asyncio

import msgspec
from starlette.types import ASGIApp, Message, Scope

from silkline.admission.tenant import Tenant
from silkline.batch.batch import Batch
from silkline.batch.item import Result
from silkline.errors import ERRORS_BY_CODE, CapacityError
from silkline.gateway.request_record import new_record

_OK = 200


class InProcess:
    """Answers requests of batches; implements `batch.batches.Answer`."""

    def __init__(self, app: ASGIApp) -> None:
        """Takes the application with its routes and its exception handlers."""
        self._app = app

    async def __call__(self, batch: Batch, body: bytes) -> Result:
        """Sends a JSON body to the batch's endpoint, for the batch's tenant.

        The tenant's rate limits are for its live requests, and do not apply.
        """
        scope = _scope(batch.endpoint)
        record = new_record(scope)
        record.tenant = Tenant(batch.tenant, salt=bytes.fromhex(batch.salt))
        sent: list[Message] = []
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            while not pending:
                await asyncio.Event().wait()  # the client never leaves
            return pending.pop()

        async def send(message: Message) -> None:
            sent.append(message)

        try:
            await self._app(scope, receive, send)
        except Exception:
            # Starlette raises a defect again after it was logged and answered.
            if not sent:
                raise
        status = next(one["status"] for one in sent if one["type"] == "http.response.start")
        content = b"".join(one.get("body", b"") for one in sent)
        response = {
            "status_code": status,
            "request_id": record.id,
            "body": msgspec.Raw(content or b"null"),
        }
        code = "" if status == _OK else record.error or f"http_{status}"
        kind = ERRORS_BY_CODE.get(code)
        transient = kind is not None and issubclass(kind, CapacityError)
        return Result(msgspec.json.encode(response), code, transient)


def _scope(path: str) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": None,
        "server": None,
    }
