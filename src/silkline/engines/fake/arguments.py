"""Writes arguments that match the schema of a tool, for the fake engine's calls."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from silkline.core import Constraint, ConstraintKind, Request, Tool
from silkline.engines.fake.answers import constrained
from silkline.engines.grammar import CompiledConstraints, Grammar
from silkline.errors import InvalidRequest


async def arguments_for(
    tool: Tool, request: Request, grammars: CompiledConstraints[Grammar], deadline: float
) -> str:
    """Returns arguments for a tool as JSON text, derived from the request.

    Args:
        tool: The tool.
        request: The request that it is part of.
        grammars: Compiles the schema.
        deadline: The request's deadline, on the event loop's clock.

    Raises:
        InvalidRequest: The tool is strict, and its schema cannot be enforced.
        DeadlineExceeded: The schema was not compiled in time.
    """
    schema: dict[str, Any] = msgspec.json.decode(tool.parameters or '{"properties": {}}')
    text = msgspec.json.encode({"type": "object", **schema}).decode()
    try:
        grammar = await grammars.get(Constraint(ConstraintKind.JSON_SCHEMA, text), deadline)
    except InvalidRequest as error:
        if not tool.strict:
            return "{}"
        raise InvalidRequest(
            f"The tool {tool.name} is strict, but its schema cannot be enforced: {error.message}",
            param="tools",
        ) from error
    return await asyncio.to_thread(constrained, request, grammar)
