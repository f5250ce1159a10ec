"""Receives a file: writes it to disk while it arrives, and keeps it once it is whole."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request

from silkline.batch.batch import StoredFile
from silkline.batch.store import BatchStore, new_id
from silkline.errors import InvalidRequest, Overloaded, RequestTooLarge, StorageFull
from silkline.gateway.form import Form, read_upload
from silkline.gateway.request_record import record_of

PURPOSE = "batch"
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_MIN_TTL = 3600
_MAX_NAME = 255
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


async def receive(request: Request, store: BatchStore) -> StoredFile:
    """Reads a multipart form and stores its file.

    Raises:
        InvalidRequest: The form or a field is wrong.
        RequestTooLarge: The file is too large, or the tenant's files are.
        StorageFull: The disk is full.
        Overloaded: The disk fails, or is read-only.
    """
    tenant = record_of(request).tenant.name
    await store.check_room(tenant, int(request.headers.get("content-length", "0")))
    name = new_id("file-")
    path = store.path_of(name)
    try:
        form, size = await _written(request, path, store.settings.batch_file_bytes)
        await store.check_room(tenant, size)
        now = int(store.clock())
        file = StoredFile(
            id=name,
            tenant=tenant,
            purpose=_purpose(form),
            filename=form.file_name[:_MAX_NAME] or "batch.jsonl",
            bytes=size,
            created_at=now,
            expires_at=now + _ttl(form, store.settings.batch_file_ttl),
        )
        await store.add_file(file)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _refused(error) from error
        raise
    return file


async def _written(request: Request, path: Path, max_bytes: int) -> tuple[Form, int]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("xb") as file:
        size = 0

        async def write(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > max_bytes:
                raise RequestTooLarge(
                    f"The file is longer than the limit of {max_bytes} bytes. Split it.",
                    param="file",
                )
            await asyncio.to_thread(file.write, data)

        form = await read_upload(request, "file", _FIELDS, write)
        if not size:
            raise InvalidRequest(
                "The form has no file, or an empty one. Send `file`.", param="file"
            )
        await asyncio.to_thread(_sync, file)
    return form, size


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _purpose(form: Form) -> str:
    purpose = form.fields.get("purpose", "")
    if purpose != PURPOSE:
        raise InvalidRequest(
            f"The field purpose must be {PURPOSE}: files are stored for batches only.",
            param="purpose",
        )
    return purpose


def _ttl(form: Form, max_seconds: int) -> int:
    """For how long the file is kept."""
    text = form.fields.get("expires_after[seconds]")
    anchor = form.fields.get("expires_after[anchor]", "created_at")
    if text is None:
        return max_seconds
    if anchor != "created_at" or not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004
        raise InvalidRequest(
            "The field expires_after is wrong: send the anchor created_at and whole seconds.",
            param="expires_after",
        )
    return min(max(int(text), _MIN_TTL), max_seconds)


def _refused(error: OSError) -> Exception:
    if error.errno in _NO_ROOM:
        return StorageFull(
            "The server's disk is full. Send the file later, or a smaller one.", retry_after=60
        )
    return Overloaded("The server cannot store files now. Retry after the time in Retry-After.")
