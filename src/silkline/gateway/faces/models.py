"""`GET /v1/models`, compatible with the official OpenAI client."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from silkline.core import EngineInfo
from silkline.gateway.openapi import ERROR_RESPONSES
from silkline.service.answering import Answering


def model_routes(answering: Answering) -> APIRouter:
    """The routes that list the models of an `Answering`."""
    router = APIRouter(tags=["OpenAI"])

    @router.get("/v1/models", summary="List the served models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(model.info) for model in answering.models]}

    @router.get(
        "/v1/models/{name:path}",
        summary="Get a served model by name",
        responses=ERROR_RESPONSES,
    )
    async def model(name: str) -> dict[str, Any]:
        if not name:
            raise HTTPException(404)
        return _model(answering.models.choose(name).info)

    return router


def _model(info: EngineInfo) -> dict[str, Any]:
    return {
        "id": info.model,
        "object": "model",
        "created": 0,
        "owned_by": "silkline",
        "revision": info.revision,
        "engine": info.engine,
        "precision": info.precision,
        "instruction_set": info.instruction_set,
        "context_length": info.context_length,
        "image_tokens": info.image_tokens,
        "features": sorted(info.features),
        "pixel_budget": {
            "max_pixels": info.pixel_budget.max_pixels,
            "shortest_edge": info.pixel_budget.shortest_edge,
        },
    }
