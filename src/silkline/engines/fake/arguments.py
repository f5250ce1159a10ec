"""Writes arguments that match the schema of a tool, for the fake engine's calls."""

from __future__ import annotations

import asyncio

from silkline.core import Constraint, ConstraintKind, Request, Tool
from silkline.engines.chat.turns import arguments_schema
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
    schema = Constraint(ConstraintKind.JSON_SCHEMA, arguments_schema(tool))
    try:
        grammar = await grammars.get(schema, deadline)
    except InvalidRequest as error:
        if not tool.strict:
            return "{}"
        raise InvalidRequest(
            f"The tool {tool.name} is strict, but its schema cannot be enforced: {error.message}",
            param="tools",
        ) from error
    return await asyncio.to_thread(constrained, request, grammar)
