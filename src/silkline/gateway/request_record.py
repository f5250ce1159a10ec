"""Keeps each request's `RequestRecord` in its ASGI scope.

The outermost layer creates one record per request. The routes fill it in. When the request ends,
the same layer writes the log line and the metrics from it.
"""

from __future__ import annotations

import os
import re

from starlette.requests import HTTPConnection
from starlette.types import Scope

from silkline.service.record import RequestRecord

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEY = "silkline"
_MAX_USER_BYTES = 256
_ID_BYTES = 16


def new_record(scope: Scope) -> RequestRecord:
    """Creates the record of a request and stores it in the request's scope."""
    record = RequestRecord(id=_request_id(scope), user=_user(scope))
    scope.setdefault("state", {})[_KEY] = record
    return record


def record_of(connection: HTTPConnection) -> RequestRecord:
    """Returns the record of a request that has passed the outermost layer."""
    record = connection.scope["state"][_KEY]
    if not isinstance(record, RequestRecord):
        raise TypeError("the request did not pass RequestLayer")
    return record


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _WELL_FORMED_ID.fullmatch(text):
                return str(text)
            break
    return os.urandom(_ID_BYTES).hex()


def _user(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-silkline-user":
            return str(value[:_MAX_USER_BYTES].decode("latin-1"))
    return ""
