"""Turns the body of an admin request into a section of the settings."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import msgspec
from fastapi import HTTPException, Request
from msgspec import UNSET
from pydantic import TypeAdapter, ValidationError

from silkline.config import ModelName, Section
from silkline.errors import InvalidRequest
from silkline.gateway.request_record import record_of

T = TypeVar("T", bound=Section)

_NAME: TypeAdapter[str] = TypeAdapter(ModelName)


def checked_name(name: str, what: str) -> str:
    """Returns a name from a path.

    Args:
        name: The name.
        what: What has it, for the message: "model" or "experiment".

    Raises:
        HTTPException: It is empty.
        InvalidRequest: It has other characters than names may have.
    """
    if not name:
        raise HTTPException(404)
    try:
        return _NAME.validate_python(name)
    except ValidationError:
        raise InvalidRequest(
            f"The {what}'s name is wrong. Send up to 100 of A-Z a-z 0-9 . _ : / -, starting with a "
            "letter or digit.",
            param="name",
        ) from None


def section_of(
    request: Request, body: msgspec.Struct, kind: type[T], owners_only: Collection[str] = ()
) -> T:
    """Returns a body that was read as a section; what the body leaves out stays unset.

    Args:
        request: The request, which knows the body's other fields.
        body: The body; fields that the section lacks are not taken.
        kind: The section.
        owners_only: Fields that only the settings file may have.

    Raises:
        InvalidRequest: A field is unknown, is for the settings file only, or has a wrong value.
    """
    for other in record_of(request).others:
        field = other.path
        if field in owners_only:
            raise InvalidRequest(
                f"The field {field} cannot be set here. Have the owner set it in silkline.toml.",
                param=field,
            )
        raise InvalidRequest(f"The field {field} is not supported. Leave it out.", param=field)
    values = {
        name: value
        for name in kind.model_fields
        if (value := getattr(body, name, UNSET)) is not UNSET
    }
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise InvalidRequest(
            f"The field {field} is wrong: {problem['msg']}.", param=field
        ) from None
