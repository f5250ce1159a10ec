"""`POST /v1/embeddings`: refused, as no engine computes embeddings."""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter

from silkline.errors import RouteNotFound
from silkline.gateway.openapi import ERROR_RESPONSES


def embedding_routes() -> APIRouter:
    """The route that tells clients that there are no embeddings."""
    router = APIRouter(tags=["OpenAI"])

    @router.post(
        "/v1/embeddings",
        summary="Not available: no engine computes embeddings",
        status_code=404,
        response_model=None,
        responses={404: ERROR_RESPONSES[404]},
    )
    async def embeddings() -> NoReturn:
        raise RouteNotFound(
            "No engine of this server computes embeddings. Use a server with an embedding model."
        )

    return router
